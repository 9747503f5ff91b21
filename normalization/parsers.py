"""Strict parsing of JSON bodies: limited size and depth, no ambiguity, errors as problems."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any, Final

from django.conf import settings
from rest_framework.parsers import JSONParser

from normalization.problems import Problem, too_large

MAX_DEPTH: Final = 32
# Up to here each whole number is a float of its own.
EXACT_INTEGER: Final = 2**53


class StrictJSONParser(JSONParser):
    """Parses at most `DATA_UPLOAD_MAX_MEMORY_SIZE` bytes of UTF-8 JSON.

    A byte-order mark is ignored (RFC 8259, section 8.1).
    Raises a 413 problem for more and a 415 problem for a content coding. Raises a 400 problem for
    invalid UTF-8 or JSON, duplicate member names, NaN or Infinity (1e999 too), integers too long
    to parse and more than 32 levels.
    """

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the parsed body."""
        _refuse_coding(parser_context or {})
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise too_large()
        return loads(body)


def _refuse_coding(context: Mapping[str, Any]) -> None:
    # RFC 9110, section 15.5.16: Accept-Encoding in a 415 names the codings that are accepted.
    request = context.get("request")
    coding = request.headers.get("Content-Encoding", "").strip() if request else ""
    if coding.lower() not in ("", "identity"):
        raise Problem(
            "unsupported-media-type",
            status=415,
            detail="Send the body without Content-Encoding: compressed bodies are not read.",
            headers={"Accept-Encoding": "identity"},
        )


def loads(body: bytes) -> Any:
    """Parse JSON with the rules of `StrictJSONParser`.

    Raises a 400 `Problem` that describes the error and its place.
    """
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        raise _malformed(
            f"The body is not UTF-8: byte {error.start} cannot be decoded."
        ) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"The body is not JSON at {place}: {error.msg}.") from error
    except RecursionError as error:
        raise _malformed("The body is nested too deeply.") from error
    except ValueError as error:
        raise _malformed(_reason(error)) from error
    if _deeper_than(value, MAX_DEPTH):
        raise _malformed(f"The body is nested more than {MAX_DEPTH} levels deep.")
    return value


class _JSONRefused(ValueError):
    """A refusal by this module; its message is for the client."""


def _reason(error: ValueError) -> str:
    if isinstance(error, _JSONRefused):
        return str(error)
    return "The body holds an integer too long to read."


def _malformed(detail: str) -> Problem:
    return Problem("malformed-body", detail=detail)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _JSONRefused("An object of the body has the same member name twice.")
    return members


def _constant(name: str) -> float:
    raise _JSONRefused(f"{name} is not a JSON number.")


def _finite(text: str) -> float | int:
    """Return the number of a literal with a fraction or an exponent.

    Above 2**53 a float cannot tell whole numbers apart: a whole one is read as an integer, so that
    9007199254740993.0 and 9007199254740993 are one number.
    """
    number = float(text)
    if not math.isfinite(number):
        raise _JSONRefused("A number of the body is too large.")
    if abs(number) >= EXACT_INTEGER:
        exact = Decimal(text)
        if exact == exact.to_integral_value():
            return int(exact)
    return number


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [child for each in layer for child in _children(each)]
        if not layer:
            return False
    return True


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [child for child in value.values() if isinstance(child, dict | list)]
    if isinstance(value, list):
        return [child for child in value if isinstance(child, dict | list)]
    return []
