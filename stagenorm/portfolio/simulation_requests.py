"""The parameters of a fund simulation: a request's members, then the strategy's, then defaults.

The modules of the engine use neither strategies nor requests. A `FundRequest` has the parameters
for the engine and what to report. Checks of members against each other are here; their shapes are
in `simulation_request_serializers`.
"""

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from normalization.issue_codes import IssueCode, issue
from normalization.problems import Item
from normalization.stages import Stage
from stagenorm.portfolio.fund_plan import FundPlan
from stagenorm.portfolio.fund_simulation import FundParameters
from stagenorm.portfolio.fund_summary import ChequeRange, Included, Targets
from stagenorm.portfolio.market_profiles import MONTHS_PER_YEAR, FundTerms
from stagenorm.portfolio.market_v2 import MARKET_PROFILES
from stagenorm.portfolio.models import Fund, PortfolioStrategy
from stagenorm.portfolio.monte_carlo import SimulationParameters
from stagenorm.portfolio.simulation_parameters import determining

DEFAULT_PORTFOLIO_SIZE: Final = 25
DEFAULT_HORIZON_YEARS: Final = 8
DEFAULT_FUND_HORIZON_YEARS: Final = 12
# Companies of all runs of the base and its scenarios together.
MOST_COMPANIES: Final = 50_000_000
# Members that need a profile of the second generation.
FUND_MEMBERS: Final = (
    *("strategy_id", "commitment_usd", "mix_basis", "reserve_ratio", "deployment_months"),
    *("check_size", "target_multiple", "target_irr", "terms", "factor_sigma"),
    *("include", "scenarios"),
)
SCENARIO_FUND_MEMBERS: Final = ("reserve_ratio", "deployment_months")


class MixBasis(enum.StrEnum):
    """What weighs the stages of a fund's own companies."""

    COMPANIES = "companies"
    INVESTED_USD = "invested_usd"


@dataclass(frozen=True, slots=True)
class StageMix:
    """Weights of known stages, in stage order, that sum to 1; and the share that could not be
    modelled.
    """

    weights: dict[Stage, float]
    unmodelled_weight: float


@dataclass(frozen=True, slots=True)
class ScenarioRequest:
    """One scenario: `given` are its own members, the rest of its parameters are the base's."""

    label: str
    parameters: FundParameters | SimulationParameters
    mix: StageMix
    given: frozenset[str]

    def shown(self) -> dict[str, Any]:
        """Return what makes the scenario: its profile and the members that it gave."""
        members: dict[str, Any] = {"profile": self.parameters.profile}
        for name in ("portfolio_size", "reserve_ratio", "deployment_months"):
            if name in self.given:
                members[name] = getattr(self.parameters, name)
        if "stage_distribution" in self.given:
            mix = self.mix.weights
            members["stage_mix"] = {stage.value: round(weight, 6) for stage, weight in mix.items()}
        return members


@dataclass(frozen=True, slots=True)
class FundRequest:
    """A fund simulation as asked for."""

    parameters: FundParameters
    mix: StageMix
    mix_basis: MixBasis
    strategy: PortfolioStrategy | None
    commitment_usd: float | None
    cheques: ChequeRange
    targets: Targets
    included: Included
    scenarios: Sequence[ScenarioRequest] | None

    @property
    def needs_gross_irr(self) -> bool:
        """Whether the gross rates of the base are shown or compared."""
        scenarios = self.scenarios or ()
        compared = any(isinstance(each.parameters, SimulationParameters) for each in scenarios)
        return self.included.gross or compared

    def asked(self) -> dict[str, Any]:
        """Return what was asked for, defaults filled in."""
        parameters = determining(self.parameters)
        names = ("runs", "horizon_years", "portfolio_size", "reserve_ratio", "deployment_months")
        cheques = {
            "min": self.cheques.least,
            "target": self.cheques.target,
            "max": self.cheques.most,
        }
        return {
            **{name: parameters[name] for name in (*names, "factor_sigma", "terms")},
            "mix_basis": self.mix_basis.value,
            "strategy_id": None if self.strategy is None else self.strategy.pk,
            "commitment_usd": self.commitment_usd,
            "check_size": cheques,
            "target_multiple": self.targets.multiple,
            "target_irr": self.targets.irr,
        }


def filled(
    members: Mapping[str, Any], fund: Fund, strategy: PortfolioStrategy | None
) -> dict[str, Any]:
    """Return all members of a request for a fund: its own, or the strategy's, or the default.

    `check_size` becomes a `ChequeRange`, `terms` become `FundTerms`.
    """
    profile = MARKET_PROFILES[members["profile"]]
    default: dict[str, Any] = {
        "horizon_years": DEFAULT_FUND_HORIZON_YEARS,
        "portfolio_size": DEFAULT_PORTFOLIO_SIZE,
        "reserve_ratio": profile.reserves.ratio,
        "deployment_months": profile.reserves.deployment_months,
        "factor_sigma": profile.factor.sigma,
        "mix_basis": MixBasis.COMPANIES,
        "commitment_usd": None if fund.size_usd is None else float(fund.size_usd) or None,
        "check_size": {},
        "target_multiple": None,
        "target_irr": None,
        "include": (),
        "scenarios": None,
    }
    merged = default | (_of_strategy(strategy) if strategy else {}) | dict(members)
    sizes = merged["check_size"] or {}
    merged["check_size"] = ChequeRange(sizes.get("min"), sizes.get("target"), sizes.get("max"))
    merged["terms"] = terms_of(members["profile"], members.get("terms") or {})
    merged["mix_basis"] = MixBasis(merged["mix_basis"])
    return merged


def _of_strategy(strategy: PortfolioStrategy) -> dict[str, Any]:
    sizes = {name: getattr(strategy, f"check_size_{name}") for name in ("min", "target", "max")}
    return {
        "portfolio_size": strategy.target_portfolio_size,
        "reserve_ratio": strategy.reserve_ratio,
        "deployment_months": strategy.deployment_months,
        "check_size": {name: float(size) for name, size in sizes.items() if size is not None},
        "target_multiple": strategy.target_multiple,
        "target_irr": strategy.target_irr,
    }


def terms_of(profile: str, given: Mapping[str, Any]) -> FundTerms:
    """Return the profile's terms with the given ones over them. Raises ValueError if nothing is
    left to invest.
    """
    return FundTerms(**{**asdict(MARKET_PROFILES[profile].terms.terms), **given})


def faults_of_plans(merged: Mapping[str, Any], given: Iterable[str]) -> list[Item]:
    """Return an item for each plan without a first cheque, and one for too many companies.

    `given` are the members of the request itself. A fault in another member points to the
    strategy.
    """
    faults = _faults_of_sizes(merged)
    name = _faulty_member(merged)
    if name is not None:
        from_strategy = merged.get("strategy_id") is not None and name not in given
        return [*faults, _plan_fault("/strategy_id" if from_strategy else f"/{name}", name)]
    for index, scenario in enumerate(merged["scenarios"] or ()):
        name = _faulty_member({**merged, **scenario})
        if name is not None and scenario.get("profile", merged["profile"]) in MARKET_PROFILES:
            faults.append(_plan_fault(f"/scenarios/{index}/{name}", name))
    return faults


def _faults_of_sizes(merged: Mapping[str, Any]) -> list[Item]:
    base = merged["portfolio_size"]
    scenarios = merged["scenarios"] or ()
    sizes = [base, *(scenario.get("portfolio_size", base) for scenario in scenarios)]
    companies = merged["runs"] * sum(sizes)
    if companies <= MOST_COMPANIES:
        return []
    detail = (
        f"runs times the portfolio sizes of the base and its scenarios is {companies}; at most"
        f" {MOST_COMPANIES} companies are simulated."
    )
    return [issue("/runs", IssueCode.TOO_MANY_COMPANIES, detail=detail)]


def _faulty_member(members: Mapping[str, Any]) -> str | None:
    """Return the member that leaves a plan without any first cheque."""
    if members["reserve_ratio"] >= 1.0:
        return "reserve_ratio"
    return None if _first_cheque_in_time(members) else "deployment_months"


def _plan_fault(pointer: str, name: str) -> Item:
    reasons = {
        "reserve_ratio": "A reserve_ratio of 1 leaves nothing for first cheques.",
        "deployment_months": (
            "Every first cheque falls after the horizon; nothing would be invested."
        ),
    }
    return issue(pointer, IssueCode.NO_FIRST_CHEQUE, detail=reasons[name])


def _first_cheque_in_time(members: Mapping[str, Any]) -> bool:
    first_month: float = members["deployment_months"] / members["portfolio_size"] / 2.0
    return first_month < float(members["horizon_years"] * MONTHS_PER_YEAR)


def parameters_of(
    members: Mapping[str, Any], mix: StageMix
) -> FundParameters | SimulationParameters:
    """Return the engine's parameters for the members of the base or of a scenario."""
    kind = FundParameters if members["profile"] in MARKET_PROFILES else SimulationParameters
    names = {field.name for field in fields(kind)} - {"stage_mix"}
    return kind(**{name: members[name] for name in names}, stage_mix=mix.weights)


def plan_warnings(request: FundRequest) -> Iterable[Item]:
    """Return warnings of cheques that are not made, and of a first cheque outside its limits."""
    plan = request.parameters.plan()
    late = plan.portfolio_size - plan.cheques_made
    if late:
        detail = (
            f"{late} of {plan.portfolio_size} first cheques fall after the horizon and are not "
            "made."
        )
        yield issue("/deployment_months", IssueCode.BEYOND_HORIZON, detail=detail, count=late)
    yield from _cheque_warnings(request, plan)


def _cheque_warnings(request: FundRequest, plan: FundPlan) -> Iterable[Item]:
    if request.commitment_usd is None:
        return
    # To the cent, as sizes are kept.
    cheque = round(plan.first_cheque * request.commitment_usd, 2)
    least, most = request.cheques.least or 0.0, request.cheques.most
    if cheque < least:
        detail = f"A first cheque of {cheque:,.0f} USD is below the minimum of {least:,.0f} USD."
        yield issue("/check_size/min", IssueCode.CHEQUE_BELOW_MIN, detail=detail)
    if cheque > (math.inf if most is None else most):
        detail = f"A first cheque of {cheque:,.0f} USD is above the maximum of {most:,.0f} USD."
        yield issue("/check_size/max", IssueCode.CHEQUE_ABOVE_MAX, detail=detail)
