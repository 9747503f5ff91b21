"""Stage weights in a request body: their shape, and what they mean once the boundary has looked at the stages.

Both shapes, `[{"stage", "weight"}, …]` and `{stage: weight, …}`, are read into the same list of (raw, weight).
They are read by hand: a nested serializer per item would take most of a second for 10,000 items.
"""

import math
from collections.abc import Callable
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from normalization.boundary import Boundary
from normalization.problems import Item, UnknownStage, invalid
from normalization.rollout import Mode
from normalization.serializers import RawStageField, StrictFloatField, escape_pointer
from normalization.stages import Meaning, Weights, normalize_weights

MAX_DISTRIBUTION: Final = 10_000
MAX_ALLOCATION: Final = 1_000
# A sum this far from 1 is rounding. Up to the second it is worth a warning, and mode enforce refuses it.
EXACT: Final = 1e-6
TOLERATED: Final = 1e-4
# One part in a million must count as such although 1 - 0.999999 is a little more than 1e-6 in binary.
_BINARY_NOISE: Final = 1e-12

Items = list[tuple[str, float]]
Errors = dict[Any, Any]

_STAGE = RawStageField()
_WEIGHT = StrictFloatField(min_value=0, max_value=1 + TOLERATED)
_WEIGHT_SCHEMA: Final = {
    "type": "number",
    "format": "double",
    "minimum": 0,
    "maximum": 1 + TOLERATED,
}


def distance_from_one(items: Items) -> float:
    """How far the weights' sum is from 1."""
    return max(0.0, abs(math.fsum(weight for _, weight in items) - 1) - _BINARY_NOISE)


class _WeightsField(serializers.Field[Items, Any, Any, Any]):
    default_error_messages = {
        "not_a_list": "Expected a list of objects with stage and weight.",
        "not_an_object": "Expected an object.",
        "empty": "At least one stage is needed.",
        "max_length": "At most {limit} stages are read.",
        "weights_not_one": "The weights sum to {total:.6g}, not to 1.",
        "duplicate_stage": "The same spelling is given twice.",
        "unknown_field": "This field is not known.",
        "required": "This field is required.",
    }

    def to_representation(self, value: Any) -> Any:
        """Unused: answers have their own shapes."""
        return value

    def checked(self, items: Items, errors: Errors) -> Items:
        """The items, or every error of theirs at once; the sum is looked at only when each weight is one."""
        if errors:
            raise serializers.ValidationError(errors)
        if distance_from_one(items) > TOLERATED:
            self.fail("weights_not_one", total=math.fsum(weight for _, weight in items))
        return items

    def bounded(self, size: int, limit: int) -> None:
        """Fail for none or more than `limit` items."""
        if size == 0:
            self.fail("empty")
        if size > limit:
            self.fail("max_length", limit=limit)

    def error(self, code: str) -> list[serializers.ErrorDetail]:
        """One error without values of its own."""
        return [serializers.ErrorDetail(str(self.error_messages[code]), code)]


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_DISTRIBUTION,
        "items": {
            "type": "object",
            "properties": {
                "stage": {"type": "string", "maxLength": 255},
                "weight": _WEIGHT_SCHEMA,
            },
            "required": ["stage", "weight"],
            "additionalProperties": False,
        },
    }
)
class StageDistributionField(_WeightsField):
    """A list of 1 to 10,000 `{"stage", "weight"}`, no spelling twice, weights ≥ 0 that sum to 1 (within 1e-4)."""

    def to_internal_value(self, data: Any) -> Items:
        """Return the (raw, weight) pairs in order."""
        if not isinstance(data, list):
            self.fail("not_a_list")
        self.bounded(len(data), MAX_DISTRIBUTION)
        items: Items = []
        errors: Errors = {}
        seen: set[str] = set()
        for i, item in enumerate(data):
            faults = self._read(item, items)
            if not faults:
                raw = items[-1][0]
                faults = {"stage": self.error("duplicate_stage")} if raw in seen else {}
                seen.add(raw)
            if faults:
                errors[i] = faults
        return self.checked(items, errors)

    def _read(self, item: Any, items: Items) -> Errors | list[serializers.ErrorDetail]:
        if not isinstance(item, dict):
            return self.error("not_an_object")
        faults: Errors = {
            name: self.error("unknown_field") for name in item if name not in ("stage", "weight")
        }
        faults |= {
            name: self.error("required") for name in ("stage", "weight") if name not in item
        }
        stage = _valid(_STAGE, item["stage"], faults, "stage") if "stage" in item else None
        weight = _valid(_WEIGHT, item["weight"], faults, "weight") if "weight" in item else None
        if not faults:
            items.append((stage, weight))  # type: ignore[arg-type]  # without faults both are there
        return faults


@extend_schema_field(
    {
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_ALLOCATION,
        "additionalProperties": _WEIGHT_SCHEMA,
    }
)
class StageAllocationField(_WeightsField):
    """An object of 1 to 1,000 stages with their weights ≥ 0 that sum to 1 (within 1e-4)."""

    def to_internal_value(self, data: Any) -> Items:
        """Return the (raw, weight) pairs in order."""
        if not isinstance(data, dict):
            self.fail("not_an_object")
        self.bounded(len(data), MAX_ALLOCATION)
        items: Items = []
        errors: Errors = {}
        for raw, weight in data.items():
            _valid(_STAGE, raw, errors, raw)
            value = _valid(_WEIGHT, weight, errors, raw)
            if raw not in errors:
                items.append((raw, value))
        return self.checked(items, errors)


def _valid(
    field: serializers.Field[Any, Any, Any, Any], value: Any, errors: Errors, name: str
) -> Any:
    # Most values need no more than this: printable text has no NUL and no surrogate, and no comparison with NaN holds.
    kind = type(value)
    if field is _STAGE and kind is str and len(value) <= 255 and value.isprintable():
        return value
    if field is _WEIGHT and (kind is float or kind is int) and 0 <= value <= 1:
        return float(value)
    try:
        return field.run_validation(value)
    except serializers.ValidationError as error:
        errors.setdefault(name, error.detail)
        return None


def judge_weights(
    boundary: Boundary,
    items: Items,
    *,
    at: str,
    pointer: Callable[[int], str],
    legacy: frozenset[str] = frozenset(),
) -> tuple[list[Meaning], Weights]:
    """Take the items through the boundary: a result for each, and the weights by stage.

    `at` is the pointer to the whole, `pointer(i)` to the i-th stage. Warns of merged spellings and of a sum that is
    not quite 1. Raises the boundary's UnknownStage, and in mode enforce an invalid-request problem for such a sum;
    when both are wrong, one problem names both.
    """
    refused = _unequal(boundary, items, at)
    try:
        results = boundary.check([raw for raw, _ in items], pointer, legacy=legacy)
    except UnknownStage as problem:
        problem.errors += refused
        raise
    if refused:
        raise invalid(refused)
    weights = normalize_weights(items, boundary.table)
    if weights.merged:
        place = {raw: pointer(i) for i, (raw, _) in enumerate(items)}
        for stage, raws in weights.merged:
            detail = f"{len(raws)} spellings of {stage} were added up."
            boundary.warn(
                "duplicate_stage",
                place[raws[1]],
                detail=detail,
                received=raws[1][:100],
                count=len(raws),
            )
    return results, weights


def _unequal(boundary: Boundary, items: Items, at: str) -> list[Item]:
    if distance_from_one(items) <= EXACT:
        return []
    detail = f"The weights sum to {math.fsum(weight for _, weight in items):.9g}, not to 1."
    if boundary.mode is Mode.ENFORCE:
        return [{"pointer": at, "code": "weights_not_one", "detail": detail}]
    boundary.warn("weights_not_one", at, detail=detail)
    return []


def member_pointer(at: str, items: Items) -> Callable[[int], str]:
    """The `pointer` of an object's members: the i-th has the i-th item's text for its name."""
    return lambda i: f"{at}/{escape_pointer(items[i][0])}"
