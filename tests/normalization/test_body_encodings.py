"""Encodings of a request body: treated the same, or refused by name."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from rest_framework.test import APIClient

from normalization.parsers import loads
from normalization.problems import Problem
from stagenorm.portfolio.keys import create_key

ADDRESS = "/api/portfolio/strategies"


@pytest.fixture
def api(db: None) -> APIClient:
    _, text = create_key("tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {text}")
    return client


def send(api: APIClient, body: bytes, **headers: Any) -> Any:
    # The client sends bytes as they are; its types only name text.
    text: Any = body
    return api.generic("POST", ADDRESS, text, content_type="application/json", **headers)


def test_a_byte_order_mark_changes_nothing() -> None:
    assert loads(b'\xef\xbb\xbf{"a": 1}') == loads(b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf\xef\xbb\xbf{}", b"\xef\xbb\xbf", b"\xef\xbb{}"])
def test_a_second_mark_or_half_of_one_is_malformed(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        loads(body)
    assert refused.value.slug == "malformed-body"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(Problem, match=r"UTF-8|not JSON"):
        loads('{"é": "ü"}'.encode(encoding))


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.compress),
        ("gzip, br", bytes),
        ("identity, gzip", gzip.compress),
        ("unheard-of", bytes),
    ],
)
def test_a_content_coding_is_415_and_names_what_is_accepted(
    api: APIClient, coding: str, compress: Any
) -> None:
    body = compress(json.dumps({"fund_id": 1}).encode())
    answer = send(api, body, HTTP_CONTENT_ENCODING=coding)
    assert (answer.status_code, answer["Accept-Encoding"]) == (415, "identity")
    assert answer.json()["type"] == "/problems/unsupported-media-type"
    assert "Content-Encoding" in answer.json()["detail"]


@pytest.mark.parametrize("coding", ["", "identity", "Identity"])
def test_no_coding_is_read(api: APIClient, coding: str) -> None:
    answer = send(api, b'{"name": 1}', HTTP_CONTENT_ENCODING=coding)
    assert answer.json()["type"] == "/problems/invalid-request"
