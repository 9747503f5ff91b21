"""Answers of the API are compressed where the client asks for it, and pages never are."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from django.test import Client
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, PortfolioCompany

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": zstandard.decompress,
    "br": brotli.decompress,
}


@pytest.fixture
def listed(fund: Fund) -> str:
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=fund, name=f"Company {i}", stage="Seed Round") for i in range(50)
    )
    return f"/api/funds/{fund.pk}/companies"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate", "gzip"),
        ("gzip, br, zstd", "zstd"),
        ("br", "br"),
        ("zstd;q=0, gzip", "gzip"),
        ("identity", None),
        ("gzip;q=0", None),
        ("compress", None),
        (None, None),
    ],
)
def test_an_answer_has_the_coding_that_was_asked_for_and_the_same_content(
    api: APIClient, listed: str, accepted: str | None, coding: str | None
) -> None:
    plain = api.get(listed)
    headers: dict[str, Any] = {} if accepted is None else {"HTTP_ACCEPT_ENCODING": accepted}
    answer = api.get(listed, **headers)
    assert answer.get("Content-Encoding") == coding
    if coding is None:
        assert answer.content == plain.content
        return
    assert DECODERS[coding](answer.content) == plain.content
    assert len(answer.content) < len(plain.content) / 4
    assert answer["Content-Length"] == str(len(answer.content))
    assert "Accept-Encoding" in answer["Vary"]


def test_short_answers_and_answers_nobody_asked_to_compress_are_as_they_were(
    api: APIClient, fund: Fund, listed: str
) -> None:
    assert "Content-Encoding" not in api.get("/api/funds", HTTP_ACCEPT_ENCODING="gzip")
    assert "Accept-Encoding" not in api.get(listed).get("Vary", "")


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["/admin/login/", "/api/docs", "/problems/unknown-stage"])
def test_pages_are_never_compressed(page: str) -> None:
    """They have form tokens, and the browser sends their cookies by itself."""
    answer = Client().get(page, HTTP_ACCEPT_ENCODING="gzip, br, zstd")
    assert answer.status_code == 200
    assert len(answer.content) > 500
    assert "Content-Encoding" not in answer


def test_a_compressed_answer_keeps_its_entity_tag(api: APIClient, db: None) -> None:
    first = api.get("/api/deprecations", HTTP_ACCEPT_ENCODING="zstd")
    assert first["Content-Encoding"] == "zstd"
    for coding in ("zstd", "gzip", "identity"):
        again = api.get(
            "/api/deprecations",
            HTTP_ACCEPT_ENCODING=coding,
            HTTP_IF_NONE_MATCH=first["ETag"],
        )
        assert (again.status_code, again.content) == (304, b"")
