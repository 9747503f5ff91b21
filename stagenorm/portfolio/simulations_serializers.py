"""The shapes of simulations on the wire: what a request may hold, and what an answer does."""

from typing import Any, Final

from rest_framework import serializers

from normalization.problems import VALID_STAGES
from normalization.serializers import StrictIntegerField, StrictSerializer, WarningItemSerializer
from stagenorm.portfolio.return_profiles import DEFAULT_PROFILE, PROFILES
from stagenorm.portfolio.stage_weights import StageDistributionField

# The largest whole number that every JSON reader keeps exactly.
MAX_SEED: Final = 2**53 - 1


class StrictChoiceField(serializers.ChoiceField):
    """One of some JSON strings; a number or boolean that happens to print like one is refused."""

    def to_internal_value(self, data: Any) -> str:
        """Return the choice; fail with `invalid_choice` for anything else."""
        if not isinstance(data, str) or data not in self.choices:
            self.fail("invalid_choice", input=str(data)[:100])
        return data


class SimulationSerializer(StrictSerializer):
    """What to simulate."""

    fund_id = StrictIntegerField()
    runs = StrictIntegerField(min_value=100, max_value=50_000, default=10_000)
    horizon_years = StrictIntegerField(min_value=1, max_value=15, default=8)
    portfolio_size = StrictIntegerField(min_value=1, max_value=1_000, default=25)
    seed = StrictIntegerField(
        min_value=0, max_value=MAX_SEED, required=False, help_text="Drawn when absent."
    )
    profile = StrictChoiceField(choices=list(PROFILES), default=DEFAULT_PROFILE)
    stage_distribution = StageDistributionField(
        required=False,
        help_text="The weights sum to 1. Absent: the mix of the fund's own active companies.",
    )


class DistributionSerializer(serializers.Serializer[Any]):
    """A quantity over all runs: mean, its standard error, and percentiles."""

    mean = serializers.FloatField()
    std_error = serializers.FloatField()
    p5 = serializers.FloatField()
    p10 = serializers.FloatField()
    p25 = serializers.FloatField()
    p50 = serializers.FloatField()
    p75 = serializers.FloatField()
    p90 = serializers.FloatField()
    p95 = serializers.FloatField()


class AskedSerializer(serializers.Serializer[Any]):
    """What was asked for, defaults filled in."""

    fund_id = serializers.IntegerField()
    runs = serializers.IntegerField()
    horizon_years = serializers.IntegerField()
    portfolio_size = serializers.IntegerField()


class ProbabilitiesSerializer(serializers.Serializer[Any]):
    """Shares of the runs, 0 to 1."""

    loss = serializers.FloatField()
    tvpi_gte_1 = serializers.FloatField()
    tvpi_gte_2 = serializers.FloatField()
    tvpi_gte_3 = serializers.FloatField()
    tvpi_gte_5 = serializers.FloatField()


class OutcomesSerializer(serializers.Serializer[Any]):
    """Shares of a stage's companies by outcome band; null for a stage that no company had."""

    fail = serializers.FloatField(allow_null=True)  # type: ignore[assignment]  # a band, not the method
    modest = serializers.FloatField(allow_null=True)
    good = serializers.FloatField(allow_null=True)
    home_run = serializers.FloatField(allow_null=True)
    unicorn = serializers.FloatField(allow_null=True)


class StageResultSerializer(serializers.Serializer[Any]):
    """One stage over all runs: what a unit invested in it came to."""

    stage = serializers.ChoiceField(VALID_STAGES)
    weight = serializers.FloatField()
    companies = serializers.IntegerField()
    tvpi = serializers.FloatField(allow_null=True)
    dpi = serializers.FloatField(allow_null=True)
    share_of_value = serializers.FloatField(allow_null=True)
    outcomes = OutcomesSerializer()


class HistogramSerializer(serializers.Serializer[Any]):
    """Runs by TVPI: bin i counts those from edge i up to edge i + 1, the last one its upper edge
    as well.
    """

    edges = serializers.ListField(child=serializers.FloatField())
    counts = serializers.ListField(child=serializers.IntegerField())


class SimulationAnswerSerializer(serializers.Serializer[Any]):
    """A simulation. TVPI and DPI are per unit invested, IRR is an annual fraction."""

    simulation_id = serializers.UUIDField()
    parameters = AskedSerializer()
    seed = serializers.IntegerField(max_value=MAX_SEED)
    parameters_hash = serializers.CharField(
        help_text="SHA-256 of all that determines the numbers, engine included."
    )
    profile = serializers.CharField()
    engine = serializers.CharField()
    stage_mix = serializers.DictField(
        child=serializers.FloatField(), help_text="Stage → weight; sums to 1."
    )
    tvpi = DistributionSerializer()
    dpi = DistributionSerializer()
    irr = DistributionSerializer()
    probabilities = ProbabilitiesSerializer()
    value_at_risk = serializers.FloatField(
        help_text="Loss at the 5th percentile, as a share of the investment."
    )
    expected_shortfall = serializers.FloatField(help_text="Mean loss of the worst 5 %.")
    by_stage = StageResultSerializer(many=True)
    histogram = HistogramSerializer()
    expected_tvpi_analytic = serializers.FloatField(
        help_text="The expectation that `tvpi.mean` estimates."
    )
    unmodelled_weight = serializers.FloatField(
        help_text="Share of the weights that no known stage stands for."
    )
    warnings = WarningItemSerializer(many=True)
