"""The engine against the independent simulation of tests/portfolio/fund_by_events.py, within 4
standard errors.
"""

import random
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from normalization.stages import Stage
from stagenorm.portfolio.fund_simulation import FundResult, simulate_fund
from tests.portfolio import fund_by_events
from tests.portfolio.fund_cases import EVERY_STAGE, fund_of

Numbers = NDArray[np.float64]

FUNDS = 1_200
CASES: dict[str, dict[str, Any]] = {
    "base": {},
    "every stage, small reserve": {
        "stage_mix": EVERY_STAGE,
        "portfolio_size": 10,
        "reserve_ratio": 0.15,
        "horizon_years": 8,
        "factor_sigma": 0.4,
    },
    "slow deployment beyond a short horizon": {
        "stage_mix": {Stage.SERIES_B: 0.5, Stage.SERIES_C: 0.5},
        "portfolio_size": 6,
        "reserve_ratio": 0.7,
        "deployment_months": 60,
        "horizon_years": 4,
    },
}


@cache
def engine(case: str) -> FundResult:
    return simulate_fund(fund_of(**{"runs": 40_000, **CASES[case]}), path=True)


@cache
def events(case: str) -> list[fund_by_events.Fund]:
    asked = fund_of(**CASES[case])
    luck = random.Random(case)
    mix = {stage.value: weight for stage, weight in asked.stage_mix.items()}
    return [
        fund_by_events.fund(
            luck,
            mix,
            size=asked.portfolio_size,
            reserve=asked.reserve_ratio,
            months=asked.deployment_months,
            years=asked.horizon_years,
            sigma=asked.factor_sigma,
        )
        for _ in range(FUNDS)
    ]


def assert_same_mean(one: Numbers, other: Numbers) -> None:
    # The spread of both together: in a small sample a rare outcome may not occur at all.
    spread = np.concatenate((one, other)).std()
    error = spread * (1 / one.size + 1 / other.size) ** 0.5
    assert abs(one.mean() - other.mean()) <= 4 * error + 1e-9


def assert_same_quantiles(engine_runs: Numbers, event_runs: Numbers) -> None:
    """The share of the events below each quantile of the engine is that quantile's, ties allowed
    for.
    """
    for share in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95):
        quantile = np.quantile(engine_runs, share)
        error = (share * (1 - share) * (1 / event_runs.size + 1 / engine_runs.size)) ** 0.5
        assert np.mean(event_runs < quantile - 1e-9) <= share + 4 * error
        assert np.mean(event_runs <= quantile + 1e-9) >= share - 4 * error


def assert_same_share(engine_runs: Numbers, event_runs: Numbers, mark: float) -> None:
    share = np.mean(engine_runs >= mark)
    error = (share * (1 - share) * (1 / event_runs.size + 1 / engine_runs.size)) ** 0.5
    assert abs(np.mean(event_runs >= mark) - share) <= 4 * error


def assert_same_shortfall(engine_runs: Numbers, event_runs: Numbers) -> None:
    """The means of the worst twentieth agree.

    Such a mean varies with the runs below the quantile and with the quantile itself (Manistre and
    Hancock 2005).
    """
    worst, quantile = worst_twentieth(engine_runs)
    other, _ = worst_twentieth(event_runs)
    variance = worst.var() + 0.95 * (worst.mean() - quantile) ** 2
    error = (variance * (1 / worst.size + 1 / other.size)) ** 0.5
    assert abs(worst.mean() - other.mean()) <= 4 * error


def worst_twentieth(values: Numbers) -> tuple[Numbers, float]:
    ordered = np.sort(values)[: values.size // 20]
    return ordered, float(ordered[-1])


@pytest.mark.parametrize("case", CASES)
def test_the_headline_numbers_agree(case: str) -> None:
    runs, funds = engine(case).runs, events(case)
    multiples = {
        "tvpi": np.array([each.tvpi for each in funds]),
        "dpi": np.array([each.net_cash[-1] / each.paid_in[-1] for each in funds]),
        "paid_in": np.array([each.paid_in[-1] for each in funds]),
        "invested": np.array([each.invested for each in funds]),
        "gross_tvpi": np.array([each.gross / each.invested for each in funds]),
    }
    for name, found in multiples.items():
        assert_same_mean(getattr(runs, name), found)
        assert_same_quantiles(getattr(runs, name), found)
    rvpi = np.array([each.nav[-1] / each.paid_in[-1] for each in funds])
    assert_same_mean(runs.tvpi - runs.dpi, rvpi)
    assert_same_quantiles(runs.tvpi - runs.dpi, rvpi)
    for mark in (1, 2, 3, 5):
        assert_same_share(runs.tvpi, multiples["tvpi"], mark)
    assert_same_share(runs.gross_tvpi, multiples["gross_tvpi"], 1)
    assert_same_shortfall(runs.tvpi, multiples["tvpi"])


@pytest.mark.parametrize("case", CASES)
def test_the_rates_of_return_agree(case: str) -> None:
    found = np.array([each.irr() for each in events(case)])
    assert_same_quantiles(engine(case).runs.irr, found)
    for rate in (0.0, 0.15, 0.2):
        assert_same_share(engine(case).runs.irr, found, rate)


@pytest.mark.parametrize("case", CASES)
def test_the_path_agrees(case: str) -> None:
    path, funds = engine(case).path, events(case)
    for year in range(len(path.contributions)):
        quarter = 4 * year + 3
        paid_in = np.array([each.paid_in[quarter] for each in funds])
        cash = np.array([each.net_cash[quarter] for each in funds])
        nav = np.array([each.nav[quarter] for each in funds])
        for one, other in (
            (path.contributions[year], paid_in),
            (path.distributions[year], cash),
            (path.nav[year], nav),
            (path.distributions[year] / path.contributions[year], cash / paid_in),
            (path.nav[year] / path.contributions[year], nav / paid_in),
            (
                (path.distributions + path.nav)[year] / path.contributions[year],
                (cash + nav) / paid_in,
            ),
        ):
            assert_same_mean(one, other)
            assert_same_quantiles(one, other)
