"""The rules of the fund simulation: its stream, its edges, and its closed forms."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, truncpareto

from normalization.stages import Stage
from stagenorm.portfolio.fund_expectation import expected_fund, expected_values
from stagenorm.portfolio.fund_ledger import FundLedger, after_carry
from stagenorm.portfolio.fund_plan import FundPlan
from stagenorm.portfolio.fund_simulation import (
    FUND_ENGINE,
    RUNS_PER_BLOCK,
    FundParameters,
    FundResult,
    simulate_fund,
)
from stagenorm.portfolio.market_calibration import calibration_figures
from stagenorm.portfolio.market_expectation import (
    band_means,
    graduation_probability,
    pareto_mean,
    winner_shares,
)
from stagenorm.portfolio.market_outcomes import MarketTable
from stagenorm.portfolio.market_profiles import STAGES, FundTerms
from stagenorm.portfolio.market_v2 import MARKET_V2
from tests.portfolio.fund_cases import BASE, BASE_MIX, EVERY_STAGE, TERMS, free_of_charge, fund_of


def assert_same(one: FundResult, other: FundResult, runs: int | None = None) -> None:
    for field in fields(one.runs):
        a, b = getattr(one.runs, field.name), getattr(other.runs, field.name)
        assert np.array_equal(a[:runs], b[:runs], equal_nan=True), field.name
    for field in fields(one.path):
        a, b = getattr(one.path, field.name), getattr(other.path, field.name)
        assert np.array_equal(a[:, :runs], b[:, :runs]), field.name


def test_the_same_parameters_give_the_same_result() -> None:
    asked = fund_of(runs=700, stage_mix=EVERY_STAGE)
    assert_same(simulate_fund(asked, path=True), simulate_fund(asked, path=True))
    other = simulate_fund(replace(asked, seed=asked.seed + 1))
    assert not np.array_equal(simulate_fund(asked).runs.tvpi, other.runs.tvpi)


def test_threads_do_not_disturb_each_other() -> None:
    asked = fund_of(runs=3_000)
    alone = simulate_fund(asked, path=True)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: simulate_fund(asked, path=True), range(4)):
            assert_same(result, alone)


def test_the_path_and_the_gross_rate_change_no_number() -> None:
    asked = fund_of(runs=600)
    plain, full = simulate_fund(asked), simulate_fund(asked, path=True, gross_irr=True)
    for name in ("tvpi", "dpi", "irr", "paid_in", "gross_tvpi"):
        assert np.array_equal(getattr(plain.runs, name), getattr(full.runs, name))
    assert plain.path.nav.size == 0
    assert np.isnan(plain.runs.gross_irr).all()
    assert not np.isnan(full.runs.gross_irr).any()


@pytest.mark.parametrize("portfolio_size", [1, 25, 60])
def test_more_runs_begin_with_the_same_runs(portfolio_size: int) -> None:
    longest = simulate_fund(fund_of(runs=5_600, portfolio_size=portfolio_size), path=True)
    for runs in (1, RUNS_PER_BLOCK - 1, RUNS_PER_BLOCK, RUNS_PER_BLOCK + 1, 2_500, 2_501):
        shorter = simulate_fund(fund_of(runs=runs, portfolio_size=portfolio_size), path=True)
        assert_same(shorter, longest, runs)


def test_portfolios_of_any_size_share_factors_and_first_companies() -> None:
    # Without a reserve and with everything at once, a company is worth the same beside others.
    plain = {"reserve_ratio": 0.0, "deployment_months": 1, "terms": free_of_charge()}
    values = {
        size: simulate_fund(fund_of(runs=900, portfolio_size=size, **plain)).runs.gross_tvpi * size
        for size in (1, 2, 30)
    }
    assert np.all(values[1] <= values[2] + 1e-2)
    assert np.corrcoef(values[1], values[2])[0, 1] > 0.6
    assert np.all(values[2] <= values[30] + 0.1)


def test_the_engine_is_the_one_that_made_these_numbers() -> None:
    # Other numbers, from a change here or from another numpy: give FUND_ENGINE a new name, then
    # change them.
    assert FUND_ENGINE == "pcg64-funds-1"
    runs = simulate_fund(fund_of(runs=3, seed=7)).runs
    assert runs.tvpi == pytest.approx(PINNED["tvpi"], rel=1e-12)
    assert runs.dpi == pytest.approx(PINNED["dpi"], rel=1e-12)
    assert runs.irr == pytest.approx(PINNED["irr"], rel=1e-8)
    assert simulate_fund(fund_of(runs=2_501, seed=7)).runs.tvpi[-1] == pytest.approx(
        PINNED["last"], rel=1e-12
    )


PINNED: dict[str, Any] = {
    "tvpi": [2.1123911637793444, 1.6904953933840332, 5.850496889379052],
    "dpi": [1.938098288861744, 1.6904953933840332, 5.850496889379052],
    "irr": [0.0873695592937529, 0.08080666834061237, 0.23307505280972932],
    "last": 0.9160955593984677,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"reserve_ratio": 0.0},
        {"reserve_ratio": 0.4},
        {"reserve_ratio": 0.9, "portfolio_size": 3},
        {"stage_mix": EVERY_STAGE, "horizon_years": 3},
        {"horizon_years": 2, "deployment_months": 60, "portfolio_size": 7},
        {"horizon_years": 1, "deployment_months": 240, "stage_mix": EVERY_STAGE},
        {"portfolio_size": 1, "horizon_years": 12},
    ],
)
def test_the_expectation_is_the_closed_form(changes: dict[str, Any]) -> None:
    asked = fund_of(**{"factor_sigma": 0.2, "runs": 30_000, **changes})
    runs = simulate_fund(asked).runs
    expected = expected_fund(asked.plan(), asked.stage_mix, MARKET_V2)
    for found, mean in (
        (runs.invested, expected.invested),
        (runs.gross_tvpi * runs.invested, expected.value),
    ):
        assert abs(found.mean() - mean) <= 4 * found.std() / found.size**0.5 + 1e-12


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("age", [1.0, 7.0, 9.0, 20.0, 41.0, 60.0])
def test_the_expected_mark_is_the_integral_it_stands_for(stage: Stage, age: float) -> None:
    table = MarketTable({stage: 1.0}, MARKET_V2)
    proceeds, marks = expected_values(table, MARKET_V2, np.array([age]))
    for cell in np.flatnonzero(table.odds.ravel()):
        centre, start = table.exit_quarters[cell], table.line_start[cell]
        price = table.line_value[cell]
        mean = band_means(MARKET_V2, stage)[cell // (2 * len(STAGES))]

        def mark(
            exit_time: float, start: float = start, price: float = price, mean: float = mean
        ) -> float:
            if age <= start:
                return 1.0
            return float(price + (mean - price) * (age - start) / (exit_time - start))

        low, high = 0.5 * centre, 1.5 * centre
        begin = min(max(low, age), high)
        assert marks[cell, 0] == pytest.approx(quad(mark, begin, high)[0] / (high - low), abs=1e-9)
        assert proceeds[cell, 0] == pytest.approx(mean * (begin - low) / (high - low), abs=1e-9)


@pytest.mark.parametrize("stage", Stage)
def test_moments_of_the_winners_are_scipys(stage: Stage) -> None:
    tail = MARKET_V2.odds.tail_index[stage]
    winner = truncpareto(tail, 1000 / 3, scale=3)
    assert pareto_mean(tail, 3, 1000) == pytest.approx(winner.mean(), rel=1e-9)
    shares = [winner.cdf(10), winner.cdf(50) - winner.cdf(10), winner.sf(50)]
    assert winner_shares(MARKET_V2, stage) == pytest.approx(shares, rel=1e-9)
    split = winner_shares(MARKET_V2, stage) @ band_means(MARKET_V2, stage)[2:]
    assert split == pytest.approx(winner.mean(), rel=1e-9)


@pytest.mark.parametrize("companies", [1, 2, 25, 1000])
def test_the_mean_follow_on_is_that_of_a_binomial(companies: int) -> None:
    asked = fund_of(portfolio_size=companies, deployment_months=12)
    share = sum(w * graduation_probability(MARKET_V2, s) for s, w in BASE_MIX.items())
    graduates = np.arange(companies + 1)
    cheques = np.minimum(0.4 / 0.6 * companies, 3 * graduates)
    invested = companies + binom.pmf(graduates, companies, share) @ cheques
    expected = expected_fund(asked.plan(), BASE_MIX, MARKET_V2)
    assert expected.invested == pytest.approx(asked.plan().first_cheque * invested, rel=1e-9)


def test_shares_of_bands_and_graduates_are_the_profiles() -> None:
    asked = fund_of(runs=20_000, stage_mix=EVERY_STAGE)
    companies = simulate_fund(asked).totals.companies
    assert companies.sum() == 20_000 * 25
    table = MarketTable(EVERY_STAGE, MARKET_V2)
    error = np.sqrt(table.odds * (1 - table.odds) / companies.sum())
    assert np.all(np.abs(companies / companies.sum() - table.odds) <= 4.5 * error)


@pytest.mark.parametrize("horizon_years", [2, 6, 15])
def test_paid_in_is_fees_so_far_plus_what_was_invested(horizon_years: int) -> None:
    asked = fund_of(runs=5_000, horizon_years=horizon_years)
    runs = simulate_fund(asked).runs
    fees = sum(TERMS.annual_fees()[:horizon_years])
    np.testing.assert_allclose(runs.paid_in, runs.invested + fees, rtol=1e-12)
    expected = expected_fund(asked.plan(), asked.stage_mix, MARKET_V2).invested + fees
    error = runs.paid_in.std() / runs.paid_in.size**0.5
    assert abs(runs.paid_in.mean() - expected) <= 4 * error + 1e-12


def test_the_totals_by_cell_are_those_of_the_runs() -> None:
    asked = fund_of(runs=2_000, stage_mix=EVERY_STAGE, horizon_years=7)
    result = simulate_fund(asked, path=True)
    cheque = asked.plan().first_cheque
    runs = result.runs
    assert result.totals.value.sum() * cheque == pytest.approx(
        (runs.gross_tvpi * runs.invested).sum()
    )
    cash = (result.totals.value - result.totals.residual).sum() * cheque
    assert cash == pytest.approx((runs.gross_dpi * runs.invested).sum())


def test_net_is_gross_without_fees_and_carry() -> None:
    runs = simulate_fund(fund_of(runs=2_000, terms=free_of_charge()), gross_irr=True).runs
    np.testing.assert_allclose(runs.tvpi, runs.gross_tvpi, rtol=1e-12)
    np.testing.assert_allclose(runs.dpi, runs.gross_dpi, rtol=1e-12)
    np.testing.assert_allclose(runs.irr, runs.gross_irr, rtol=1e-9, atol=1e-12)


def test_gross_beats_net() -> None:
    runs = simulate_fund(fund_of(runs=5_000), gross_irr=True).runs
    assert np.all(runs.gross_tvpi >= runs.tvpi)
    assert np.all(runs.gross_irr >= runs.irr - 1e-9)


@pytest.mark.parametrize("carry", [0.0, 0.2, 0.5])
def test_cumulative_net_distributions_never_fall(carry: float) -> None:
    generator = np.random.default_rng(3)
    gross, paid_in = np.cumsum(generator.exponential(size=(2, 200, 50)), axis=1)
    net = after_carry(gross, paid_in, carry)
    assert np.all(np.diff(net, axis=0) >= -1e-12)
    np.testing.assert_allclose(net, gross - carry * np.maximum(0, gross - paid_in), rtol=1e-12)


@pytest.mark.parametrize(
    ("terms", "fees"),
    [
        (TERMS, [0.02] * 5 + [0.02 * 0.9**n for n in range(1, 6)]),
        (FundTerms(0.025, 3, 0.5, 4, 0.2), [0.025, 0.025, 0.025, 0.0125]),
        (FundTerms(0.02, 12, 0.9, 3, 0.2), [0.02, 0.02, 0.02]),
        (FundTerms(0.02, 0, 0.5, 2, 0.0), [0.01, 0.005]),
        (FundTerms(0.0, 5, 0.9, 10, 0.0), [0.0] * 10),
    ],
)
def test_fees_by_year(terms: FundTerms, fees: list[float]) -> None:
    assert terms.annual_fees() == pytest.approx(fees, rel=1e-12)
    plan = replace_plan(terms=terms, horizon_years=15)
    yearly = plan.fee_calls().reshape(15, 4)
    assert yearly.sum(axis=1) == pytest.approx([*fees, *[0.0] * (15 - len(fees))], abs=1e-15)
    assert np.ptp(yearly, axis=1).max() == 0


def replace_plan(**changes: Any) -> FundPlan:
    return replace(BASE.plan(), **changes)


def test_first_cheques_are_spread_evenly() -> None:
    plan = replace_plan(portfolio_size=4, deployment_months=24, horizon_years=3)
    assert plan.cheque_quarters * 3 == pytest.approx([3, 9, 15, 21])
    calls = plan.first_cheque_calls() / plan.first_cheque
    assert calls.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0]
    assert plan.first_cheque == pytest.approx(0.6 * (1 - TERMS.lifetime_fees()) / 4)


def test_cheques_after_the_horizon_are_never_made() -> None:
    asked = fund_of(portfolio_size=10, deployment_months=60, horizon_years=2, runs=200)
    plan = asked.plan()
    assert (plan.cheques_made, plan.first_cheque_calls().sum()) == (4, 4 * plan.first_cheque)
    assert simulate_fund(asked).totals.companies.sum() == 4 * 200


def test_a_fund_in_which_nothing_graduates_never_calls_its_reserve() -> None:
    asked = fund_of(portfolio_size=1, runs=4_000)
    runs = simulate_fund(asked).runs
    plan = asked.plan()
    without = np.isclose(runs.invested, plan.first_cheque)
    share = sum(w * graduation_probability(MARKET_V2, s) for s, w in BASE_MIX.items())
    assert np.mean(without) == pytest.approx(1 - share, abs=0.035)
    # Its reserve is two thirds of a cheque, less than the limit of three.
    assert runs.invested[~without] == pytest.approx(plan.investable, rel=1e-12)


def test_a_company_gets_at_most_three_cheques_of_follow_on() -> None:
    asked = fund_of(portfolio_size=2, reserve_ratio=0.9, runs=2_000)
    cheque = asked.plan().first_cheque
    cheques = np.unique(np.round(simulate_fund(asked).runs.invested / cheque, 6))
    assert cheques.tolist() == [2, 5, 8]


def test_money_that_never_comes_back_is_a_rate_of_minus_one_and_a_multiple_of_zero() -> None:
    # Two runs of the base plan: nothing comes back in the first, one payment in the second.
    plan = BASE.plan()
    ledger = FundLedger(plan, 2)
    proceeds = np.zeros((plan.horizon_quarters + 1, 2))
    proceeds[40, 1] = 100.0
    rounds = np.zeros((plan.horizon_quarters, 2), dtype=np.int64)
    ledger.enter(slice(0, 2), proceeds, rounds, np.zeros(2))
    yearly = np.zeros((3, plan.horizon_years, 2))
    runs = ledger.close(2, yearly, gross_irr=True)
    assert runs.paid_in == pytest.approx(plan.fees + 0.6 * plan.investable, rel=1e-12)
    for multiple in (runs.tvpi, runs.dpi, runs.gross_tvpi, runs.gross_dpi):
        assert multiple[0] == 0
        assert multiple[1] > 0
    for rate in (runs.irr, runs.gross_irr):
        assert rate[0] == -1
        assert rate[1] > 0
    assert not yearly[1:, :, 0].any()


def test_every_fund_of_one_company_has_a_rate() -> None:
    # -1 too where a payment is less than what is called at the same time.
    runs = simulate_fund(fund_of(runs=500, portfolio_size=1, horizon_years=15)).runs
    assert np.all(runs.irr >= -1)
    assert np.all(np.isfinite(runs.irr))


@pytest.mark.parametrize("horizon_years", [1, 2, 8, 15])
@pytest.mark.parametrize("portfolio_size", [1, 3, 400])
def test_every_number_is_finite_and_in_order(horizon_years: int, portfolio_size: int) -> None:
    asked = fund_of(
        runs=300,
        horizon_years=horizon_years,
        portfolio_size=portfolio_size,
        stage_mix=EVERY_STAGE,
        factor_sigma=1.0,
        deployment_months=12 if horizon_years == 1 else 36,
    )
    result = simulate_fund(asked, path=True, gross_irr=True)
    runs = result.runs
    for field in fields(runs):
        assert np.isfinite(getattr(runs, field.name)).all(), field.name
    assert np.all((runs.dpi >= 0) & (runs.dpi <= runs.tvpi + 1e-12))
    assert np.all((runs.irr >= -1) & (runs.gross_irr >= -1))
    assert np.all((runs.irr > 1e-9) <= (runs.tvpi > 1))
    path = result.path
    assert np.all(np.diff(path.contributions, axis=0) >= -1e-15)
    assert np.all(np.diff(path.distributions, axis=0) >= -1e-12)
    assert np.all(path.nav >= -1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"runs": 0},
        {"runs": 50_001},
        {"horizon_years": 0},
        {"portfolio_size": 0},
        {"portfolio_size": 1_001},
        {"seed": -1},
        {"profile": "market-v1"},
        {"stage_mix": {}},
        {"reserve_ratio": 1.0},
        {"reserve_ratio": -0.1},
        {"deployment_months": 0},
        {"portfolio_size": 1, "deployment_months": 240, "horizon_years": 1},
        {"factor_sigma": 1.1},
        {"factor_sigma": math.nan},
    ],
)
def test_what_cannot_be_simulated_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|mix|horizon"):
        fund_of(**changes)


@pytest.mark.parametrize(
    "members",
    [
        (0.2, 10, 0.9, 10, 0.2),
        (-0.1, 5, 0.9, 10, 0.2),
        (0.02, 5, 1.1, 10, 0.2),
        (0.02, 5, 0.9, 0, 0.2),
        (0.02, -1, 0.9, 10, 0.2),
        (0.02, 5, 0.9, 10, 1.0),
    ],
)
def test_terms_that_leave_nothing_are_refused(members: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"must|fraction|nothing"):
        FundTerms(*members)


def test_the_numbers_of_the_published_profile_are_these() -> None:
    # Better numbers get a new name: stored simulations name the profile that made them.
    odds = MARKET_V2.odds
    rows = [
        tuple(
            table[stage]
            for table in (odds.fail, odds.modest, odds.tail_index, MARKET_V2.exits.base_years)
        )
        for stage in STAGES
    ]
    assert rows == [
        (0.67, 0.09, 1.25, 10.0),
        (0.61, 0.14, 1.25, 9.2),
        (0.51, 0.235, 1.35, 8.0),
        (0.40, 0.35, 1.55, 6.8),
        (0.33, 0.46, 1.75, 5.6),
        (0.28, 0.54, 1.95, 4.8),
    ]  # fmt: skip
    graduation = MARKET_V2.graduation
    rounds = [
        tuple(
            table[stage]
            for table in (
                graduation.given_at_least_cost,
                graduation.given_below_cost,
                graduation.months_to_round,
            )
        )
        for stage in STAGES
    ]
    assert rounds == [
        (0.80, 0.35, 18), (0.80, 0.30, 22), (0.70, 0.25, 24),
        (0.55, 0.20, 24), (0.45, 0.15, 20), (0.35, 0.10, 17),
    ]  # fmt: skip
    assert (MARKET_V2.factor.sigma, MARKET_V2.exits.spread, odds.winner_edges) == (
        0.6,
        0.5,
        (3.0, 10.0, 50.0, 1000.0),
    )


def test_every_part_of_the_profile_names_its_source() -> None:
    parts: tuple[Any, ...] = (
        MARKET_V2.odds,
        MARKET_V2.factor,
        MARKET_V2.exits,
        MARKET_V2.graduation,
        MARKET_V2.marks,
        MARKET_V2.terms,
        MARKET_V2.reserves,
        *MARKET_V2.calibrated_to,
    )
    assert all(part.source for part in parts)


def test_the_profiles_calibration_is_what_the_model_gives() -> None:
    figures = calibration_figures(MARKET_V2)
    assert {one.figure: one.model for one in MARKET_V2.calibrated_to} == figures


def test_an_exit_before_the_next_round_is_refused_as_a_profile() -> None:
    slow = replace(
        MARKET_V2.graduation,
        months_to_round={**MARKET_V2.graduation.months_to_round, Stage.SERIES_C_PLUS: 24},
    )
    with pytest.raises(ValueError, match="could exit before its next round"):
        replace(MARKET_V2, graduation=slow)


def test_parameters_are_frozen() -> None:
    assert FundParameters.__dataclass_params__.frozen  # type: ignore[attr-defined]
