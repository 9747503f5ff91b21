"""The shapes of answers about simulations: one simulation, and the page of a list."""

from typing import Any

from rest_framework import serializers

from normalization.problems import VALID_STAGES
from normalization.serializers import WarningItemSerializer
from stagenorm.portfolio.simulation_request_serializers import MAX_SEED, PROFILE_NAMES
from stagenorm.portfolio.simulation_requests import MixBasis
from stagenorm.portfolio.strategies_serializers import CheckSizeSerializer


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


class AskedTermsSerializer(serializers.Serializer[Any]):
    """The terms that were applied."""

    management_fee = serializers.FloatField()
    fee_full_years = serializers.IntegerField()
    fee_step = serializers.FloatField()
    fund_life_years = serializers.IntegerField()
    carry = serializers.FloatField()


class AskedSerializer(serializers.Serializer[Any]):
    """What was asked for, defaults filled in; from reserve_ratio on for market-v2 only."""

    fund_id = serializers.IntegerField()
    runs = serializers.IntegerField()
    horizon_years = serializers.IntegerField()
    portfolio_size = serializers.IntegerField()
    reserve_ratio = serializers.FloatField(required=False)
    deployment_months = serializers.IntegerField(required=False)
    factor_sigma = serializers.FloatField(required=False)
    terms = AskedTermsSerializer(required=False)
    mix_basis = serializers.ChoiceField([each.value for each in MixBasis], required=False)
    strategy_id = serializers.IntegerField(required=False, allow_null=True)
    commitment_usd = serializers.FloatField(required=False, allow_null=True)
    check_size = CheckSizeSerializer(required=False)
    target_multiple = serializers.FloatField(required=False, allow_null=True)
    target_irr = serializers.FloatField(required=False, allow_null=True)


class ProbabilitiesSerializer(serializers.Serializer[Any]):
    """Shares of the runs, 0 to 1. The last two are for market-v2; null without a target."""

    loss = serializers.FloatField()
    tvpi_gte_1 = serializers.FloatField()
    tvpi_gte_2 = serializers.FloatField()
    tvpi_gte_3 = serializers.FloatField()
    tvpi_gte_5 = serializers.FloatField()
    reach_target_multiple = serializers.FloatField(required=False, allow_null=True)
    reach_target_irr = serializers.FloatField(required=False, allow_null=True)


class OutcomesSerializer(serializers.Serializer[Any]):
    """Shares of a stage's companies by outcome band; null for a stage without companies."""

    # The band. It replaces the method `Field.fail`, which a serializer for output never calls.
    fail = serializers.FloatField(allow_null=True)  # type: ignore[assignment]
    modest = serializers.FloatField(allow_null=True)
    good = serializers.FloatField(allow_null=True)
    home_run = serializers.FloatField(allow_null=True)
    unicorn = serializers.FloatField(allow_null=True)


class StageResultSerializer(serializers.Serializer[Any]):
    """One stage over all runs: what a unit invested in it came to, gross."""

    stage = serializers.ChoiceField(VALID_STAGES)
    weight = serializers.FloatField()
    companies = serializers.IntegerField()
    tvpi = serializers.FloatField(allow_null=True)
    dpi = serializers.FloatField(allow_null=True)
    share_of_value = serializers.FloatField(allow_null=True)
    graduated = serializers.FloatField(
        required=False, allow_null=True, help_text="Share that raises a next round (market-v2)."
    )
    outcomes = OutcomesSerializer()


class HistogramSerializer(serializers.Serializer[Any]):
    """Runs by TVPI: bin i counts those from edge i up to edge i + 1; the last bin has its upper
    edge too.
    """

    edges = serializers.ListField(child=serializers.FloatField())
    counts = serializers.ListField(child=serializers.IntegerField())


class FundNumbersSerializer(serializers.Serializer[Any]):
    """Multiples and rate of return on one basis."""

    tvpi = DistributionSerializer()
    dpi = DistributionSerializer()
    rvpi = DistributionSerializer(required=False, help_text="Net only.")
    irr = DistributionSerializer()


class PlanDollarsSerializer(serializers.Serializer[Any]):
    """The plan in dollars."""

    fees = serializers.FloatField()
    investable = serializers.FloatField()
    first_cheque = serializers.FloatField()
    reserve = serializers.FloatField()
    paid_in_p50 = serializers.FloatField()


class PlanSerializer(serializers.Serializer[Any]):
    """How the commitment is used, as fractions of it."""

    fees = serializers.FloatField(help_text="Management fees over the fund's life.")
    investable = serializers.FloatField(help_text="What is left for companies.")
    first_cheque = serializers.FloatField(help_text="The size of one first cheque.")
    reserve = serializers.FloatField(help_text="Kept for follow-ons.")
    paid_in_p50 = serializers.FloatField(help_text="Median of what is called by the horizon.")
    usd = PlanDollarsSerializer(
        allow_null=True, help_text="In dollars; null without a commitment."
    )
    implied_portfolio_size = serializers.IntegerField(
        allow_null=True,
        help_text=(
            "First cheques of check_size.target that the plan affords; null without commitment "
            "or target."
        ),
    )


class PathBandsSerializer(serializers.Serializer[Any]):
    """Percentiles over the runs, a number for each year; null before the first call."""

    p10 = serializers.ListField(child=serializers.FloatField(allow_null=True))
    p50 = serializers.ListField(child=serializers.FloatField(allow_null=True))
    p90 = serializers.ListField(child=serializers.FloatField(allow_null=True))


class PathSerializer(serializers.Serializer[Any]):
    """The fund at the end of each year, net: cumulative fractions of the commitment, and
    multiples.
    """

    years = serializers.ListField(child=serializers.IntegerField())
    contributions = PathBandsSerializer()
    distributions = PathBandsSerializer()
    nav = PathBandsSerializer()
    tvpi = PathBandsSerializer()
    dpi = PathBandsSerializer()
    rvpi = PathBandsSerializer()


class ScenarioTvpiSerializer(serializers.Serializer[Any]):
    """TVPI of a scenario."""

    mean = serializers.FloatField()
    p10 = serializers.FloatField()
    p50 = serializers.FloatField()
    p90 = serializers.FloatField()


class AgainstBaseSerializer(serializers.Serializer[Any]):
    """Scenario minus base, on the scenario's basis. Standard errors are those of the paired
    differences.
    """

    tvpi_mean = serializers.FloatField()
    tvpi_std_error = serializers.FloatField()
    tvpi_p50 = serializers.FloatField()
    irr_p50 = serializers.FloatField()
    loss = serializers.FloatField()
    loss_std_error = serializers.FloatField()


class ScenarioAnswerSerializer(serializers.Serializer[Any]):
    """One scenario: the members that it changes, its numbers, and its differences from the
    base.
    """

    label = serializers.CharField()  # type: ignore[assignment]  # a member, not the argument
    profile = serializers.ChoiceField(PROFILE_NAMES)
    portfolio_size = serializers.IntegerField(required=False)
    reserve_ratio = serializers.FloatField(required=False)
    deployment_months = serializers.IntegerField(required=False)
    stage_mix = serializers.DictField(child=serializers.FloatField(), required=False)
    unmodelled_weight = serializers.FloatField()
    basis = serializers.ChoiceField(["net", "gross"])
    tvpi = ScenarioTvpiSerializer()
    dpi_p50 = serializers.FloatField()
    irr_p50 = serializers.FloatField()
    loss = serializers.FloatField()
    reach_target_multiple = serializers.FloatField(allow_null=True)
    reach_target_irr = serializers.FloatField(allow_null=True)
    against_base = AgainstBaseSerializer()


class SimulationAnswerSerializer(serializers.Serializer[Any]):
    """A simulation. Multiples are per unit paid in (net) or invested (gross), IRR is an annual
    fraction.
    """

    simulation_id = serializers.UUIDField()
    parameters = AskedSerializer()
    seed = serializers.IntegerField(max_value=MAX_SEED)
    parameters_hash = serializers.CharField(
        help_text="SHA-256 of all that determines the numbers, engine included."
    )
    profile = serializers.ChoiceField(PROFILE_NAMES)
    engine = serializers.CharField()
    stage_mix = serializers.DictField(
        child=serializers.FloatField(), help_text="Stage → weight; sums to 1."
    )
    basis = serializers.DictField(
        child=serializers.ChoiceField(["net", "gross"]),
        required=False,
        help_text=(
            "market-v2: for each member whether it is net of fees and carry or gross. Without "
            "it every number is gross."
        ),
    )
    tvpi = DistributionSerializer()
    dpi = DistributionSerializer()
    irr = DistributionSerializer()
    probabilities = ProbabilitiesSerializer()
    value_at_risk = serializers.FloatField(
        help_text="Loss at the 5th percentile, as a share of the money put in."
    )
    expected_shortfall = serializers.FloatField(help_text="Mean loss of the worst 5 %.")
    by_stage = StageResultSerializer(many=True)
    histogram = HistogramSerializer()
    expected_tvpi_analytic = serializers.FloatField(
        help_text=(
            "The expectation that `tvpi.mean` estimates; for market-v2 the expected gross value "
            "over the expected investment."
        )
    )
    unmodelled_weight = serializers.FloatField(
        help_text="Share of the weights that belongs to no known stage."
    )
    net = FundNumbersSerializer(required=False, help_text="market-v2.")
    gross = FundNumbersSerializer(required=False, help_text="market-v2, when included.")
    path = PathSerializer(required=False, help_text="market-v2, when included.")
    plan = PlanSerializer(required=False, help_text="market-v2.")
    scenarios = ScenarioAnswerSerializer(
        many=True, required=False, help_text="market-v2, when asked for."
    )
    warnings = WarningItemSerializer(many=True)


class SimulationRowSerializer(serializers.Serializer[Any]):
    """A simulation in a list; its address has the whole answer."""

    simulation_id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    client = serializers.CharField()
    profile = serializers.ChoiceField(PROFILE_NAMES)
    engine = serializers.CharField()
    seed = serializers.IntegerField(max_value=MAX_SEED)
    parameters_hash = serializers.CharField()
    parameters = AskedSerializer()
    stage_mix = serializers.DictField(child=serializers.FloatField())
    tvpi = DistributionSerializer()
    irr = DistributionSerializer()
    probabilities = ProbabilitiesSerializer()


class SimulationPageSerializer(serializers.Serializer[Any]):
    """One page of simulations, newest first."""

    simulations = SimulationRowSerializer(many=True)
    next_cursor = serializers.CharField(
        allow_null=True, help_text="`cursor` of the next page; null on the last page."
    )
