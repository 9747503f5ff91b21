"""A simulation as the platform keeps it: from stages to a mix, from parameters to a stored answer.

Nothing here knows HTTP but the warnings and problems that the mix may give.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Count

from normalization.boundary import Boundary
from normalization.problems import Problem
from normalization.stages import Known, Stage, normalize_all
from stagenorm.portfolio.models import Fund, PortfolioCompany, Simulation
from stagenorm.portfolio.monte_carlo import ENGINE, SimulationParameters, simulate
from stagenorm.portfolio.simulation_summary import summarize
from stagenorm.portfolio.stage_weights import Items, judge_weights, significant

AT: Final = "/stage_distribution"


@dataclass(frozen=True, slots=True)
class StageMix:
    """Weights of known stages, in stage order, that sum to 1; and the share of the whole that could not be modelled."""

    weights: dict[Stage, float]
    unmodelled_weight: float


def given_mix(boundary: Boundary, items: Items) -> StageMix:
    """The mix of a `stage_distribution`.

    Stages without a meaning that the boundary lets through are left out and the rest is rescaled. Raises what `judge_weights`
    does, and the nothing-to-simulate problem when no weight is left.
    """
    _, weights = judge_weights(boundary, items, at=AT, pointer=lambda i: f"{AT}/{i}/stage")
    left_out = [weight for _, weight in (*weights.unknown, *weights.outside)]
    return _rescaled(weights.by_stage, left_out, "No stage of the distribution is known.")


def stored_mix(boundary: Boundary, fund: Fund) -> StageMix:
    """The mix of the fund's own active companies, each counting the same.

    A stored spelling that is unknown is not the caller's fault: it is left out in every mode, with a warning.
    Raises the nothing-to-simulate problem when no company is left.
    """
    active = PortfolioCompany.objects.filter(fund=fund, status=PortfolioCompany.Status.ACTIVE)
    rows = list(active.values_list("stage").annotate(Count("pk")).order_by("stage"))
    counts: dict[Stage, float] = {}
    unknown = 0
    for result, (_, count) in zip(
        normalize_all([raw for raw, _ in rows], boundary.table), rows, strict=True
    ):
        if isinstance(result, Known):
            counts[result.stage] = counts.get(result.stage, 0) + count
        else:
            unknown += count
    boundary.check([], lambda i: f"{AT}/{i}")
    mix = _rescaled(counts, [unknown], "The fund has no active company whose stage is known.")
    if unknown:
        total = sum(count for _, count in rows)
        detail = f"{unknown} of the fund's {total} active companies have a stage that is not known; they are left out."
        boundary.warn("stored_stage_unknown", AT, detail=detail, count=unknown)
    return mix


def run(fund: Fund, parameters: SimulationParameters, mix: StageMix) -> dict[str, Any]:
    """Simulate, and return the answer without its id."""
    asked = {
        name: getattr(parameters, name) for name in ("runs", "horizon_years", "portfolio_size")
    }
    summary = summarize(simulate(parameters), parameters, unmodelled_weight=mix.unmodelled_weight)
    return {"parameters": {"fund_id": fund.pk, **asked}, **summary}


def store(
    fund: Fund, client: str, parameters: SimulationParameters, answer: dict[str, Any]
) -> Simulation:
    """Keep the answer, warnings and all, so that it can be asked for again."""
    return Simulation.objects.create(
        fund=fund,
        client=client,
        parameters=effective(parameters),
        parameters_hash=answer["parameters_hash"],
        profile=parameters.profile,
        seed=parameters.seed,
        summary=answer,
    )


def shown(simulation: Simulation) -> dict[str, Any]:
    """The stored answer with its id: the body that the POST had."""
    return {"simulation_id": str(simulation.pk), **simulation.summary}


def effective(parameters: SimulationParameters) -> dict[str, Any]:
    """Everything that determines the numbers, as JSON: two simulations with the same have the same numbers."""
    return {
        "engine": ENGINE,
        "profile": parameters.profile,
        "runs": parameters.runs,
        "horizon_years": parameters.horizon_years,
        "portfolio_size": parameters.portfolio_size,
        "seed": parameters.seed,
        "stage_mix": {stage.value: weight for stage, weight in parameters.stage_mix.items()},
    }


def _rescaled(known: dict[Stage, float], unknown: Iterable[float], nothing: str) -> StageMix:
    left_out, modelled = math.fsum(unknown), math.fsum(known.values())
    if not modelled > 0:
        raise Problem("nothing-to-simulate", detail=nothing)
    weights = {
        stage: significant(known[stage] / modelled) for stage in sorted(known) if known[stage] > 0
    }
    return StageMix(weights, left_out / (left_out + modelled))
