"""The members of a request for a simulation, and their shapes.

`simulation_requests` checks what depends on the strategy or on the plan, and
`simulation_answer_serializers` has the shape of the answer.
"""

from collections.abc import Mapping
from typing import Any, Final

from rest_framework import serializers

from normalization.issue_codes import IssueCode
from normalization.serializers import (
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
)
from stagenorm.portfolio.fund_simulation import MAX_PORTFOLIO
from stagenorm.portfolio.market_v2 import MARKET_PROFILES
from stagenorm.portfolio.return_profiles import DEFAULT_PROFILE, PROFILES
from stagenorm.portfolio.simulation_parameters import MAX_RUNS
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
        min_value=0, max_value=MAX_SEED, required=False, help_text="Random if absent."
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
    f"This member needs the profile {' or '.join(MARKET_PROFILES)}.",
    IssueCode.NEEDS_FUND_PROFILE.wire,
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
        return {"terms": [serializers.ErrorDetail(detail, IssueCode.NOTHING_TO_INVEST.wire)]}
    return {}


def _scenario_errors(attrs: Mapping[str, Any]) -> dict[int, Any]:
    """Return the errors by scenario: a repeated label, or a member that its profile lacks."""
    errors: dict[int, Any] = {}
    labels: set[str] = set()
    for index, scenario in enumerate(attrs.get("scenarios", ())):
        faults: dict[str, Any] = {}
        if scenario["label"] in labels:
            faults["label"] = [
                serializers.ErrorDetail(
                    "The label is given twice.", IssueCode.DUPLICATE_LABEL.wire
                )
            ]
        labels.add(scenario["label"])
        if scenario.get("profile", attrs["profile"]) not in MARKET_PROFILES:
            faults |= {
                name: [NEEDS_FUND_PROFILE] for name in SCENARIO_FUND_MEMBERS if name in scenario
            }
        if faults:
            errors[index] = faults
    return errors
