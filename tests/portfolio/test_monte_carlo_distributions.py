"""The random numbers against their documented distributions. Seeds are fixed, so no test fails by
chance.
"""

import hashlib
import json
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
from numpy.random import PCG64
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad

from normalization.stages import Stage
from stagenorm.portfolio.expected_value import expected_tvpi, moment
from stagenorm.portfolio.monte_carlo import SimulationParameters, simulate
from stagenorm.portfolio.outcomes import ROWS_OF_ROOM, CompanyBlock, OutcomeTable
from stagenorm.portfolio.return_profiles import BANDS, PROFILES, Band, ReturnProfile
from tests.portfolio.fund_cases import EVERY_STAGE

STAGES = list(Stage)
MIXES = {
    **{stage.value: {stage: 1.0} for stage in Stage},
    "mixed": EVERY_STAGE,
}


def multiples_of(band: Band) -> Any:
    """The band's distribution as scipy has it."""
    if band.heavy_tailed:
        return stats.truncpareto(1.16, band.high / band.low, scale=band.low)
    return stats.uniform(band.low, band.high - band.low)


def drawn(profile: str, seed: int, companies: int = 400_000) -> CompanyBlock:
    table = OutcomeTable(dict.fromkeys(Stage, 1 / len(STAGES)), PROFILES[profile])
    return CompanyBlock(table, np.empty((ROWS_OF_ROOM, companies))).draw(PCG64(seed), companies)


@pytest.mark.parametrize("horizon_years", [1, 3, 8, 15])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("profile", PROFILES)
def test_mean_tvpi_is_the_closed_form(profile: str, mix: str, horizon_years: int) -> None:
    parameters = SimulationParameters(20_000, horizon_years, 25, 20_260_101, profile, MIXES[mix])
    tvpi = simulate(parameters).tvpi
    error = tvpi.std(ddof=1) / np.sqrt(tvpi.size)
    assert abs(tvpi.mean() - expected_tvpi(MIXES[mix], profile, horizon_years)) < 4 * error


@pytest.mark.parametrize("profile", PROFILES)
def test_shares_of_stages_and_bands_are_within_clopper_pearson(profile: str) -> None:
    mix = MIXES["mixed"]
    companies = simulate(SimulationParameters(20_000, 8, 25, 3, profile, mix)).companies
    for column, stage in enumerate(STAGES):
        assert_share(int(companies[:, column].sum()), int(companies.sum()), mix[stage])
        for row, odds in enumerate(PROFILES[profile].odds[stage]):
            assert_share(int(companies[row, column]), int(companies[:, column].sum()), odds)


def assert_share(successes: int, trials: int, probability: float) -> None:
    # 72 intervals in all, so each is at 99.9 %.
    low, high = stats.binomtest(successes, trials).proportion_ci(0.999, method="exact")
    assert low <= probability <= high


@pytest.mark.parametrize("weight", [1e-7, 1e-4, 0.3])
def test_a_small_weight_is_not_lost(weight: float) -> None:
    mix = {Stage.SEED: 1 - weight, Stage.SERIES_C_PLUS: weight}
    companies = simulate(SimulationParameters(20_000, 8, 500, 5, "market-v1", mix)).companies
    small = Stage.SERIES_C_PLUS.position
    assert_share(int(companies[:, small].sum()), 10_000_000, weight)
    assert not np.delete(companies, [Stage.SEED.position, small], axis=1).any()


@pytest.mark.parametrize("band", range(len(BANDS)), ids=[band.name for band in BANDS])
def test_multiples_follow_their_band(band: int) -> None:
    block = drawn("optimistic-v1", seed=11)
    multiples = block.multiple[block.cell // len(STAGES) == band]
    assert multiples.size > 7_000
    assert np.all((multiples >= BANDS[band].low) & (multiples <= BANDS[band].high))
    assert stats.kstest(multiples, multiples_of(BANDS[band]).cdf).pvalue > 0.01


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("band", range(len(BANDS)), ids=[band.name for band in BANDS])
def test_exit_times_are_uniform_around_the_expected_one(band: int, stage: Stage) -> None:
    block = drawn("optimistic-v1", seed=13)
    years = block.exit_quarter[block.cell == band * len(STAGES) + STAGES.index(stage)] / 4
    expected = PROFILES["optimistic-v1"].base_exit_years[stage] * BANDS[band].exit_factor
    assert np.all((years >= max(1.0, expected - 1)) & (years <= expected + 1))
    later = years[years > 1]
    assert_share(later.size, years.size, min(1.0, expected / 2))
    start = max(1.0, expected - 1)
    assert stats.kstest(later, stats.uniform(start, expected + 1 - start).cdf).pvalue > 0.001


def test_stage_band_multiple_and_exit_time_are_independent() -> None:
    block = drawn("optimistic-v1", seed=17)
    for cell in range(len(BANDS) * len(STAGES)):
        chosen = block.cell == cell
        ranks = stats.spearmanr(block.multiple[chosen], block.exit_quarter[chosen])
        assert ranks.pvalue > 0.001
        # And neither depends on the company before.
        assert (
            abs(np.corrcoef(block.multiple[chosen][:-1], block.multiple[chosen][1:])[0, 1])
            < 4 / chosen.sum() ** 0.5
        )


@pytest.mark.parametrize("horizon_years", [1, 2, 5, 8, 15])
@pytest.mark.parametrize("stage", Stage)
def test_the_closed_form_is_the_integral_it_stands_for(stage: Stage, horizon_years: int) -> None:
    profile = PROFILES["optimistic-v1"]
    total = 0.0
    for band, odds in zip(BANDS, profile.odds[stage], strict=True):
        expected_exit, distribution = (
            band.exit_factor * profile.base_exit_years[stage],
            multiples_of(band),
        )

        def value(
            offset: float, center: float = expected_exit, multiple: Any = distribution
        ) -> float:
            exit_years = max(1.0, center + offset)
            exponent = 1.0 if exit_years <= horizon_years else horizon_years / exit_years
            return float(multiple.expect(lambda x: x**exponent))

        kink = min(max(horizon_years - expected_exit, -1.0), 1.0)
        parts = [
            quad(value, start, end, epsabs=1e-9)[0]
            for start, end in ((-1.0, kink), (kink, 1.0))
            if start < end
        ]
        total += odds * sum(parts) / 2
    assert expected_tvpi({stage: 1.0}, profile.name, horizon_years) == pytest.approx(
        total, rel=1e-7
    )


@pytest.mark.parametrize("band", BANDS, ids=[band.name for band in BANDS])
def test_moments_are_scipys(band: Band) -> None:
    exponents: NDArray[np.float64] = np.array([0.05, 0.5, 0.99, 1.0])
    expected = [multiples_of(band).expect(lambda x, r=r: x**r) for r in exponents]
    assert moment(band, exponents) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_a_profile_is_complete(profile: ReturnProfile) -> None:
    assert list(profile.odds) == list(profile.base_exit_years) == STAGES
    for odds in profile.odds.values():
        assert sum(odds) == pytest.approx(1.0, abs=1e-12)
        assert all(0 <= one <= 1 for one in odds)
    assert "assumption" in profile.source


@pytest.mark.parametrize("stage", Stage)
def test_the_numbers_of_a_published_profile_never_change(stage: Stage) -> None:
    # Better numbers get a new name: stored simulations name the profile that made them.
    published = {
        name: [profile.odds[stage], profile.base_exit_years[stage]]
        for name, profile in PROFILES.items()
    }
    assert digest_of(published) == PUBLISHED.get(stage)


def test_the_bands_of_the_published_profiles_never_change() -> None:
    assert digest_of([astuple(band) for band in BANDS]) == PUBLISHED_BANDS


def digest_of(numbers: Any) -> str:
    text = json.dumps(numbers, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


PUBLISHED_BANDS = "08d43ec43ebadb54"
PUBLISHED = {
    Stage.PRE_SEED: "03395754822fb174",
    Stage.SEED: "b6352be1c2d6dff0",
    Stage.SERIES_A: "f9e97fcd433a47da",
    Stage.SERIES_B: "be519cbcc2c0ac8c",
    Stage.SERIES_C: "834f5df8a9b4912a",
    Stage.SERIES_C_PLUS: "4b403eb6eec2050c",
}
