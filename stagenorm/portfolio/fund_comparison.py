"""Scenarios side by side with the base simulation, run by run under common random numbers.

A scenario of a profile of the first generation has gross numbers only, so it is compared with the
gross numbers of the base.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stagenorm.portfolio.fund_ledger import RunResults
from stagenorm.portfolio.fund_summary import GROSS, NET, Targets, share_reaching
from stagenorm.portfolio.monte_carlo import SimulationResult
from stagenorm.portfolio.outcomes import Floats
from stagenorm.portfolio.simulation_summary import quantiles, rounded


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """One number per run, on one basis; NaN for a rate that was not computed."""

    basis: str
    tvpi: Floats
    dpi: Floats
    irr: Floats


def net_runs(runs: RunResults) -> ComparedRuns:
    """Return the net numbers of a fund."""
    return ComparedRuns(NET, runs.tvpi, runs.dpi, runs.irr)


def gross_runs(runs: RunResults) -> ComparedRuns:
    """Return the gross numbers of a fund."""
    return ComparedRuns(GROSS, runs.gross_tvpi, runs.gross_dpi, runs.gross_irr)


def first_generation_runs(result: SimulationResult) -> ComparedRuns:
    """Return the numbers of a profile of the first generation."""
    return ComparedRuns(GROSS, result.tvpi, result.dpi, result.irr)


def scenario_row(scenario: ComparedRuns, base: ComparedRuns, targets: Targets) -> dict[str, Any]:
    """Return a scenario's numbers and its differences from the base, which is on the same
    basis.
    """
    p10, p50, p90 = quantiles(np.sort(scenario.tvpi), np.array([0.1, 0.5, 0.9]))
    return {
        "basis": scenario.basis,
        "tvpi": {
            "mean": rounded(scenario.tvpi.mean()),
            "p10": rounded(p10),
            "p50": rounded(p50),
            "p90": rounded(p90),
        },
        "dpi_p50": rounded(float(np.median(scenario.dpi))),
        "irr_p50": rounded(float(np.median(scenario.irr))),
        "loss": rounded(float(np.mean(scenario.tvpi < 1.0))),
        "reach_target_multiple": share_reaching(scenario.tvpi, targets.multiple),
        "reach_target_irr": share_reaching(scenario.irr, targets.irr),
        "against_base": _against(scenario, base),
    }


def _against(scenario: ComparedRuns, base: ComparedRuns) -> dict[str, float | None]:
    """Return scenario minus base. Standard errors are those of the differences run by run."""
    tvpi = scenario.tvpi - base.tvpi
    loss = (scenario.tvpi < 1.0).astype(np.float64) - (base.tvpi < 1.0)
    return {
        "tvpi_mean": _short(tvpi.mean()),
        "tvpi_std_error": _short(tvpi.std(ddof=1) / tvpi.size**0.5),
        "tvpi_p50": _short(np.median(scenario.tvpi) - np.median(base.tvpi)),
        "irr_p50": _short(np.median(scenario.irr) - np.median(base.irr)),
        "loss": _short(loss.mean()),
        "loss_std_error": _short(loss.std(ddof=1) / loss.size**0.5),
    }


def _short(value: np.floating[Any] | float) -> float | None:
    """Return a difference to four digits; None where the base has no such number."""
    return None if np.isnan(value) else float(f"{value:.4g}")
