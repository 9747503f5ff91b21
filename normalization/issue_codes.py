"""The codes of the items in `errors` and `warnings`.

This is the only list. Each item is made by `issue`, and the OpenAPI document takes its enum from
here, so no answer has a code that clients cannot look up.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final


class IssueCode(Enum):
    """A code and what it means for the client."""

    INVALID = "invalid", "The value has the wrong type or form."
    REQUIRED = "required", "The member is missing."
    NULL = "null", "The member must not be null."
    BLANK = "blank", "The text must have a visible character."
    MAX_LENGTH = "max_length", "The text, list or object is too long."
    MIN_LENGTH = "min_length", "The text or list is too short."
    MAX_VALUE = "max_value", "The number is too large."
    MIN_VALUE = "min_value", "The number is too small."
    MAX_STRING_LENGTH = "max_string_length", "The number has too many digits."
    OVERFLOW = "overflow", "The number does not fit into a float."
    INVALID_CHOICE = "invalid_choice", "The text is not one of the documented ones."
    EMPTY = "empty", "The list or object needs at least one entry."
    NOT_A_LIST = "not_a_list", "A list is expected."
    NOT_A_DICT = "not_a_dict", "An object is expected."
    NOT_AN_OBJECT = "not_an_object", "An object is expected."
    NUL_CHARACTER = "null_characters_not_allowed", "The text has a NUL character."
    SURROGATE = "surrogate_characters_not_allowed", "The text has half of a surrogate pair."
    UNKNOWN_FIELD = "unknown_field", "The body has no such member."
    UNKNOWN_PARAMETER = "unknown_parameter", "The operation has no such query parameter."
    REPEATED_PARAMETER = "repeated_parameter", "The query parameter is given more than once."
    AMBIGUOUS_PLUS = "ambiguous_plus", "A + at the end of `stage` may be a plus or a space."
    INVALID_CURSOR = "invalid_cursor", "The cursor does not belong to this list."
    UNKNOWN_STAGE = (
        "unknown_stage",
        "The stage is not known; `suggestions` may have the right one.",
    )
    OUTSIDE_STAGE = (
        "outside_stage",
        "The text is decided to be none of the six stages; see `note`.",
    )
    MORE_UNKNOWN_STAGES = "more_unknown_stages", "`count` further stages are not known."
    MORE_OUTSIDE_STAGES = "more_outside_stages", "`count` further texts are outside the stages."
    MORE_WARNINGS = "more_warnings", "`count` further warnings did not fit into the answer."
    WEIGHTS_NOT_ONE = "weights_not_one", "The weights do not sum to 1."
    SHARES_ABOVE_ONE = "shares_above_one", "The shares sum to more than 1."
    DUPLICATE_STAGE = "duplicate_stage", "Two entries have the same spelling or stage."
    OUT_OF_ORDER = "out_of_order", "A minimum or target exceeds its maximum."
    DUPLICATE_LABEL = "duplicate_label", "Two scenarios have the same label."
    NEEDS_FUND_PROFILE = "needs_fund_profile", "The member needs a profile such as market-v2."
    NOTHING_TO_INVEST = "nothing_to_invest", "The fees leave nothing to invest."
    NO_FIRST_CHEQUE = "no_first_cheque", "The plan makes no first cheque."
    TOO_MANY_COMPANIES = "too_many_companies", "runs × portfolio sizes is too large."
    STORED_STAGE_UNKNOWN = "stored_stage_unknown", "`count` stored stages are left out."
    INVESTED_USD_MISSING = "invested_usd_missing", "`count` companies have no invested dollars."
    BEYOND_HORIZON = "deployment_beyond_horizon", "`count` first cheques fall after the horizon."
    CHEQUE_BELOW_MIN = "first_cheque_below_min", "A first cheque is below `check_size.min`."
    CHEQUE_ABOVE_MAX = "first_cheque_above_max", "A first cheque is above `check_size.max`."

    def __init__(self, wire: str, meaning: str) -> None:
        self.wire, self.meaning = wire, meaning


ISSUE_CODES: Final[dict[str, IssueCode]] = {code.wire: code for code in IssueCode}
"""The codes by their text on the wire."""


CODES_ON_WIRE: Final = list(ISSUE_CODES)


def issue(pointer: str, code: IssueCode, *, place: str = "body", **members: Any) -> dict[str, Any]:
    """Return an item.

    `pointer` is a JSON pointer (RFC 6901) into `place`, a part of the request: the body, `query`
    or `header`.
    """
    where = {} if place == "body" else {"in": place}
    return {"pointer": pointer, **where, "code": code.wire, **members}


def code_of(text: object) -> IssueCode:
    """Return the code of a validation error; `INVALID` for a text that is not in the list."""
    return ISSUE_CODES.get(str(text), IssueCode.INVALID)
