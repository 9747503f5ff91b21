"""The figures that a market profile is calibrated to, computed from its base case.

The base case is a fund with 60 % seed and 40 % series-a, 25 companies, and the profile's own
reserve, deployment and terms, after 15 years.
"""

from typing import Final

import numpy as np

from normalization.stages import Stage
from stagenorm.portfolio.fund_simulation import FundParameters, FundResult, simulate_fund
from stagenorm.portfolio.irr import annual_irr_of_net
from stagenorm.portfolio.market_profiles import MarketProfile

BASE_MIX: Final = {Stage.SEED: 0.6, Stage.SERIES_A: 0.4}
BASE_RUNS: Final = 50_000
BASE_SEED: Final = 2026
BASE_COMPANIES: Final = 25
BASE_YEARS: Final = 15
SIGNIFICANT_DIGITS: Final = 3


def base_case(profile: MarketProfile, runs: int = BASE_RUNS) -> FundParameters:
    """Return the simulation that the figures are taken from."""
    return FundParameters(
        runs=runs,
        horizon_years=BASE_YEARS,
        portfolio_size=BASE_COMPANIES,
        seed=BASE_SEED,
        profile=profile.name,
        stage_mix=BASE_MIX,
        reserve_ratio=profile.reserves.ratio,
        deployment_months=profile.reserves.deployment_months,
        factor_sigma=profile.factor.sigma,
        terms=profile.terms.terms,
    )


def calibration_figures(profile: MarketProfile) -> dict[str, float]:
    """Return the model's value of each figure in the profile's `calibrated_to`, to three
    digits.
    """
    result = simulate_fund(base_case(profile), path=True)
    figures = {**_multiples(result), **_path(result)}
    pooled = annual_irr_of_net(result.pooled_net[:, np.newaxis])[0]
    figures["pooled net IRR"] = float(pooled)
    fees = profile.terms.terms.lifetime_fees()
    figures["lifetime fees as a share of the commitment"] = fees
    return {name: float(f"{value:.{SIGNIFICANT_DIGITS}g}") for name, value in figures.items()}


def _multiples(result: FundResult) -> dict[str, float]:
    tvpi = result.runs.tvpi
    names = ("10th percentile", "lower quartile", "median", "upper quartile", "90th percentile")
    quantiles = np.quantile(tvpi, (0.1, 0.25, 0.5, 0.75, 0.9))
    named = {f"net TVPI, {name}": float(q) for name, q in zip(names, quantiles, strict=True)}
    return {
        **named,
        "net TVPI, mean": float(tvpi.mean()),
        "share of funds with net TVPI below 1": float(np.mean(tvpi < 1.0)),
        "share of funds with net TVPI of 3 and more": float(np.mean(tvpi >= 3.0)),
    }


def _path(result: FundResult) -> dict[str, float]:
    dpi = result.path.distributions / result.path.contributions
    figures = {
        f"median net DPI, year {year}": float(np.median(dpi[year - 1])) for year in (8, 10, 12, 15)
    }
    called = float(np.median(result.path.contributions[1]))
    return {**figures, "share of the commitment called after 24 months": called}


def calibration_table(profile: MarketProfile) -> str:
    """Return the figures of the model beside the published ones, as a Markdown table."""
    computed = calibration_figures(profile)
    lines = ["| figure | model | published | source |", "|---|---|---|---|"]
    for one in profile.calibrated_to:
        model = f"{computed[one.figure]:g}"
        lines.append(f"| {one.figure} | {model} | {one.published} | {one.source} |")
    return "\n".join(lines)
