"""A simulation's result as the JSON the API answers and the database keeps: under 16 KiB, whatever
was asked for.

Numbers are rounded to 9 significant digits: more than 50,000 runs can mean, and coarse enough to
hide the last bits in which processors differ.
"""

import hashlib
import json
import math
from typing import Any, Final

import numpy as np

from stagenorm.portfolio.expected_value import expected_tvpi
from stagenorm.portfolio.monte_carlo import ENGINE, SimulationParameters, SimulationResult
from stagenorm.portfolio.outcomes import STAGES, Floats, rescaled
from stagenorm.portfolio.return_profiles import BANDS

PERCENTILES: Final = (5, 10, 25, 50, 75, 90, 95)
TVPI_MARKS: Final = (1, 2, 3, 5)
# Value at risk and expected shortfall look at the worst twentieth of the runs.
RISK_TAIL: Final = 0.05
HISTOGRAM_BINS: Final = 30
SIGNIFICANT_DIGITS: Final = 9


def summarize(
    result: SimulationResult, parameters: SimulationParameters, *, unmodelled_weight: float = 0.0
) -> dict[str, Any]:
    """The summary, ready for JSON. TVPI and DPI are per unit invested, IRR an annual fraction,
    probabilities 0 to 1.

    `value_at_risk` and `expected_shortfall` are losses as a share of the invested money: 1 -
    p5(TVPI), and 1 - the mean TVPI of the worst 5 % of the runs. A negative loss is a gain.
    `unmodelled_weight` is the weight of the stages that the caller left out of the mix. `warnings`
    is empty, for the caller to fill.
    """
    ordered = np.sort(result.tvpi)
    worst = ordered[: max(1, math.ceil(RISK_TAIL * ordered.size))]
    return {
        "seed": parameters.seed,
        "parameters_hash": parameters_hash(parameters),
        "profile": parameters.profile,
        "engine": ENGINE,
        "stage_mix": _mix(parameters),
        "tvpi": _distribution(result.tvpi, ordered),
        "dpi": _distribution(result.dpi, np.sort(result.dpi)),
        "irr": _distribution(result.irr, np.sort(result.irr)),
        "probabilities": _probabilities(ordered),
        "value_at_risk": _rounded(1.0 - _quantiles(ordered, np.array([RISK_TAIL]))[0]),
        "expected_shortfall": _rounded(1.0 - worst.mean()),
        "by_stage": _by_stage(result, parameters),
        "histogram": _histogram(ordered),
        "expected_tvpi_analytic": _rounded(
            expected_tvpi(parameters.stage_mix, parameters.profile, parameters.horizon_years)
        ),
        "unmodelled_weight": _rounded(unmodelled_weight),
        "warnings": [],
    }


def parameters_hash(parameters: SimulationParameters) -> str:
    """SHA-256 (hex) of all that determines the result, engine included, as JSON: sorted names, no
    white space.
    """
    determining = {
        "engine": ENGINE,
        "runs": parameters.runs,
        "horizon_years": parameters.horizon_years,
        "portfolio_size": parameters.portfolio_size,
        "seed": parameters.seed,
        "profile": parameters.profile,
        "stage_mix": _mix(parameters),
    }
    return hashlib.sha256(
        json.dumps(determining, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _mix(parameters: SimulationParameters) -> dict[str, float]:
    # Not rounded: with it, a client can ask for the same simulation again and compute the same
    # hash.
    return {stage.value: weight for stage, weight in rescaled(parameters.stage_mix).items()}


def _distribution(values: Floats, ordered: Floats) -> dict[str, float | None]:
    runs = values.size
    # One run has no spread to estimate an error from; null says so.
    error = _rounded(values.std(ddof=1) / math.sqrt(runs)) if runs > 1 else None
    quantiles = _quantiles(ordered, np.array(PERCENTILES) / 100)
    named = {
        f"p{percent}": _rounded(value)
        for percent, value in zip(PERCENTILES, quantiles, strict=True)
    }
    return {"mean": _rounded(values.mean()), "std_error": error, **named}


def _quantiles(ordered: Floats, shares: Floats) -> Floats:
    """Linear interpolation between the order statistics, as numpy.quantile does, without sorting
    anew.
    """
    return np.interp(shares * (ordered.size - 1), np.arange(ordered.size), ordered)


def _probabilities(ordered: Floats) -> dict[str, float]:
    below = {
        mark: int(np.searchsorted(ordered, mark, side="left")) / ordered.size
        for mark in TVPI_MARKS
    }
    reached = {f"tvpi_gte_{mark}": _rounded(1.0 - share) for mark, share in below.items()}
    return {"loss": _rounded(below[1]), **reached}


def _by_stage(result: SimulationResult, parameters: SimulationParameters) -> list[dict[str, Any]]:
    """Over all runs: how many companies, what came of a unit invested in one (null for none), and
    their outcomes.
    """
    rows = []
    for stage, weight in rescaled(parameters.stage_mix).items():
        column = STAGES.index(stage)
        companies, value = result.companies[:, column], result.value[:, column].sum()
        count = int(companies.sum())
        cash = value - result.residual[:, column].sum()
        rows.append(
            {
                "stage": stage.value,
                "weight": _rounded(weight),
                "companies": count,
                "tvpi": _rounded(value / count) if count else None,
                "dpi": _rounded(cash / count) if count else None,
                "share_of_value": _rounded(value / result.value.sum())
                if result.value.any()
                else None,
                "outcomes": {
                    band.name: _rounded(number / count) if count else None
                    for band, number in zip(BANDS, companies, strict=True)
                },
            }
        )
    return rows


def _histogram(ordered: Floats) -> dict[str, list[Any]]:
    """Runs by TVPI: equal bins from 0 to the 99th percentile, and a last one up to the largest.

    Bin i holds edges[i] <= TVPI < edges[i + 1]; the last one its upper edge as well.
    """
    top = _quantiles(ordered, np.array([0.99]))[0]
    edges = [_rounded(edge) for edge in np.linspace(0.0, top, HISTOGRAM_BINS)]
    # Counted by the rounded edges, so that whoever has the runs can count them again.
    above = np.searchsorted(ordered, edges[1:], side="left")
    counts = np.diff(above, prepend=0, append=ordered.size)
    return {"edges": [*edges, max(edges[-1], _rounded(ordered[-1]))], "counts": counts.tolist()}


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
