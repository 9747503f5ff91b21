"""The request and response bodies of strategies."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from normalization.issue_codes import IssueCode, issue
from normalization.problems import VALID_STAGES, Item, Problem, invalid
from normalization.serializers import (
    ANY_TEXT,
    RawStageField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    WarningItemSerializer,
    parse,
)
from stagenorm.portfolio.stage_weights import EXACT, StageAllocationField, total_of
from stagenorm.portfolio.strategies import CHECK_SIZES

MAX_SECTORS: Final = 50
MAX_SECTOR_NAME: Final = 100
MAX_CHECK: Final = 1_000_000_000_000
PORTFOLIO_SIZES: Final = ("target_portfolio_size", "max_portfolio_size")
# The sizes of a new strategy before the request is applied.
NEW_SIZES: Final[Mapping[str, Any]] = {
    "target_portfolio_size": 25,
    "max_portfolio_size": 30,
    "check_size": {},
}


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": MAX_SECTORS,
        "propertyNames": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_SECTOR_NAME,
            "pattern": ANY_TEXT,
        },
        "additionalProperties": {
            "type": "number",
            "format": "double",
            "minimum": 0,
            "maximum": 1,
        },
    }
)
class SectorAllocationField(serializers.DictField):
    """An object of at most 50 sectors with their shares, 0 to 1 each and together."""

    child = StrictFloatField(min_value=0, max_value=1)
    default_error_messages = {
        "max_length": "At most {limit} sectors are kept.",
        "shares_above_one": "The shares sum to {total:.6g}, more than 1.",
    }
    _name = StrictCharField(max_length=MAX_SECTOR_NAME)

    def to_internal_value(self, data: Any) -> dict[Any, float]:
        """Return sector → share."""
        if isinstance(data, Mapping) and len(data) > MAX_SECTORS:
            self.fail("max_length", limit=MAX_SECTORS)
        shares: dict[Any, float] = super().to_internal_value(data)
        total = total_of(shares.values())
        if total > 1 + EXACT:
            self.fail("shares_above_one", total=float(total))
        return shares

    def run_child_validation(self, data: Any) -> dict[Any, float]:
        """Return the shares; each sector's name must be text that can be stored."""
        shares: dict[Any, float] = {}
        errors: dict[Any, Any] = {}
        for sector, share in data.items():
            try:
                shares[self._name.run_validation(sector)] = self.child.run_validation(share)
            except serializers.ValidationError as error:
                errors[sector] = error.detail
        if errors:
            raise serializers.ValidationError(errors)
        return shares


class CheckSizeSerializer(StrictSerializer):
    """Dollars, kept to the cent; each is optional, min ≤ target ≤ max."""

    min = StrictFloatField(
        min_value=0,
        max_value=MAX_CHECK,
        required=False,
        allow_null=True,
        help_text="The smallest first cheque; null for no limit.",
    )
    target = StrictFloatField(
        min_value=0,
        max_value=MAX_CHECK,
        required=False,
        allow_null=True,
        help_text="The usual first cheque; null if there is none.",
    )
    max = StrictFloatField(
        min_value=0,
        max_value=MAX_CHECK,
        required=False,
        allow_null=True,
        help_text="The largest first cheque; null for no limit.",
    )


class StrategySerializer(StrictSerializer):
    """A new strategy."""

    fund_id = StrictIntegerField(help_text="The fund that the strategy belongs to.")
    name = StrictCharField(max_length=100, trim_whitespace=True, help_text="A name for people.")
    description = StrictCharField(
        max_length=500, allow_blank=True, default="", help_text="Free text."
    )
    model_type = StrictCharField(
        max_length=50,
        trim_whitespace=True,
        default="balanced",
        help_text="The client's own word for the kind of strategy.",
    )
    target_portfolio_size = StrictIntegerField(
        min_value=1, max_value=1000, default=25, help_text="Companies to invest in."
    )
    max_portfolio_size = StrictIntegerField(
        min_value=1,
        max_value=1000,
        default=30,
        help_text="Most companies; at least `target_portfolio_size`.",
    )
    deployment_months = StrictIntegerField(
        min_value=1, max_value=240, default=36, help_text="First cheques are made in these months."
    )
    check_size = CheckSizeSerializer(
        allow_null=True, default=None, help_text="Dollars of a first cheque."
    )
    sector_allocation = SectorAllocationField(
        default=dict, help_text="Sector → share, 0 to 1; together at most 1."
    )
    stage_allocation = StageAllocationField(
        help_text=(
            "Stage → weight. The weights sum to 1; a sum off by at most 5e-4 a stage "
            "(0.005 in all) is rescaled, with a warning."
        )
    )
    reserve_ratio = StrictFloatField(
        min_value=0, max_value=1, default=0.5, help_text="Share of the money for follow-ons."
    )
    risk_tolerance = StrictCharField(
        max_length=50,
        trim_whitespace=True,
        default="moderate",
        help_text="The client's own word for the risk.",
    )
    target_irr = StrictFloatField(
        min_value=0, max_value=10, allow_null=True, default=None, help_text="0.25 is 25 %."
    )
    target_multiple = StrictFloatField(
        min_value=0, max_value=1000, allow_null=True, default=None, help_text="Net TVPI to reach."
    )
    tags = serializers.ListField(
        child=StrictCharField(max_length=50, trim_whitespace=True),
        max_length=10,
        default=list,
        help_text="Words to find the strategy by, at most 10.",
    )


class StrategyPatchSerializer(StrategySerializer):
    """The members to change.

    `check_size` is merged member by member; allocations and tags are replaced.
    """

    # None drops an inherited field: a strategy keeps its fund.
    fund_id = None  # type: ignore[assignment]


class StageRowSerializer(serializers.Serializer[Any]):
    """One stage of a strategy: its first spelling, and the stage (null if unknown)."""

    spelling = RawStageField()
    stage = serializers.ChoiceField(
        VALID_STAGES, allow_null=True, help_text="Null if the spelling means no stage."
    )
    weight = serializers.FloatField()


class StrategyAnswerSerializer(serializers.Serializer[Any]):
    """A stored strategy."""

    id = serializers.IntegerField()
    fund_id = serializers.IntegerField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    model_type = serializers.CharField()
    target_portfolio_size = serializers.IntegerField()
    max_portfolio_size = serializers.IntegerField()
    deployment_months = serializers.IntegerField()
    check_size = CheckSizeSerializer()
    sector_allocation = serializers.DictField(child=serializers.FloatField())
    stage_allocation = serializers.DictField(
        child=serializers.FloatField(),
        help_text="Canonical stage, or the spelling of an unknown one → weight.",
    )
    stages = StageRowSerializer(many=True)
    reserve_ratio = serializers.FloatField()
    risk_tolerance = serializers.CharField()
    target_irr = serializers.FloatField(allow_null=True)
    target_multiple = serializers.FloatField(allow_null=True)
    tags = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    warnings = WarningItemSerializer(many=True, required=False)


class StrategyPageSerializer(serializers.Serializer[Any]):
    """One page of strategies, newest first."""

    strategies = StrategyAnswerSerializer(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text="`cursor` of the next page; null on the last one."
    )


def parse_strategy(
    shape: type[StrategySerializer],
    body: Any,
    stored: Mapping[str, Any] = NEW_SIZES,
    *,
    partial: bool = False,
) -> dict[str, Any]:
    """Return the validated members; raise one problem that names every fault of the body.

    The order of sizes is checked for the strategy as it would become: `stored` (the members of
    NEW_SIZES) with the body applied.
    """
    faults = _order_faults(stored, body) if isinstance(body, Mapping) else []
    try:
        members: dict[str, Any] = parse(shape, body, partial=partial)
    except Problem as problem:
        raise invalid([*problem.errors, *faults]) from problem
    if faults:
        raise invalid(faults)
    return members


def _order_faults(stored: Mapping[str, Any], body: Mapping[str, Any]) -> list[Item]:
    sizes = body.get("check_size", {})
    given = sizes if isinstance(sizes, Mapping) else {}
    kept = {} if sizes is None else stored["check_size"]
    return [
        *misordered("", PORTFOLIO_SIZES, stored, body),
        *misordered("/check_size", CHECK_SIZES, kept, given),
    ]


def misordered(
    at: str, names: tuple[str, ...], stored: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Item]:
    """Return a problem item for each number that exceeds the next of `names`, `given` over
    `stored`.
    """
    merged = {name: given.get(name, stored.get(name)) for name in names}
    numbers = [
        (n, v) for n, v in merged.items() if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    return [
        issue(
            f"{at}/{low if low in given else high}",
            IssueCode.OUT_OF_ORDER,
            detail=f"{low} exceeds {high}.",
        )
        for (low, smaller), (high, larger) in pairwise(numbers)
        if smaller > larger
    ]
