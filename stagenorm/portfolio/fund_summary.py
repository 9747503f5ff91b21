"""A simulated fund as the JSON that the API answers and the database keeps.

Everything is net of fees and carry, per unit paid in, except what BASIS calls gross: per unit
invested in companies, before fees and carry. Money is a fraction of the commitment.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stagenorm.portfolio.fund_expectation import expected_fund
from stagenorm.portfolio.fund_ledger import FundPath
from stagenorm.portfolio.fund_simulation import (
    FUND_ENGINE,
    FundParameters,
    FundResult,
    simulate_fund,
)
from stagenorm.portfolio.market_expectation import price_steps
from stagenorm.portfolio.market_profiles import BAND_NAMES
from stagenorm.portfolio.market_v2 import MARKET_PROFILES
from stagenorm.portfolio.outcomes import STAGES, Floats, rescaled
from stagenorm.portfolio.simulation_parameters import mix_as_json, parameters_hash
from stagenorm.portfolio.simulation_summary import (
    distribution,
    histogram,
    losses,
    probabilities,
    quantiles,
    rounded,
)

NET: Final = "net"
GROSS: Final = "gross"
# Which of the answer's numbers are after fees and carry.
BASIS: Final = {
    **dict.fromkeys(
        (
            *("tvpi", "dpi", "irr", "net", "probabilities", "value_at_risk"),
            *("expected_shortfall", "histogram", "path", "scenarios"),
        ),
        NET,
    ),
    **dict.fromkeys(("gross", "by_stage", "expected_tvpi_analytic"), GROSS),
}
PATH_PERCENTILES: Final = (10, 50, 90)


@dataclass(frozen=True, slots=True)
class Targets:
    """What the fund wants to reach, net; None for no target."""

    multiple: float | None
    irr: float | None


@dataclass(frozen=True, slots=True)
class ChequeRange:
    """The sizes of a first cheque that the fund wants, in dollars; None for no limit."""

    least: float | None = None
    target: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Included:
    """The optional parts of an answer."""

    gross: bool
    path: bool


def run_fund(parameters: FundParameters, included: Included) -> FundResult:
    """Simulate what the summary needs."""
    return simulate_fund(parameters, path=included.path, gross_irr=included.gross)


def summarize_fund(
    result: FundResult,
    parameters: FundParameters,
    targets: Targets,
    included: Included,
    *,
    unmodelled_weight: float = 0.0,
) -> dict[str, Any]:
    """Return the summary, ready for JSON. `warnings` is empty, for the caller to fill."""
    runs = result.runs
    ordered = np.sort(runs.tvpi)
    profile = MARKET_PROFILES[parameters.profile]
    expected = expected_fund(parameters.plan(), parameters.stage_mix, profile)
    net = {
        "tvpi": distribution(runs.tvpi, ordered),
        "dpi": distribution(runs.dpi, np.sort(runs.dpi)),
        "rvpi": _distribution(runs.tvpi - runs.dpi),
        "irr": distribution(runs.irr, np.sort(runs.irr)),
    }
    summary: dict[str, Any] = {
        "seed": parameters.seed,
        "parameters_hash": parameters_hash(parameters),
        "profile": parameters.profile,
        "engine": FUND_ENGINE,
        "stage_mix": mix_as_json(parameters),
        "basis": BASIS,
        "tvpi": net["tvpi"],
        "dpi": net["dpi"],
        "irr": net["irr"],
        "probabilities": {**probabilities(ordered), **_reached(result, targets)},
        **losses(ordered),
        "by_stage": _by_stage(result, parameters),
        "histogram": histogram(ordered),
        "expected_tvpi_analytic": rounded(expected.multiple),
        "unmodelled_weight": rounded(unmodelled_weight),
        "net": net,
    }
    if included.gross:
        summary["gross"] = _gross(result)
    if included.path:
        summary["path"] = _path(result.path)
    return {**summary, "warnings": []}


def plan_summary(
    parameters: FundParameters,
    paid_in: Floats,
    commitment_usd: float | None,
    cheques: ChequeRange,
) -> dict[str, Any]:
    """Return the plan as fractions of the commitment, and in dollars where the commitment is
    known.

    `implied_portfolio_size` is how many first cheques of the target size the plan affords.
    """
    plan = parameters.plan()
    fractions = {
        "fees": rounded(plan.fees),
        "investable": rounded(plan.investable),
        "first_cheque": rounded(plan.first_cheque),
        "reserve": rounded(plan.reserve),
        "paid_in_p50": rounded(float(np.median(paid_in))),
    }
    if commitment_usd is None:
        return {**fractions, "usd": None, "implied_portfolio_size": None}
    dollars = {name: round(share * commitment_usd, 2) for name, share in fractions.items()}
    implied = None
    if cheques.target:
        for_first_cheques = plan.first_cheque * plan.portfolio_size * commitment_usd
        implied = int(for_first_cheques / cheques.target + 0.5)
    return {**fractions, "usd": dollars, "implied_portfolio_size": implied}


def _distribution(values: Floats) -> dict[str, float | None]:
    return distribution(values, np.sort(values))


def _reached(result: FundResult, targets: Targets) -> dict[str, float | None]:
    runs = result.runs
    return {
        "reach_target_multiple": share_reaching(runs.tvpi, targets.multiple),
        "reach_target_irr": share_reaching(runs.irr, targets.irr),
    }


def share_reaching(values: Floats, target: float | None) -> float | None:
    """Return the share of the runs that reach the target; None without a target."""
    return None if target is None else rounded(float(np.mean(values >= target)))


def _gross(result: FundResult) -> dict[str, Any]:
    runs = result.runs
    return {
        "tvpi": _distribution(runs.gross_tvpi),
        "dpi": _distribution(runs.gross_dpi),
        "irr": _distribution(runs.gross_irr),
    }


def _path(path: FundPath) -> dict[str, Any]:
    """Return percentiles by year; a multiple is null in a year before the first call."""
    value = path.distributions + path.nav
    return {
        "years": list(range(1, len(path.contributions) + 1)),
        "contributions": _bands(path.contributions),
        "distributions": _bands(path.distributions),
        "nav": _bands(path.nav),
        "tvpi": _bands(value, path.contributions),
        "dpi": _bands(path.distributions, path.contributions),
        "rvpi": _bands(path.nav, path.contributions),
    }


def _bands(amounts: Floats, paid_in: Floats | None = None) -> dict[str, list[float | None]]:
    bands: dict[str, list[float | None]] = {f"p{percent}": [] for percent in PATH_PERCENTILES}
    shares = np.array(PATH_PERCENTILES) / 100
    values = np.empty(amounts.shape[1])
    for year, amount in enumerate(amounts):
        called = paid_in is None or paid_in[year].min() > 0.0
        if paid_in is None or not called:
            values[:] = amount
        else:
            np.divide(amount, paid_in[year], out=values)
        values.sort()
        found = quantiles(values, shares)
        for band, value in zip(bands.values(), found, strict=True):
            band.append(rounded(value) if called else None)
    return bands


def _by_stage(result: FundResult, parameters: FundParameters) -> list[dict[str, Any]]:
    """Return for each stage what a unit invested in it came to, follow-ons included; null without
    companies.
    """
    totals = result.totals
    price = price_steps(MARKET_PROFILES[parameters.profile])
    whole = totals.value.sum()
    rows = []
    for stage, weight in rescaled(parameters.stage_mix).items():
        column = STAGES.index(stage)
        companies = totals.companies[:, :, column]
        count = int(companies.sum())
        # A unit beyond the first is follow-on money over the price of the round.
        follow_on = (totals.units[:, :, column].sum() - count) * price[stage]
        invested, value = count + follow_on, totals.value[:, :, column].sum()
        cash = value - totals.residual[:, :, column].sum()
        rows.append(
            {
                "stage": stage.value,
                "weight": rounded(weight),
                "companies": count,
                "tvpi": _ratio(value, invested),
                "dpi": _ratio(cash, invested),
                "share_of_value": _ratio(value, whole),
                "graduated": _ratio(companies[:, 1].sum(), count),
                "outcomes": {
                    name: _ratio(number, count)
                    for name, number in zip(BAND_NAMES, companies.sum(axis=1), strict=True)
                },
            }
        )
    return rows


def _ratio(part: float, whole: float) -> float | None:
    return rounded(part / whole) if whole else None
