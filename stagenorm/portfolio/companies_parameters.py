"""The query parameters of the list of companies: read strictly, and documented for the schema."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from normalization.deprecations import STAGE_STATUSES
from normalization.issue_codes import IssueCode
from normalization.problems import VALID_STAGES, Item, invalid
from normalization.serializers import ANY_TEXT, MAX_RAW_STAGE
from stagenorm.portfolio.companies_query import SORTS
from stagenorm.portfolio.models import PortfolioCompany
from stagenorm.portfolio.paging import (
    CURSOR_PATTERN,
    DEFAULT_LIMIT,
    LONGEST_CURSOR,
    MAX_LIMIT,
    query_item,
    whole_number_of,
)

# The members of a company in an answer, in order.
MEMBERS: Final = (
    "id",
    "name",
    "stage",
    "stage_raw",
    "stage_status",
    "status",
    "sector",
    "invested_usd",
    "invested_at",
    "created_at",
    "updated_at",
)
MAX_TEXT: Final = {"stage": MAX_RAW_STAGE, "sector": 100, "q": 200}

# U+FFFD as a client writes it. Django puts the character in place of bytes that are not UTF-8, and
# a search for it would find nothing.
_REPLACEMENT: Final = "%EF%BF%BD"
_MARK: Final = "\ufeff"
_PLUS_AT_THE_END: Final = re.compile(r"(?:^|&)stage=[^&]*\+(?:&|$)")


@dataclass(frozen=True, slots=True)
class CompanyParameters:
    """The parameters of one request; None for a filter that was not given."""

    stage: str | None = None
    stage_status: str | None = None
    status: str | None = None
    sector: str | None = None
    q: str | None = None
    sort: str = "id"
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None
    updated_since: datetime | None = None
    fields: tuple[str, ...] | None = None


class _ParameterRefused(ValueError):
    def __init__(self, code: IssueCode, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


def read_parameters(query: QueryDict, query_string: str) -> CompanyParameters:
    """Return the parameters.

    Raises one `invalid-request` problem that names each unknown, repeated or malformed one.
    `query_string` is the undecoded `query`. In it `stage=series-c+` may mean series-c+, typed
    without escaping, or "series-c ", as forms encode it. The two are different stages, so neither
    is assumed.
    """
    given: dict[str, Any] = {}
    errors: list[Item] = []
    if _PLUS_AT_THE_END.search(query_string):
        detail = (
            "A + at the end may mean a plus or a space. "
            "Write a plus as %2B, as in series-c%2B, and leave out the space."
        )
        errors.append(query_item("stage", IssueCode.AMBIGUOUS_PLUS, detail))
    given_as_such = _REPLACEMENT in query_string.upper()
    for name, values in query.lists():
        try:
            given[name] = _read(name, values)
            if name in MAX_TEXT and "\ufffd" in values[0] and not given_as_such:
                raise _ParameterRefused(IssueCode.INVALID, "The text is not UTF-8.")
        except _ParameterRefused as refused:
            errors.append(query_item(name, refused.code, refused.detail))
    if errors:
        raise invalid(errors)
    return CompanyParameters(**given)


def _read(name: str, values: list[str]) -> Any:
    reader = _READERS.get(name)
    if reader is None:
        raise _ParameterRefused(
            IssueCode.UNKNOWN_PARAMETER,
            "Unknown parameter. The parameters are " + ", ".join(_READERS) + ".",
        )
    if name == "fields":
        values = [",".join(values)]  # many clients repeat the parameter for each value of a list
    if len(values) != 1:
        raise _ParameterRefused(IssueCode.REPEATED_PARAMETER, "Give the parameter once.")
    return reader(name, values[0])


def _text(name: str, value: str) -> str:
    if "\0" in value:
        raise _ParameterRefused(IssueCode.NUL_CHARACTER, "Null characters are not allowed.")
    if len(value) > MAX_TEXT[name]:
        raise _ParameterRefused(IssueCode.MAX_LENGTH, f"Give at most {MAX_TEXT[name]} characters.")
    return value


def _normalized(form: Literal["NFC", "NFKC"]) -> Callable[[str, str], str]:
    # One letter has several encodings in Unicode; the query normalizes stored text the same way.
    # Text that was cut from a file may begin with the file's byte-order mark.
    return lambda name, value: unicodedata.normalize(form, _text(name, value).removeprefix(_MARK))


def _choice(choices: list[str]) -> Callable[[str, str], str]:
    def read(name: str, value: str) -> str:
        if value not in choices:
            raise _ParameterRefused(
                IssueCode.INVALID_CHOICE, "Give one of " + ", ".join(choices) + "."
            )
        return value

    return read


def _limit(name: str, value: str) -> int:
    number = whole_number_of(value)
    if number is None or not 1 <= number <= MAX_LIMIT:
        raise _ParameterRefused(IssueCode.INVALID, f"Give a whole number from 1 to {MAX_LIMIT}.")
    return number


def _moment(name: str, value: str) -> datetime:
    # The + of an offset, not escaped in the address, arrives as a space.
    text = value.upper().replace(" ", "+")
    try:
        moment = datetime.fromisoformat(text)
        if "T" in text and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _ParameterRefused(
        IssueCode.INVALID, "Give a date and time with its offset, as 2026-11-27T02:00:00Z."
    )


def _members(name: str, value: str) -> tuple[str, ...]:
    asked = value.split(",")
    unknown = [each for each in asked if each not in MEMBERS]
    if unknown:
        raise _ParameterRefused(
            IssueCode.INVALID_CHOICE, "Give some of " + ",".join(MEMBERS) + ", with commas."
        )
    return tuple(each for each in MEMBERS if each in asked or each == "id")


def _as_given(name: str, value: str) -> str:
    return value


_READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "stage": _text,
    "stage_status": _choice(list(STAGE_STATUSES)),
    "status": _choice(PortfolioCompany.Status.values),
    "sector": _normalized("NFC"),
    "q": _normalized("NFKC"),
    "sort": _choice(list(SORTS)),
    "limit": _limit,
    "cursor": _as_given,
    "updated_since": _moment,
    "fields": _members,
}

DOCUMENTED: Final = [
    OpenApiParameter(
        "stage",
        {"type": "string", "maxLength": MAX_RAW_STAGE, "pattern": ANY_TEXT},
        description=(
            "A stage in any spelling; finds every stored spelling of it. Canonical: "
            + ", ".join(VALID_STAGES)
            + ". In an address, write the plus of series-c+ as %2B."
        ),
    ),
    OpenApiParameter(
        "stage_status",
        {"$ref": "#/components/schemas/StageStatusEnum"},
        description="What the stage, as it was written, means today.",
    ),
    OpenApiParameter(
        "status",
        {"$ref": "#/components/schemas/CompanyStatusEnum"},
        description="What became of the investment.",
    ),
    OpenApiParameter(
        "sector",
        {"type": "string", "maxLength": 100, "pattern": ANY_TEXT},
        description="The whole sector, in its case.",
    ),
    OpenApiParameter(
        "q",
        {"type": "string", "maxLength": 200, "pattern": ANY_TEXT},
        description=("Text in the name. Case and the Unicode normalization form do not matter."),
    ),
    OpenApiParameter(
        "sort",
        OpenApiTypes.STR,
        enum=list(SORTS),
        description=(
            "Order; `-` for descending. The default is id. Ties are in order of id. "
            "Companies without the date come last."
        ),
    ),
    # In words: generated clients send a declared default.
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        description=f"The most entries of a page. The default is {DEFAULT_LIMIT}.",
    ),
    OpenApiParameter(
        "cursor",
        {"type": "string", "maxLength": LONGEST_CURSOR, "pattern": CURSOR_PATTERN},
        description="`next_cursor` of the previous page, with the same filters and sort.",
    ),
    OpenApiParameter(
        "updated_since",
        OpenApiTypes.DATETIME,
        description=(
            "Lists companies whose row changed at this moment or later. A stage that a decision "
            "changed is not a change of the row: read all again when `decisions_version` of "
            "`GET /api/stages` has changed. Deleted companies are not listed."
        ),
    ),
    OpenApiParameter(
        "fields",
        {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(MEMBERS)}},
        style="form",
        explode=False,
        description="The members to send, separated by commas. `id` is always sent.",
    ),
]
