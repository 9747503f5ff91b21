"""A simulation's result as the JSON that the API answers and the database keeps.

Numbers are rounded to 9 significant digits. That is more than 50,000 runs can resolve, and coarse
enough to hide the last bits, in which processors differ. `fund_summary` does the same for the
second generation of profiles and shares the functions below.
"""

import math
from typing import Any, Final

import numpy as np

from stagenorm.portfolio.expected_value import expected_tvpi
from stagenorm.portfolio.monte_carlo import ENGINE, SimulationParameters, SimulationResult
from stagenorm.portfolio.outcomes import STAGES, Floats, rescaled
from stagenorm.portfolio.return_profiles import BANDS
from stagenorm.portfolio.simulation_parameters import mix_as_json, parameters_hash

PERCENTILES: Final = (5, 10, 25, 50, 75, 90, 95)
TVPI_MARKS: Final = (1, 2, 3, 5)
# Value at risk and expected shortfall look at the worst twentieth of the runs.
RISK_TAIL: Final = 0.05
HISTOGRAM_BINS: Final = 30
SIGNIFICANT_DIGITS: Final = 9


def summarize(
    result: SimulationResult, parameters: SimulationParameters, *, unmodelled_weight: float = 0.0
) -> dict[str, Any]:
    """Return the summary, ready for JSON.

    TVPI and DPI are per unit invested, IRR is an annual fraction, probabilities are 0 to 1.
    `unmodelled_weight` is the weight of the stages that the caller left out of the mix. `warnings`
    is empty, for the caller to fill.
    """
    ordered = np.sort(result.tvpi)
    return {
        "seed": parameters.seed,
        "parameters_hash": parameters_hash(parameters),
        "profile": parameters.profile,
        "engine": ENGINE,
        "stage_mix": mix_as_json(parameters),
        "tvpi": distribution(result.tvpi, ordered),
        "dpi": distribution(result.dpi, np.sort(result.dpi)),
        "irr": distribution(result.irr, np.sort(result.irr)),
        "probabilities": probabilities(ordered),
        **losses(ordered),
        "by_stage": _by_stage(result, parameters),
        "histogram": histogram(ordered),
        "expected_tvpi_analytic": rounded(
            expected_tvpi(parameters.stage_mix, parameters.profile, parameters.horizon_years)
        ),
        "unmodelled_weight": rounded(unmodelled_weight),
        "warnings": [],
    }


def distribution(values: Floats, ordered: Floats) -> dict[str, float | None]:
    """Return mean, its standard error and percentiles of `values`; `ordered` are the same,
    sorted.
    """
    runs = values.size
    # One run has no spread to estimate an error from.
    error = rounded(values.std(ddof=1) / math.sqrt(runs)) if runs > 1 else None
    found = quantiles(ordered, np.array(PERCENTILES) / 100)
    named = {
        f"p{percent}": rounded(value) for percent, value in zip(PERCENTILES, found, strict=True)
    }
    return {"mean": rounded(values.mean()), "std_error": error, **named}


def quantiles(ordered: Floats, shares: Floats) -> Floats:
    """Return quantiles as numpy.quantile does, by interpolation, without sorting again."""
    position = shares * (ordered.size - 1)
    below = position.astype(np.intp)
    low, high = ordered[below], ordered[np.minimum(below + 1, ordered.size - 1)]
    between: Floats = (high - low) * (position - below) + low
    return between


def losses(ordered: Floats) -> dict[str, float]:
    """Return losses as a share of the money put in; a negative loss is a gain.

    `value_at_risk` is 1 - the 5th percentile of TVPI, `expected_shortfall` 1 - the mean TVPI of
    the worst 5 % of the runs.
    """
    worst = ordered[: max(1, math.ceil(RISK_TAIL * ordered.size))]
    return {
        "value_at_risk": rounded(1.0 - quantiles(ordered, np.array([RISK_TAIL]))[0]),
        "expected_shortfall": rounded(1.0 - worst.mean()),
    }


def probabilities(ordered: Floats) -> dict[str, float]:
    """Return the shares of the runs that lose money and that reach TVPI_MARKS."""
    below = {
        mark: int(np.searchsorted(ordered, mark, side="left")) / ordered.size
        for mark in TVPI_MARKS
    }
    reached = {f"tvpi_gte_{mark}": rounded(1.0 - share) for mark, share in below.items()}
    return {"loss": rounded(below[1]), **reached}


def _by_stage(result: SimulationResult, parameters: SimulationParameters) -> list[dict[str, Any]]:
    """Return for each stage what a unit invested in it came to over all runs; null without
    companies.
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
                "weight": rounded(weight),
                "companies": count,
                "tvpi": rounded(value / count) if count else None,
                "dpi": rounded(cash / count) if count else None,
                "share_of_value": rounded(value / result.value.sum())
                if result.value.any()
                else None,
                "outcomes": {
                    band.name: rounded(number / count) if count else None
                    for band, number in zip(BANDS, companies, strict=True)
                },
            }
        )
    return rows


def histogram(ordered: Floats) -> dict[str, list[Any]]:
    """Count the runs by TVPI: equal bins from 0 to the 99th percentile, and a last one up to the
    largest.

    Bin i holds edges[i] <= TVPI < edges[i + 1]; the last bin also holds its upper edge.
    """
    top = quantiles(ordered, np.array([0.99]))[0]
    edges = [rounded(edge) for edge in np.linspace(0.0, top, HISTOGRAM_BINS)]
    # Counted by the rounded edges, so that a count of the runs by the answer's edges gives the
    # same.
    above = np.searchsorted(ordered, edges[1:], side="left")
    counts = np.diff(above, prepend=0, append=ordered.size)
    return {"edges": [*edges, max(edges[-1], rounded(ordered[-1]))], "counts": counts.tolist()}


def rounded(value: float) -> float:
    """Return the number to 9 significant digits."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
