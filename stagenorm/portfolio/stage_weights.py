"""Stage weights of a request body: their shape, their sum, and the stages they belong to.

Both shapes, `[{"stage", "weight"}, …]` and `{stage: weight, …}`, become one list of (raw, weight).
The fields read items by hand: a nested serializer takes most of a second for 10,000 items.

Weights are fractions that sum to 1. One rule for the sum applies in every mode. A sum within EXACT
of 1 is accepted as it is. A sum within `tolerance` is rounding: it is accepted with a warning and
the weights are rescaled to sum to 1. Any other sum is refused. Sums are decimal: .1 + .2 is .3.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from normalization.boundary import Boundary
from normalization.issue_codes import IssueCode
from normalization.serializers import (
    ANY_TEXT,
    MAX_RAW_STAGE,
    RawStageField,
    StrictFloatField,
    escape_pointer,
)
from normalization.stages import Meaning, SpellingTable, Weights, normalize_weights

MAX_DISTRIBUTION: Final = 10_000
MAX_ALLOCATION: Final = 1_000
# A sum this far from 1 is not worth a warning.
EXACT: Final = Decimal("1e-6")
# Weights rounded to four digits (0.1667) are each off by up to 5e-5; 5e-4 covers three digits.
TOLERATED_PER_STAGE: Final = Decimal("5e-4")
TOLERATED: Final = Decimal("5e-3")
# Digits of a stage's share that arithmetic in the client, as 0.1 + 0.2, does not change.
SIGNIFICANT_DIGITS: Final = 12

Items = list[tuple[str, float]]
Errors = dict[Any, Any]

_STAGE = RawStageField()
_LARGEST: Final = float(1 + TOLERATED)
_WEIGHT = StrictFloatField(min_value=0, max_value=_LARGEST)
_WEIGHT_SCHEMA: Final = {
    "type": "number",
    "format": "double",
    "minimum": 0,
    "maximum": _LARGEST,
}


def total_of(weights: Iterable[float]) -> Decimal:
    """Return the sum of weights, each read as the decimal that it is written as."""
    return sum((Decimal(repr(weight)) for weight in weights), Decimal(0))


def tolerance(count: int) -> Decimal:
    """Return how far from 1 the sum of that many weights may be."""
    return min(TOLERATED_PER_STAGE * count, TOLERATED)


def significant(weight: float) -> float:
    """Return the weight without the digits that come from binary arithmetic."""
    return float(f"{weight:.{SIGNIFICANT_DIGITS}g}")


class _WeightsField(serializers.Field[Items, Any, Any, Any]):
    default_error_messages = {
        "not_a_list": "Expected a list of objects with stage and weight.",
        "not_an_object": "Expected an object.",
        "empty": "At least one stage is needed.",
        "max_length": "At most {limit} stages are read.",
        "weights_not_one": (
            "Weights are fractions that sum to 1; these sum to {total:.9g}{advice}."
        ),
        "duplicate_stage": "The same spelling is given twice.",
        "unknown_field": "This field is not known.",
        "required": "This field is required.",
    }

    def to_representation(self, value: Any) -> Any:
        """Return the value; answers have their own shapes and do not use this."""
        return value

    def checked(self, items: Items, errors: Errors, weights: Iterable[Any]) -> Items:
        """Return the items; raise all errors at once, and check the sum of faultless items.

        `weights` are the weights as sent. If they are percentages, that is the only error.
        """
        self._refuse_percentages(list(weights))
        if errors:
            raise serializers.ValidationError(errors)
        total = total_of(weight for _, weight in items)
        if abs(total - 1) > tolerance(len(items)):
            self.fail("weights_not_one", total=float(total), advice="")
        return items

    def bounded(self, size: int, limit: int) -> None:
        """Fail for no items and for more than `limit`."""
        if size == 0:
            self.fail("empty")
        if size > limit:
            self.fail("max_length", limit=limit)

    def error(self, code: str) -> list[serializers.ErrorDetail]:
        """Return one error whose message has no parameters."""
        return [serializers.ErrorDetail(str(self.error_messages[code]), code)]

    def _refuse_percentages(self, weights: list[Any]) -> None:
        if not all(type(weight) in (int, float) and 0 <= weight <= 101 for weight in weights):
            return
        total = total_of(weights)
        if abs(total / 100 - 1) <= tolerance(len(weights)):
            self.fail("weights_not_one", total=float(total), advice=": divide by 100")


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_DISTRIBUTION,
        "items": {
            "type": "object",
            "properties": {
                "stage": {"type": "string", "maxLength": MAX_RAW_STAGE, "pattern": ANY_TEXT},
                "weight": _WEIGHT_SCHEMA,
            },
            "required": ["stage", "weight"],
            "additionalProperties": False,
        },
    }
)
class StageDistributionField(_WeightsField):
    """A list of 1 to 10,000 `{"stage", "weight"}` without a repeated spelling."""

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
        weights = (item.get("weight") if isinstance(item, dict) else None for item in data)
        return self.checked(items, errors, weights)

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
            # Without faults neither is None.
            items.append((stage, weight))  # type: ignore[arg-type]
        return faults


@extend_schema_field(
    {
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_ALLOCATION,
        "propertyNames": {"type": "string", "maxLength": MAX_RAW_STAGE, "pattern": ANY_TEXT},
        "additionalProperties": _WEIGHT_SCHEMA,
    }
)
class StageAllocationField(_WeightsField):
    """An object of 1 to 1,000 stages with their weights."""

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
        return self.checked(items, errors, data.values())


def _valid(
    field: serializers.Field[Any, Any, Any, Any], value: Any, errors: Errors, name: str
) -> Any:
    # The fast path of most values: printable text has neither NUL nor surrogates, and NaN fails
    # every comparison.
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
    """Check the items' stages at the boundary; return a result for each, and the weights by stage.

    `at` is the pointer to the whole, `pointer(i)` to the i-th stage. The weights are rescaled if
    their sum is rounded. Warns of a rescaled sum and of merged spellings. Raises `UnknownStage`.
    """
    results = boundary.check([raw for raw, _ in items], pointer, legacy=legacy)
    return results, weigh_checked(boundary, items, at=at, pointer=pointer)


def weigh_checked(
    boundary: Boundary, items: Items, *, at: str, pointer: Callable[[int], str]
) -> Weights:
    """Return the weights by stage of items whose stages the boundary has checked, rescaled to sum
    to 1.

    Warns of a rescaled sum and of merged spellings.
    """
    weights = rescaled_weights(items, boundary.table)
    total = total_of(weight for _, weight in items)
    if abs(total - 1) > EXACT:
        detail = f"The weights sum to {float(total):.9g}; they were rescaled to sum to 1."
        boundary.warn(IssueCode.WEIGHTS_NOT_ONE, at, detail=detail)
    if weights.merged:
        _warn_of_merged(boundary, weights, {raw: pointer(i) for i, (raw, _) in enumerate(items)})
    return weights


def rescaled_weights(items: Items, table: SpellingTable) -> Weights:
    """Return the weights by stage of `table`, rescaled to sum to 1 if their sum is rounded."""
    weights = normalize_weights(items, table)
    total = total_of(weight for _, weight in items)
    return _rescaled(weights, total) if abs(total - 1) > EXACT else weights


def _rescaled(weights: Weights, total: Decimal) -> Weights:
    def share(weight: float) -> float:
        return float(Decimal(repr(weight)) / total)

    return replace(
        weights,
        by_stage={stage: share(weight) for stage, weight in weights.by_stage.items()},
        unknown=tuple((found, share(weight)) for found, weight in weights.unknown),
        outside=tuple((found, share(weight)) for found, weight in weights.outside),
    )


def _warn_of_merged(boundary: Boundary, weights: Weights, places: dict[str, str]) -> None:
    for stage, raws in weights.merged:
        boundary.warn(
            IssueCode.DUPLICATE_STAGE,
            places[raws[1]],
            detail=f"{len(raws)} spellings of {stage} were added up.",
            received=raws[1][:100],
            count=len(raws),
        )


def member_pointer(at: str, items: Items) -> Callable[[int], str]:
    """Return the `pointer` function for members of an object, named by the items' texts."""
    return lambda i: f"{at}/{escape_pointer(items[i][0])}"
