"""What the lists of the API share: page sizes, signed cursors, and problems of query parameters.

The identity of a list (its filters and sort) is part of the signing key and not of the cursor, so
a cursor works for its own list only. The page size may change between pages.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

from django.core import signing
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from normalization.issue_codes import IssueCode, issue
from normalization.problems import Item, Problem, invalid
from normalization.serializers import escape_pointer

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
# The longest position is a name of 200 characters, each escaped to at most 12 and then in base64.
LONGEST_CURSOR: Final = 4_096
# Of a position that is a number or a date.
LONGEST_SHORT_CURSOR: Final = 500
# URL-safe base64, a point, and the signature (ECMA-262).
CURSOR_PATTERN: Final = "^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$"
SHOWN_NAME: Final = 100
LONGEST_NUMBER: Final = 1_000

_IN_DIGITS: Final = re.compile("-?[0-9]+")


@extend_schema_field(
    {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_SHORT_CURSOR,
        "pattern": CURSOR_PATTERN,
    }
)
class CursorField(serializers.CharField):
    """The cursor of a list whose position is short. `read_cursor` refuses every other text."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            max_length=LONGEST_SHORT_CURSOR,
            help_text="`next_cursor` of the previous page.",
        )


class QueryIntegerField(serializers.IntegerField):
    """A whole number of a query parameter, in digits. Another notation is refused by name."""

    default_error_messages: ClassVar = {"invalid": "Give a whole number in digits, as 50."}

    def to_internal_value(self, data: Any) -> int:
        """Return the number; fail with `invalid` for anything else."""
        number = whole_number_of(data)
        if number is None:
            self.fail("invalid")
        return number


def whole_number_of(text: str) -> int | None:
    """Return the number of a query parameter, None if it is not written in digits.

    `5.0`, `5e0`, `+5`, `1_0` and digits of other scripts are refused rather than interpreted.
    """
    return int(text) if len(text) <= LONGEST_NUMBER and _IN_DIGITS.fullmatch(text) else None


def query_item(name: str, code: IssueCode, detail: str) -> Item:
    """Return the problem item for a query parameter."""
    pointer = "/" + escape_pointer(name[:SHOWN_NAME])
    return issue(pointer, code, place="query", detail=detail)


def write_cursor(list_identity: str, position: Any) -> str:
    """Return the URL-safe cursor that continues the list after `position`, a JSON value."""
    return _signer(list_identity).sign_object(position)


def read_cursor(list_identity: str, cursor: str) -> Any:
    """Return the position in a cursor.

    Raises an `invalid-request` problem for text that is not a cursor of this list: changed, cut,
    invented, or from a list with other filters.
    """
    if len(cursor) > LONGEST_CURSOR:
        raise _not_of_this_list()
    try:
        return _signer(list_identity).unsign_object(cursor)
    except signing.BadSignature as error:
        raise _not_of_this_list() from error


def _not_of_this_list() -> Problem:
    detail = (
        "The cursor does not belong to this list. "
        "Use next_cursor unchanged, with the same fund, filters and sort."
    )
    return invalid([query_item("cursor", IssueCode.INVALID_CURSOR, detail)])


def _signer(list_identity: str) -> signing.Signer:
    return signing.Signer(salt=list_identity, sep=".")
