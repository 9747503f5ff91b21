"""The numbers of the base case that an independent simulation gave, within their tolerances."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from normalization.stages import Stage
from stagenorm.portfolio.fund_expectation import expected_fund, expected_values
from stagenorm.portfolio.fund_ledger import after_carry
from stagenorm.portfolio.fund_simulation import FundResult, simulate_fund
from stagenorm.portfolio.market_expectation import (
    expected_multiple,
    expected_multiple_of_invested_money,
    loss_of_the_fully_diversified_fund,
    price_steps,
)
from stagenorm.portfolio.market_outcomes import MarketTable
from stagenorm.portfolio.market_v2 import MARKET_V2
from stagenorm.portfolio.monte_carlo import SimulationParameters, simulate
from tests.portfolio.fund_cases import BASE_MIX, TERMS, fund_of


@cache
def base() -> FundResult:
    return simulate_fund(fund_of(), path=True)


def test_1_a_quarter_of_the_funds_loses_money() -> None:
    tvpi = base().runs.tvpi
    assert np.mean(tvpi < 1) == pytest.approx(0.250, abs=0.012)
    assert np.median(tvpi) == pytest.approx(1.553, abs=0.03)
    assert np.quantile(tvpi, 0.25) == pytest.approx(1.000, abs=0.02)
    assert np.quantile(tvpi, 0.75) == pytest.approx(2.544, abs=0.06)


def test_1_market_v1_keeps_its_loss() -> None:
    mix = {Stage.SEED: 0.6, Stage.SERIES_A: 0.4}
    tvpi = simulate(SimulationParameters(50_000, 15, 25, 1, "market-v1", mix)).tvpi
    assert np.mean(tvpi < 1) == pytest.approx(0.041, abs=0.003)


@pytest.mark.parametrize(
    ("companies", "loss"), [(15, 0.297), (25, 0.250), (40, 0.215), (100, 0.165)]
)
def test_2_diversification_does_not_cure_the_loss(companies: int, loss: float) -> None:
    tvpi = simulate_fund(fund_of(portfolio_size=companies)).runs.tvpi
    assert np.mean(tvpi < 1) == pytest.approx(loss, abs=0.012)


def test_2_the_loss_tends_to_that_of_the_factor_alone() -> None:
    mean = expected_multiple_of_invested_money(MARKET_V2, BASE_MIX, 0.4)
    assert mean == pytest.approx(3.16268, abs=5e-6)
    limit = loss_of_the_fully_diversified_fund(MARKET_V2, BASE_MIX, 0.4, TERMS.lifetime_fees())
    assert limit == pytest.approx(0.0966, abs=5e-5)
    tvpi = simulate_fund(fund_of(portfolio_size=1_000, runs=10_000)).runs.tvpi
    assert np.mean(tvpi < 1) == pytest.approx(0.115, abs=0.012)
    sure = simulate_fund(fund_of(portfolio_size=100, factor_sigma=0.0, runs=10_000)).runs.tvpi
    assert np.mean(sure < 1) < 0.0005


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.6, 1.0])
def test_3_the_expectation_does_not_depend_on_the_factor(sigma: float) -> None:
    late = fund_of(stage_mix={Stage.SERIES_C_PLUS: 1.0}, reserve_ratio=0.0, factor_sigma=sigma)
    assert expected_multiple(MARKET_V2, Stage.SERIES_C_PLUS) == pytest.approx(2.254, abs=5e-4)
    gross = simulate_fund(late).runs.gross_tvpi
    assert abs(gross.mean() - 2.25399) < 4 * gross.std() / gross.size**0.5


def test_4_fees_and_carry_by_hand() -> None:
    assert TERMS.lifetime_fees() == pytest.approx(0.173712, abs=5e-7)
    investable = 1 - TERMS.lifetime_fees()
    assert investable == pytest.approx(0.82629, abs=5e-6)
    path = base().path
    called = 0.02 + 8 * 0.6 * investable / 25
    assert called == pytest.approx(0.17865, abs=5e-6)
    assert path.contributions[0] == pytest.approx(called, abs=1e-12)
    net = after_carry(np.array([3.0 * investable]), np.array([1.0]), TERMS.carry)
    assert net[0] == pytest.approx(2.18309, abs=5e-6)


def test_4_carry_is_a_fifth_of_the_profit_in_each_run() -> None:
    runs = base().runs
    gross = runs.gross_tvpi * runs.invested
    net = gross - 0.2 * np.maximum(0.0, gross - runs.paid_in)
    np.testing.assert_allclose(runs.tvpi * runs.paid_in, net, rtol=1e-12)
    np.testing.assert_allclose(runs.paid_in, runs.invested + TERMS.lifetime_fees(), rtol=1e-12)


@pytest.mark.parametrize(
    ("year", "tvpi"),
    [(1, 0.868), (2, 0.88), (3, 0.98), (4, 1.037), (6, 1.17), (8, 1.299), (10, 1.40), (12, 1.49)],
)
def test_5_the_j_curve(year: int, tvpi: float) -> None:
    path = base().path
    value = (path.distributions + path.nav)[year - 1] / path.contributions[year - 1]
    assert np.median(value) == pytest.approx(tvpi, abs=0.02)


@pytest.mark.parametrize(
    ("year", "dpi"), [(1, 0), (4, 0), (6, 0.06), (8, 0.317), (10, 0.66), (12, 1.016), (15, 1.38)]
)
def test_5_cash_comes_late(year: int, dpi: float) -> None:
    path = base().path
    assert np.median(path.distributions[year - 1] / path.contributions[year - 1]) == pytest.approx(
        dpi, abs=0.03
    )


def test_5_the_mark_of_a_seed_company_in_expectation() -> None:
    table = MarketTable({Stage.SEED: 1.0}, MARKET_V2)
    _, marks = expected_values(table, MARKET_V2, np.array([12.0, 24.0, 36.0]))
    expected = table.odds.ravel() @ marks
    assert expected == pytest.approx([1.4895, 1.8407, 1.4877], abs=5e-5)


def test_5_the_last_year_of_the_path_is_the_headline() -> None:
    result = base()
    last = (result.path.distributions + result.path.nav)[-1] / result.path.contributions[-1]
    np.testing.assert_allclose(last, result.runs.tvpi, atol=1e-9)


def test_6_targets() -> None:
    runs = base().runs
    assert np.mean(runs.tvpi >= 3) == pytest.approx(0.188, abs=0.01)
    assert np.mean(runs.irr >= 0.20) == pytest.approx(0.0975, abs=0.01)
    assert np.mean(runs.irr >= 0.15) == pytest.approx(0.1895, abs=0.01)


def test_6_common_random_numbers_make_differences_sharp() -> None:
    runs = 10_000
    one = simulate_fund(fund_of(runs=runs)).runs.tvpi
    other = simulate_fund(fund_of(runs=runs, reserve_ratio=0.5)).runs.tvpi
    strangers = simulate_fund(fund_of(runs=runs, reserve_ratio=0.5, seed=2)).runs.tvpi
    paired = (other - one).std() / runs**0.5
    unpaired = (strangers - one).std() / runs**0.5
    assert paired < 0.004
    assert unpaired == pytest.approx(0.035, abs=0.01)


SENSITIVITY: list[tuple[dict[str, Any], float, float]] = [
    ({"factor_sigma": 0.5}, 1.62, 0.20),
    ({"factor_sigma": 0.7}, 1.48, 0.29),
    ({"terms": TERMS.__class__(0.025, 5, 0.9, 10, 0.2)}, 1.48, 0.27),
    ({"terms": TERMS.__class__(0.0, 5, 0.9, 10, 0.0)}, 2.05, 0.18),
]


@pytest.mark.parametrize(("changes", "median", "loss"), SENSITIVITY)
def test_the_sensitivities_of_the_research(
    changes: dict[str, Any], median: float, loss: float
) -> None:
    tvpi = simulate_fund(fund_of(**changes)).runs.tvpi
    assert np.median(tvpi) == pytest.approx(median, abs=0.03)
    assert np.mean(tvpi < 1) == pytest.approx(loss, abs=0.012)


def test_a_follow_on_expects_what_the_next_stage_expects() -> None:
    steps = price_steps(MARKET_V2)
    assert steps[Stage.SEED] == pytest.approx(1.64, abs=0.005)
    assert steps[Stage.SERIES_A] == pytest.approx(1.62, abs=0.005)
    means = {
        ratio: expected_fund(fund_of(reserve_ratio=ratio).plan(), BASE_MIX, MARKET_V2).multiple
        for ratio in (0.0, 0.4)
    }
    assert means[0.4] == pytest.approx(means[0.0], rel=0.03)


MULTIPLES = {
    Stage.PRE_SEED: 3.11,
    Stage.SEED: 3.31,
    Stage.SERIES_A: 3.16,
    Stage.SERIES_B: 2.83,
    Stage.SERIES_C: 2.45,
    Stage.SERIES_C_PLUS: 2.25,
}


@pytest.mark.parametrize("stage", Stage)
def test_expected_multiples_by_stage(stage: Stage) -> None:
    assert expected_multiple(MARKET_V2, stage) == pytest.approx(MULTIPLES.get(stage), abs=0.005)
