"""Internal rates of return against scipy's root finder, on ordinary flows and on the most extreme
ones.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

from stagenorm.portfolio.irr import RUNS_AT_ONCE, annual_irr, annual_irr_of_net

Floats = NDArray[np.float64]


def rate_by_brentq(invested: float, flows: Floats, first_quarter: int) -> float:
    """The root of the net present value in the annual growth factor's logarithm, which brentq can
    bracket widely.
    """
    quarters = np.arange(first_quarter, first_quarter + flows.size)

    def value(log_growth: float) -> float:
        return float(flows @ np.exp(-log_growth * quarters / 4)) - invested

    return float(np.expm1(brentq(value, -40, 40, xtol=1e-14, rtol=1e-14)))


def assert_matches(invested: float, flows: Floats, first_quarter: int = 1) -> None:
    rates = annual_irr(invested, flows, first_quarter)
    expected = np.array([rate_by_brentq(invested, run, first_quarter) for run in flows.T])
    assert np.all(np.abs(rates - expected) <= 1e-9 * np.maximum(1.0, np.abs(expected)))


@pytest.mark.parametrize("quarters", [1, 2, 17, 60])
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e3, 1e6])
def test_the_rate_is_brentqs_to_1e_9(quarters: int, scale: float) -> None:
    generator = np.random.default_rng(quarters)
    sparse = generator.random((quarters, 300)) < 0.3
    sparse[generator.integers(quarters, size=300), np.arange(300)] = True
    # Over twelve decimal orders, so that single flows dominate each other.
    flows = sparse * 10.0 ** generator.uniform(-6, 6, (quarters, 300))
    assert_matches(1.0, flows * scale / flows.sum(axis=0), first_quarter=4)


@pytest.mark.parametrize(
    ("flows", "first_quarter", "rate"),
    [
        ([1.0], 4, 0.0),
        ([2.0], 4, 1.0),
        ([2.0], 8, 2**0.5 - 1),
        ([200.0], 4, 199.0),
        ([0.5], 4, -0.5),
        ([1e-16], 4, -1 + 1e-16),
        ([0.0, 0.0, 0.0, 1.1], 1, 0.1),
        ([0.0] * 39 + [1.05**10], 1, 0.05),
        ([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 1, (5**0.5 - 1) / 2),
    ],
)
def test_rates_known_by_heart(flows: list[float], first_quarter: int, rate: float) -> None:
    assert annual_irr(1.0, np.array([flows]).T, first_quarter)[0] == pytest.approx(
        rate, rel=1e-13, abs=1e-13
    )


def test_a_run_that_gets_nothing_back_is_minus_one_and_disturbs_no_other() -> None:
    flows = np.random.default_rng(1).random((30, 1000))
    some = np.arange(1000) % 7 != 0
    rates = annual_irr(10.0, np.where(some, flows, 0.0), 4)
    assert np.all(rates[~some] == -1.0)
    assert np.array_equal(rates[some], annual_irr(10.0, flows, 4)[some])
    assert np.all(annual_irr(1.0, np.zeros((30, 5))) == -1.0)


@pytest.mark.parametrize("paid", [1e-70, 1e-20, 1e20, 1e70])
def test_flows_of_any_size_have_their_rate(paid: float) -> None:
    flows = np.zeros((60, 3))
    flows[-1] = [paid, paid, paid / 2]
    flows[0] = [0.0, paid, paid / 2]
    rates = annual_irr(1.0, flows)
    assert rates[0] == pytest.approx(np.expm1(4 * np.log(paid) / 60), rel=1e-12)
    log_discount = -np.log1p(rates[1:]) / 4
    if paid > 1:
        terms = np.log(flows[:, 1:].T[:, [0, -1]]) + np.outer(log_discount, [1, 60])
        assert np.logaddexp(*terms.T) == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize(("early", "late"), [(1e-20, 1e-40), (1e-30, 1e-30), (1e-12, 1e-60)])
def test_a_start_at_which_a_power_overflows_is_bisected(early: float, late: float) -> None:
    # What is paid early decides the start, far out where x^60 overflows; what is paid late decides
    # the root.
    flows = np.zeros((60, 1))
    flows[0], flows[-1] = early, late
    log_discount = -np.log1p(annual_irr(1.0, flows)[0]) / 4
    if early == 1e-20:
        assert log_discount == pytest.approx(-np.log(late) / 60, rel=1e-9)
    assert np.logaddexp(
        np.log(early) + log_discount, np.log(late) + 60 * log_discount
    ) == pytest.approx(0, abs=1e-7)


def test_the_rate_of_a_run_does_not_depend_on_the_others() -> None:
    generator = np.random.default_rng(2)
    flows = generator.random((57, RUNS_AT_ONCE + 50)) ** 20 * generator.choice(
        [1e-6, 1.0, 1e4], RUNS_AT_ONCE + 50
    )
    together = annual_irr(1.0, flows, 4)
    for runs in (slice(0, 1), slice(3, 40), slice(RUNS_AT_ONCE - 5, RUNS_AT_ONCE + 5)):
        assert np.array_equal(annual_irr(1.0, flows[:, runs], 4), together[runs])


def test_no_run_at_all_is_no_rate() -> None:
    assert annual_irr(1.0, np.zeros((4, 0))).size == 0


def net_by_brentq(net: Floats) -> float:
    quarters = np.arange(net.size)

    def value(log_growth: float) -> float:
        return float(net @ np.exp(-log_growth * quarters / 4))

    return float(np.expm1(brentq(value, -15, 15, xtol=1e-14, rtol=1e-14)))


@pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 3.0, 100.0])
def test_the_rate_of_calls_over_time_is_brentqs(scale: float) -> None:
    generator = np.random.default_rng(5)
    net = np.zeros((61, 300))
    net[:20] = -generator.random((20, 300))
    net[8:] += scale * generator.exponential(size=(53, 300)) * (generator.random((53, 300)) < 0.3)
    net[-1] += 0.01
    net[0] = -0.2
    expected = np.array([net_by_brentq(run) for run in net.T])
    assert annual_irr_of_net(net) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("net", "rate"),
    [
        ([-1.0, 0, 0, 0, 1.1], 0.1),
        ([-1.0, 0, 0, 0, -1.0, 0, 0, 0, 2.31], 0.1),
        ([0, -1.0, 0, 0, 0, 1.5], 0.5),
        ([-1.0, 0, 0, 0, 1e-6], 1e-6 - 1),
        ([-1.0, 0, 0, 0, 1e4], 9999.0),
        ([-1.0, -1.0, 0.0], -1.0),
        ([0.0, 0.0], -1.0),
        # Two rates: 10 % and 150 % a year make -1, 3.6, -2.75 worth nothing. The higher one is the
        # answer.
        ([-1.0, 0, 0, 0, 3.6, 0, 0, 0, -2.75], 1.5),
    ],
)
def test_rates_of_calls_known_by_heart(net: list[float], rate: float) -> None:
    assert annual_irr_of_net(np.array([net], dtype=float).T)[0] == pytest.approx(rate, rel=1e-9)


def test_without_a_rate_the_closest_one_is_returned() -> None:
    # Late fees: whatever the rate, the distribution does not pay for the calls.
    net = np.zeros((41, 1))
    net[0], net[16], net[17:] = -0.8, 0.3, -0.02
    rate = annual_irr_of_net(net)[0]
    quarters = np.arange(41)

    def coverage(annual: float) -> float:
        factors = (1 + annual) ** (-quarters / 4)
        return float(np.maximum(net[:, 0], 0) @ factors / (np.maximum(-net[:, 0], 0) @ factors))

    assert coverage(rate) < 1
    assert coverage(rate) >= max(coverage(rate * 0.99), coverage(rate * 1.01))
    assert -0.4 < rate < 0.0


def test_the_rate_of_a_run_with_calls_does_not_depend_on_the_others() -> None:
    generator = np.random.default_rng(2)
    net = np.zeros((49, 3_000))
    net[:12] = -generator.random((12, 3_000))
    net[10:] += generator.random((39, 3_000)) ** 20 * generator.choice([1e-6, 1.0, 1e4], 3_000)
    together = annual_irr_of_net(net)
    for runs in (slice(0, 1), slice(3, 40), slice(2_900, 3_000)):
        assert np.array_equal(annual_irr_of_net(net[:, runs]), together[runs])
