"""Simulations as the platform keeps them: stages to mixes, parameters to a stored answer.

A request becomes a `FundRequest` (`simulation_requests`) or, for the profiles of the first
generation, plain `SimulationParameters`. Nothing here depends on HTTP except the warnings and
problems of the boundary.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import CharField, Count, QuerySet, Sum
from django.db.models.functions import Coalesce

from normalization.boundary import Boundary
from normalization.issue_codes import IssueCode, issue
from normalization.problems import Item, Problem
from normalization.stages import Known, Stage, normalize_all
from stagenorm.portfolio.fund_comparison import (
    ComparedRuns,
    first_generation_runs,
    gross_runs,
    net_runs,
    scenario_row,
)
from stagenorm.portfolio.fund_ledger import RunResults
from stagenorm.portfolio.fund_simulation import FundParameters, simulate_fund
from stagenorm.portfolio.fund_summary import plan_summary, summarize_fund
from stagenorm.portfolio.models import (
    Fund,
    PortfolioCompany,
    PortfolioStrategy,
    Simulation,
)
from stagenorm.portfolio.monte_carlo import SimulationParameters, simulate
from stagenorm.portfolio.simulation_parameters import RunParameters, determining
from stagenorm.portfolio.simulation_requests import (
    FundRequest,
    MixBasis,
    ScenarioRequest,
    StageMix,
)
from stagenorm.portfolio.simulation_summary import rounded, summarize
from stagenorm.portfolio.stage_weights import Items, significant, weigh_checked

AT: Final = "/stage_distribution"
# The API answers, and the database keeps, fewer bytes than this.
LARGEST_ANSWER: Final = 16 * 1024
# At most so many bytes for the id, for the item that counts omitted warnings, and for punctuation.
ROOM_FOR_THE_REST: Final = 256


@dataclass(frozen=True, slots=True)
class GivenStages:
    """A `stage_distribution` of the body and the JSON pointer to it."""

    items: Items
    at: str

    def pointer(self, index: int) -> str:
        """Return the pointer to one stage."""
        return f"{self.at}/{index}/stage"


def check_stages(boundary: Boundary, given: Sequence[GivenStages]) -> None:
    """Check the stages of a whole request at the boundary, as one request.

    Raises `UnknownStage` that names every refused stage of the base and of the scenarios.
    """
    places = [(each, index) for each in given for index in range(len(each.items))]
    raws = [raw for each in given for raw, _ in each.items]

    def pointer(index: int) -> str:
        distribution, within = places[index]
        return distribution.pointer(within)

    boundary.check(raws, pointer)


def given_mix(boundary: Boundary, given: GivenStages) -> StageMix:
    """Return the mix of a `stage_distribution` that `check_stages` has seen.

    Unknown stages that the boundary let through are left out, and the rest is rescaled. Raises the
    nothing-to-simulate problem when no weight is left.
    """
    weights = weigh_checked(boundary, given.items, at=given.at, pointer=given.pointer)
    left_out = [weight for _, weight in (*weights.unknown, *weights.outside)]
    return _rescaled(weights.by_stage, left_out, "No stage of the distribution is known.")


def stored_mix(boundary: Boundary, fund: Fund, basis: MixBasis) -> StageMix:
    """Return the mix of the fund's own active companies, by number or by the dollars invested in
    them.

    Companies with an unknown stored stage are left out in every mode, with a warning: the caller
    cannot change them. So are companies without `invested_usd` where dollars count. Raises the
    nothing-to-simulate problem when no company is left.
    """
    active = PortfolioCompany.objects.filter(fund=fund, status=PortfolioCompany.Status.ACTIVE)
    if basis is MixBasis.INVESTED_USD:
        active = _with_dollars(boundary, active)
    rows = list(
        active.annotate(raw=Coalesce("stage_raw", "stage", output_field=CharField()))
        .values_list("raw")
        .annotate(count=Count("pk"), dollars=Sum("invested_usd"))
        .order_by("raw")
    )
    known: dict[Stage, float] = {}
    unknown_weight, unknown_count = 0.0, 0
    results = normalize_all([raw for raw, _, _ in rows], boundary.table)
    for result, (_, count, dollars) in zip(results, rows, strict=True):
        weight = count if basis is MixBasis.COMPANIES else float(dollars)
        if isinstance(result, Known):
            known[result.stage] = known.get(result.stage, 0) + weight
        else:
            unknown_weight += weight
            unknown_count += count
    mix = _rescaled(
        known, [unknown_weight], "The fund has no active company whose stage is known."
    )
    if unknown_count:
        total = sum(count for _, count, _ in rows)
        detail = (
            f"{unknown_count} of the fund's {total} active companies have a stage that is not "
            "known; they are left out."
        )
        boundary.warn(IssueCode.STORED_STAGE_UNKNOWN, AT, detail=detail, count=unknown_count)
    return mix


def _with_dollars(
    boundary: Boundary, companies: QuerySet[PortfolioCompany]
) -> QuerySet[PortfolioCompany]:
    """Return the companies with invested dollars; warn of those without."""
    without = companies.filter(invested_usd__isnull=True).count()
    if without:
        detail = f"{without} active companies have no invested_usd; they are left out."
        boundary.warn(IssueCode.INVESTED_USD_MISSING, "/mix_basis", detail=detail, count=without)
    return companies.filter(invested_usd__gt=0)


def strategy_mix(boundary: Boundary, strategy: PortfolioStrategy) -> StageMix:
    """Return the mix of a strategy's allocation, as today's decisions read its spellings.

    Spellings that are not known are left out in every mode, with a warning. Raises the
    nothing-to-simulate problem when no weight is left.
    """
    rows = list(strategy.stage_allocations.values_list("spelling", "weight"))
    known: dict[Stage, float] = {}
    unknown: list[float] = []
    results = normalize_all([spelling for spelling, _ in rows], boundary.table)
    for result, (_, weight) in zip(results, rows, strict=True):
        if isinstance(result, Known):
            known[result.stage] = known.get(result.stage, 0.0) + weight
        else:
            unknown.append(weight)
    mix = _rescaled(known, unknown, "No stage of the strategy's allocation is known.")
    if unknown:
        detail = (
            f"{len(unknown)} of the strategy's {len(rows)} stages are not known; they are left "
            "out."
        )
        boundary.warn(
            IssueCode.STORED_STAGE_UNKNOWN, "/strategy_id", detail=detail, count=len(unknown)
        )
    return mix


def run(fund: Fund, parameters: SimulationParameters, mix: StageMix) -> dict[str, Any]:
    """Simulate with a profile of the first generation; return the answer without its id."""
    asked = {
        name: getattr(parameters, name) for name in ("runs", "horizon_years", "portfolio_size")
    }
    summary = summarize(simulate(parameters), parameters, unmodelled_weight=mix.unmodelled_weight)
    return {"parameters": {"fund_id": fund.pk, **asked}, **summary}


def run_fund(fund: Fund, request: FundRequest) -> dict[str, Any]:
    """Simulate a fund and its scenarios; return the answer without its id."""
    parameters, mix = request.parameters, request.mix
    result = simulate_fund(
        parameters, path=request.included.path, gross_irr=request.needs_gross_irr
    )
    summary = summarize_fund(
        result,
        parameters,
        request.targets,
        request.included,
        unmodelled_weight=mix.unmodelled_weight,
    )
    summary["plan"] = plan_summary(
        parameters, result.runs.paid_in, request.commitment_usd, request.cheques
    )
    if request.scenarios is not None:
        summary["scenarios"] = [
            _scenario(request, scenario, result.runs) for scenario in request.scenarios
        ]
    return {"parameters": {"fund_id": fund.pk, **request.asked()}, **summary}


def _scenario(request: FundRequest, scenario: ScenarioRequest, base: RunResults) -> dict[str, Any]:
    numbers = scenario_row(*_compared(scenario, base), request.targets)
    return {
        "label": scenario.label,
        **scenario.shown(),
        "unmodelled_weight": rounded(scenario.mix.unmodelled_weight),
        **numbers,
    }


def _compared(scenario: ScenarioRequest, base: RunResults) -> tuple[ComparedRuns, ComparedRuns]:
    """Return the runs of the scenario and, on the same basis, of the base."""
    if isinstance(scenario.parameters, FundParameters):
        return net_runs(simulate_fund(scenario.parameters).runs), net_runs(base)
    return first_generation_runs(simulate(scenario.parameters)), gross_runs(base)


def fit(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer with as many of its warnings as fit into LARGEST_ANSWER bytes.

    If some do not fit, the last warning counts them.
    """
    warnings: list[Item] = answer["warnings"]
    room = LARGEST_ANSWER - ROOM_FOR_THE_REST - _bytes({**answer, "warnings": []})
    kept = 0
    for warning in warnings:
        room -= _bytes(warning) + 1
        if room < 0:
            break
        kept += 1
    if kept == len(warnings):
        return answer
    left_out = issue("", IssueCode.MORE_WARNINGS, count=len(warnings) - kept)
    return {**answer, "warnings": [*warnings[:kept], left_out]}


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def store(
    fund: Fund,
    client: str,
    parameters: RunParameters,
    answer: dict[str, Any],
    strategy: PortfolioStrategy | None = None,
) -> Simulation:
    """Keep an answer with its warnings, and everything that determines its numbers."""
    return Simulation.objects.create(
        fund=fund,
        client=client,
        strategy=strategy,
        parameters=determining(parameters),
        parameters_hash=answer["parameters_hash"],
        profile=parameters.profile,
        seed=parameters.seed,
        summary=answer,
    )


def shown(simulation: Simulation) -> dict[str, Any]:
    """Return the stored answer with its id: the body that the POST had."""
    return {"simulation_id": str(simulation.pk), **simulation.summary}


def _rescaled(known: dict[Stage, float], unknown: Iterable[float], nothing: str) -> StageMix:
    left_out, modelled = math.fsum(unknown), math.fsum(known.values())
    if not modelled > 0:
        raise Problem("nothing-to-simulate", detail=nothing)
    weights = {
        stage: significant(known[stage] / modelled) for stage in sorted(known) if known[stage] > 0
    }
    return StageMix(weights, left_out / (left_out + modelled))
