"""Strict serializers for requests, and the OpenAPI shapes of problems, warnings and headers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, Final

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import Direction, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from normalization.issue_codes import CODES_ON_WIRE, IssueCode, code_of, issue
from normalization.problems import CONTENT_TYPE, PROBLEM_TYPES, VALID_STAGES, Item, invalid
from normalization.rollout import Mode

MAX_RAW_STAGE: Final = 255
PLACES: Final = ("query", "header")
# JSON Schema's regular expressions (ECMA-262): PostgreSQL stores every text but those with NUL.
ANY_TEXT: Final = "^[^\\u0000]*$"
NOT_BLANK: Final = "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$"


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses unknown members instead of ignoring them."""

    default_error_messages: ClassVar = {"invalid": "Expected an object."}

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated members; raise one `ValidationError` with all errors."""
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, Mapping) else []
        errors: dict[str, Any] = {
            str(name): serializers.ErrorDetail(
                "This field is not known.", IssueCode.UNKNOWN_FIELD.wire
            )
            for name in unknown
        }
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if not errors or not isinstance(error.detail, dict):
                raise
            raise serializers.ValidationError(error.detail | errors) from error
        if errors:
            raise serializers.ValidationError(errors)
        return value


class StrictSerializerSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Describes a strict request body: no other members, and defaults in words only.

    Python clients send a declared `default`: a PATCH of one member would reset the others, and a
    POST would fix today's defaults in the client. TypeScript clients require its member.
    """

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Direction) -> dict[str, Any]:
        """Return the schema object."""
        schema: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        if direction == "request":
            schema["additionalProperties"] = False
            for name, member in schema.get("properties", {}).items():
                self._limit_text(self.target.fields[name], member)
                self._put_default_in_words(member)
        return schema

    def _limit_text(self, field: serializers.Field[Any, Any, Any, Any], member: Any) -> None:
        if isinstance(field, serializers.ListField):
            self._limit_text(field.child, member["items"])
        # The library would make a choice of two types of a pattern that allows a blank.
        elif getattr(field, "allow_blank", False):
            member["pattern"] = ANY_TEXT

    def _put_default_in_words(self, member: dict[str, Any]) -> None:
        default = member.pop("default", None)
        if default in (None, "") or getattr(self.target, "partial", False):
            return
        shown = f"{default:,}" if isinstance(default, int) else default
        sentence = f"The default is {shown}."
        member["description"] = f"{member.get('description', '')} {sentence}".strip()


class StrictCharField(serializers.CharField):
    """A JSON string: numbers and booleans are refused; by default the text is not trimmed."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the string; fail with `invalid` for anything else."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictCharFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Describes the texts that a strict field refuses: NUL, and blanks where it trims."""

    target_class = StrictCharField
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Direction) -> dict[str, Any]:
        """Return the schema object."""
        schema: dict[str, Any] = auto_schema._map_serializer_field(
            self.target, direction, bypass_extensions=True
        )
        if direction == "request" and not self.target.allow_blank:
            schema["pattern"] = NOT_BLANK if self.target.trim_whitespace else ANY_TEXT
        return schema


class RawStageField(StrictCharField):
    """A raw stage: any text of at most 255 characters. The boundary interprets it."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", MAX_RAW_STAGE)
        kwargs.setdefault("allow_blank", True)
        kwargs.setdefault(
            "help_text",
            "An investment stage; canonical values are " + ", ".join(VALID_STAGES) + ".",
        )
        super().__init__(**kwargs)


def whole_number(data: object) -> int | None:
    """Return a JSON number without a fraction as an integer; None for anything else.

    `1`, `1.0` and `1e0` are one number, for JSON Schema and for clients whose numbers are floats.
    """
    if isinstance(data, float) and data.is_integer():
        return int(data)
    return data if isinstance(data, int) and not isinstance(data, bool) else None


class StrictIntegerField(serializers.IntegerField):
    """A JSON number without a fraction: no boolean or string."""

    def to_internal_value(self, data: Any) -> int:
        """Return the integer; fail with `invalid` for anything else."""
        number = whole_number(data)
        if number is None:
            self.fail("invalid")
        return number


class StrictFloatField(serializers.FloatField):
    """A finite JSON number in the range of a float: no boolean, string, NaN or Infinity."""

    def to_internal_value(self, data: Any) -> float:
        """Return the number as a float; fail with `invalid` for anything else."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        try:
            number = float(data)
        except OverflowError:
            self.fail("overflow")
        if not math.isfinite(number):
            self.fail("invalid")
        return number


def parse(
    shape: type[serializers.Serializer[Any]],
    data: Any,
    *,
    partial: bool = False,
    where: str = "body",
) -> Any:
    """Return the validated data; raise one `invalid-request` problem that lists all errors.

    `partial` accepts absent members, as PATCH does. The fields are built once for each shape: REST
    framework copies all of them for each instance, which took a sixth of a simulation's time. So
    a field keeps nothing between two calls, and a default that can change is a callable.
    """
    if data is None:
        absent = serializers.ErrorDetail("No data provided", IssueCode.NULL.wire)
        raise invalid(list(problem_items([absent], where=where)))
    try:
        return built(shape, partial).run_validation(data)
    except serializers.ValidationError as error:
        raise invalid(list(problem_items(error.detail, where=where))) from None


@cache
def built(
    shape: type[serializers.Serializer[Any]], partial: bool = False
) -> serializers.Serializer[Any]:
    """Return the one instance of a shape, with its fields, for reading requests only."""
    return shape(partial=partial)


def problem_items(errors: Any, pointer: str = "", *, where: str = "body") -> Iterable[Item]:
    """Flatten REST framework's nested error details into items with JSON pointers (RFC 6901)."""
    if isinstance(errors, Mapping):
        for name, nested in errors.items():
            step = "" if name == "non_field_errors" else f"/{escape_pointer(str(name))}"
            yield from problem_items(nested, pointer + step, where=where)
    elif isinstance(errors, list) and any(isinstance(each, Mapping | list) for each in errors):
        for i, nested in enumerate(errors):
            yield from problem_items(nested, f"{pointer}/{i}", where=where)
    else:
        for detail in errors if isinstance(errors, list) else [errors]:
            code = code_of(getattr(detail, "code", None))
            item: Item = issue(pointer, code, detail=str(detail))
            yield item if where == "body" else {**item, "in": where}


def escape_pointer(token: str) -> str:
    """Escape one reference token of a JSON pointer (RFC 6901, section 3).

    A lone surrogate, which JSON can escape but UTF-8 cannot encode, becomes U+FFFD.
    """
    sendable = token.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return sendable.replace("~", "~0").replace("/", "~1")


class ItemSerializer(serializers.Serializer[Any]):
    """One issue of a request: place, code, and for stages the received text and suggestions."""

    pointer = serializers.CharField(
        help_text="JSON pointer (RFC 6901) to the place; empty for the whole request.",
        allow_blank=True,
    )
    code = serializers.ChoiceField(CODES_ON_WIRE, help_text="What is wrong, for programs.")
    detail = serializers.CharField(required=False, help_text="The same for people.")
    received = serializers.CharField(
        required=False, allow_blank=True, help_text="At most 100 characters of the text."
    )
    suggestions = serializers.ListField(
        child=serializers.ChoiceField(VALID_STAGES),
        required=False,
        help_text="What an unknown stage probably meant, best first. A person should decide.",
    )
    note = serializers.CharField(
        required=False, allow_blank=True, help_text="Why a stage is outside the six."
    )
    count = serializers.IntegerField(required=False, help_text="How many the item stands for.")

    def get_fields(self) -> dict[str, Any]:
        """Return the members; `in` is a keyword of Python, so it cannot be an attribute."""
        place = serializers.ChoiceField(
            PLACES, required=False, help_text="Part of the request; absent for the body."
        )
        return {**super().get_fields(), "in": place}


WarningItemSerializer = ItemSerializer


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457 problem document."""

    type = serializers.ChoiceField(
        PROBLEM_TYPES, help_text="The kind of problem, for programs; its page explains it."
    )
    title = serializers.CharField(help_text="The kind of problem, for people.")
    status = serializers.IntegerField(help_text="The status of the response.")
    detail = serializers.CharField(help_text="What happened in this request.")
    instance = serializers.CharField(help_text="urn:uuid of the request, as in our logs.")
    # Only describes a document: `errors` of the base class is never used.
    errors = ItemSerializer(  # type: ignore[assignment]
        many=True, required=False, help_text="Every issue of the request, at most 1,000."
    )
    mode = serializers.ChoiceField(
        [mode.value for mode in Mode], required=False, help_text="The mode that was applied."
    )
    policy_version = serializers.IntegerField(
        required=False, help_text="Version of the rollout that was applied."
    )
    valid_stages = serializers.ListField(
        child=serializers.ChoiceField(VALID_STAGES),
        required=False,
        help_text="The stages that may be sent.",
    )


_DESCRIPTIONS: Final = {
    400: "The body, a parameter or, in mode enforce, a stage is not valid.",
    401: "The key is missing, unknown or expired.",
    403: "The key may not do this.",
    404: "There is no such resource, or the key may not see it.",
    405: "The resource does not have this method.",
    406: "The endpoint answers JSON.",
    409: "The request conflicts with one in progress.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key was used for another body.",
    429: "The key's rate is used up.",
    503: "The database does not answer in time; nothing was done.",
}

STAGE_HEADERS: Final = (
    (
        "Stage-Validation",
        "Mode applied, version of the rollout, stages normalized, unknown and, where there are "
        "any, outside (RFC 9651 Item).",
    ),
    ("Deprecation", "Since when the spelling is deprecated (RFC 9745 Date)."),
    ("Sunset", "Announced date of enforcement (RFC 8594)."),
    ("Link", "Where deprecated spellings are listed."),
    ("Preference-Applied", "The preferences that were applied."),
)


def header(name: str, description: str, statuses: Iterable[int]) -> OpenApiParameter:
    """Document a response header for those statuses."""
    return OpenApiParameter(
        name,
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        response=list(statuses),
        description=description,
    )


def stage_headers(statuses: Iterable[int]) -> list[OpenApiParameter]:
    """Document the boundary's response headers, and the request header for a rehearsal."""
    given = list(statuses)
    prefer = OpenApiParameter(
        "Prefer",
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        description=(
            "`stage-validation=enforce` rehearses enforcement for this request. "
            "`handling=dry-run` checks a request that writes, and stores nothing. Both may be "
            "given, separated by a comma (RFC 7240)."
        ),
    )
    return [prefer, *(header(name, description, given) for name, description in STAGE_HEADERS)]


def problem_responses(*statuses: int) -> dict[tuple[int, str], OpenApiResponse]:
    """Document problem bodies for these statuses, and for those of every operation."""
    return {
        (status, CONTENT_TYPE): OpenApiResponse(
            ProblemSerializer, description=_DESCRIPTIONS[status]
        )
        for status in sorted({*statuses, 406, 503})
    }
