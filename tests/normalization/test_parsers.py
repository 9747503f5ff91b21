"""Request bodies have one meaning or are refused with a problem."""

import contextlib
import io
import json
from decimal import Decimal

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from normalization.parsers import MAX_DEPTH, StrictJSONParser, loads
from normalization.problems import Problem

REFUSED = {
    "empty": b"",
    "cut": b'{"a": ',
    "trailing": b"{} {}",
    "not utf-8": b'{"a": "\xff"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "duplicate member": b'{"a": 1, "a": 2}',
    "duplicate nested": b'[{"b": {"a": 1, "a": 1}}]',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b'{"a": -Infinity}',
    "overflow": b'{"a": 1e999}',
    "5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "just too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "single quotes": b"{'a': 1}",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_a_body_that_is_not_one_clear_json_value_is_a_400_problem(body: bytes) -> None:
    with pytest.raises(Problem) as raised:
        loads(body)
    document = raised.value.document()
    assert (document["type"], document["status"]) == ("/problems/malformed-body", 400)
    assert document["detail"].endswith(".")


def test_a_body_over_the_limit_is_a_413_problem_and_is_not_read_on() -> None:
    stream = io.BytesIO(b" " * (5 * 1024 * 1024))
    with pytest.raises(Problem) as raised:
        StrictJSONParser().parse(stream)
    assert raised.value.status_code == 413
    assert stream.tell() == settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1


def test_a_body_at_the_limits_is_read() -> None:
    body = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert loads(body.ljust(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)) == json.loads(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=15,
)


@given(json_values)
def test_every_json_value_is_read_as_it_was_written(value: object) -> None:
    """A whole number above 2**53 is read exactly, also with an exponent, where a float is not."""
    written = json.dumps(value)
    assert loads(written.encode()) == json.loads(written, parse_float=exactly)


def exactly(text: str) -> float | int:
    number = Decimal(text)
    whole = abs(number) >= 2**53 and number == number.to_integral_value()
    return int(number) if whole else float(text)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_a_problem(body: bytes) -> None:
    with contextlib.suppress(Problem):
        loads(body)


def test_a_byte_order_mark_before_the_value_is_ignored() -> None:
    assert loads(b"\xef\xbb\xbf{}") == {}
