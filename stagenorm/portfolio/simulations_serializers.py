"""The JSON of simulations: the members of a request, and the shape of an answer."""

from collections.abc import Mapping
from typing import Any, Final

from rest_framework import serializers

from normalization.problems import VALID_STAGES
from normalization.serializers import (
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    WarningItemSerializer,
)
from stagenorm.portfolio.fund_simulation import MAX_PORTFOLIO
from stagenorm.portfolio.market_v2 import MARKET_PROFILES
from stagenorm.portfolio.monte_carlo import MAX_RUNS
from stagenorm.portfolio.return_profiles import DEFAULT_PROFILE, PROFILES
from stagenorm.portfolio.simulation_requests import (
    FUND_MEMBERS,
    SCENARIO_FUND_MEMBERS,
    MixBasis,
    terms_of,
)
from stagenorm.portfolio.stage_weights import StageDistributionField
from stagenorm.portfolio.strategies_serializers import MAX_CHECK, CheckSizeSerializer, misordered

# The largest integer that every JSON reader keeps exactly.
MAX_SEED: Final = 2**53 - 1
MAX_SCENARIOS: Final = 10
MAX_LABEL: Final = 40
PROFILE_NAMES: Final = (*PROFILES, *MARKET_PROFILES)
# The parts of an answer that are computed on request.
INCLUDES: Final = ("gross", "path")


class StrictChoiceField(serializers.ChoiceField):
    """One of some JSON strings; a number or boolean that prints like one is refused."""

    def to_internal_value(self, data: Any) -> str:
        """Return the choice; fail with `invalid_choice` for anything else."""
        if not isinstance(data, str) or data not in self.choices:
            self.fail("invalid_choice", input=str(data)[:100])
        return data


class TermsSerializer(StrictSerializer):
    """What the fund charges; members that are absent are the profile's."""

    management_fee = StrictFloatField(
        min_value=0,
        max_value=0.1,
        required=False,
        help_text="Fraction of the commitment a year. market-v2: 0.02.",
    )
    fee_full_years = StrictIntegerField(
        min_value=0,
        max_value=30,
        required=False,
        help_text="Years at the full fee. market-v2: 5.",
    )
    fee_step = StrictFloatField(
        min_value=0,
        max_value=1,
        required=False,
        help_text="Each later year's fee over that of the year before. market-v2: 0.9.",
    )
    fund_life_years = StrictIntegerField(
        min_value=1,
        max_value=30,
        required=False,
        help_text="Years until the last fee. market-v2: 10.",
    )
    carry = StrictFloatField(
        min_value=0,
        max_value=0.5,
        required=False,
        help_text="Share of the whole fund's profit, without a hurdle. market-v2: 0.2.",
    )


class ScenarioSerializer(StrictSerializer):
    """A change of the base simulation, under the same random numbers."""

    # The member of the request. `Field.label` of the class is unused.
    label = StrictCharField(  # type: ignore[assignment]
        max_length=MAX_LABEL, trim_whitespace=True
    )
    stage_distribution = StageDistributionField(required=False)
    portfolio_size = StrictIntegerField(min_value=1, max_value=MAX_PORTFOLIO, required=False)
    reserve_ratio = StrictFloatField(min_value=0, max_value=1, required=False)
    deployment_months = StrictIntegerField(min_value=1, max_value=240, required=False)
    profile = StrictChoiceField(
        choices=list(PROFILE_NAMES),
        required=False,
        help_text="With a profile of the first generation the scenario is gross.",
    )


class SimulationSerializer(StrictSerializer):
    """What to simulate."""

    fund_id = StrictIntegerField()
    runs = StrictIntegerField(
        min_value=100,
        max_value=MAX_RUNS,
        default=10_000,
        help_text="runs × portfolio sizes of the base and its scenarios is at most 50 million.",
    )
    horizon_years = StrictIntegerField(
        min_value=1,
        max_value=15,
        required=False,
        help_text="When absent 8, and 12 for market-v2.",
    )
    portfolio_size = StrictIntegerField(
        min_value=1,
        max_value=MAX_PORTFOLIO,
        required=False,
        help_text="When absent the strategy's target_portfolio_size, or 25.",
    )
    seed = StrictIntegerField(
        min_value=0, max_value=MAX_SEED, required=False, help_text="Drawn when absent."
    )
    profile = StrictChoiceField(choices=list(PROFILE_NAMES), default=DEFAULT_PROFILE)
    stage_distribution = StageDistributionField(
        required=False,
        help_text=(
            "The weights sum to 1. When absent: the strategy's allocation, or the mix of the "
            "fund's own active companies."
        ),
    )
    strategy_id = StrictIntegerField(
        min_value=1,
        required=False,
        help_text=(
            "A strategy of the fund. Its stage_allocation, target_portfolio_size, "
            "reserve_ratio, deployment_months, check_size, target_multiple and target_irr apply "
            "where the request has no member of its own."
        ),
    )
    commitment_usd = StrictFloatField(
        min_value=1,
        max_value=MAX_CHECK,
        required=False,
        help_text="Dollars committed to the fund. When absent the fund's size_usd.",
    )
    mix_basis = StrictChoiceField(
        choices=[each.value for each in MixBasis],
        required=False,
        help_text=(
            "What weighs the fund's own companies: companies (the default) or invested_usd. "
            "First cheques are of one size, so it changes nothing where weights are given."
        ),
    )
    reserve_ratio = StrictFloatField(
        min_value=0,
        max_value=1,
        required=False,
        help_text=(
            "Share of the investable money for follow-ons; below 1. When absent the strategy's, "
            "or 0.4."
        ),
    )
    deployment_months = StrictIntegerField(
        min_value=1,
        max_value=240,
        required=False,
        help_text="First cheques are spread evenly over them. When absent the strategy's, or 36.",
    )
    check_size = CheckSizeSerializer(
        required=False,
        help_text="Dollars of a first cheque; replaces that of the strategy as a whole.",
    )
    target_multiple = StrictFloatField(
        min_value=0, max_value=1000, required=False, help_text="Net TVPI to reach."
    )
    target_irr = StrictFloatField(
        min_value=0, max_value=10, required=False, help_text="Net IRR to reach; 0.25 is 25 %."
    )
    terms = TermsSerializer(required=False)
    factor_sigma = StrictFloatField(
        min_value=0,
        max_value=1,
        required=False,
        help_text="Strength of the factor that all companies of a fund share. market-v2: 0.6.",
    )
    include = serializers.ListField(
        child=StrictChoiceField(choices=list(INCLUDES)),
        required=False,
        max_length=len(INCLUDES),
        help_text="Further parts of the answer: gross numbers, and the path by year.",
    )
    scenarios = serializers.ListField(
        child=ScenarioSerializer(), required=False, min_length=1, max_length=MAX_SCENARIOS
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check the members against each other."""
        if attrs["profile"] in MARKET_PROFILES:
            errors = _fund_errors(attrs)
        else:
            errors = {name: [NEEDS_FUND_PROFILE] for name in FUND_MEMBERS if name in attrs}
        if errors:
            raise serializers.ValidationError(errors)
        return attrs


NEEDS_FUND_PROFILE: Final = serializers.ErrorDetail(
    f"Only {', '.join(MARKET_PROFILES)} has this; name it as the profile.", "needs_fund_profile"
)


def _fund_errors(attrs: Mapping[str, Any]) -> dict[str, Any]:
    errors: dict[str, Any] = {}
    if "terms" in attrs:
        errors |= _terms_errors(attrs["profile"], attrs["terms"])
    faults = misordered("", ("min", "target", "max"), {}, attrs.get("check_size", {}))
    if faults:
        errors["check_size"] = {
            fault["pointer"].strip("/"): [serializers.ErrorDetail(fault["detail"], fault["code"])]
            for fault in faults
        }
    scenarios = _scenario_errors(attrs)
    return errors | ({"scenarios": scenarios} if scenarios else {})


def _terms_errors(profile: str, terms: Mapping[str, Any]) -> dict[str, Any]:
    try:
        terms_of(profile, terms)
    except ValueError:
        detail = "The fees of the fund's life leave nothing to invest."
        return {"terms": [serializers.ErrorDetail(detail, "nothing_to_invest")]}
    return {}


def _scenario_errors(attrs: Mapping[str, Any]) -> dict[int, Any]:
    """Return the errors by scenario: a label given twice, or a member that its profile does not
    have.
    """
    errors: dict[int, Any] = {}
    labels: set[str] = set()
    for index, scenario in enumerate(attrs.get("scenarios", ())):
        faults: dict[str, Any] = {}
        if scenario["label"] in labels:
            faults["label"] = [
                serializers.ErrorDetail("The label is given twice.", "duplicate_label")
            ]
        labels.add(scenario["label"])
        if scenario.get("profile", attrs["profile"]) not in MARKET_PROFILES:
            faults |= {
                name: [NEEDS_FUND_PROFILE] for name in SCENARIO_FUND_MEMBERS if name in scenario
            }
        if faults:
            errors[index] = faults
    return errors


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
    profile = serializers.CharField()
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
    profile = serializers.CharField()
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
    profile = serializers.CharField()
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
