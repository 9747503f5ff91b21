"""Internal rates of return of many quarterly cash flows at once.

Write x for the discount factor of one quarter. A run that pays `invested` at time zero and gets
c_k back at the end of quarter k breaks even where f(x) = sum c_k x^k equals `invested`. In
logarithms, y = log x and g(y) = log f(e^y) - log invested, the root is easy to find: g is a
log-sum-exp of straight lines, hence convex and increasing, and its slope (the mean quarter of
the discounted flows) stays between the first and the last quarter that may pay. So the root lies
between -g(0)/first and -g(0)/last, and Newton's method from anywhere in that bracket reaches it;
bisection steps in only where a power of x overflows.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUARTERS_PER_YEAR: Final = 4
# Runs solved together: many, so that a numpy call costs little beside its work, but not so many as
# to leave the cache.
RUNS_AT_ONCE: Final = 10_000
# Newton squares the error: after a step this small in y it is about 1e-14 times the curvature over
# twice the slope.
LAST_STEP: Final = 1e-7
# Newton takes 3 or 4; bisecting the widest bracket (the log of 1e308) down to LAST_STEP would take
# 40.
MAX_STEPS: Final = 100
# Runs with calls over time: the bracket of |y|. x^60 stays far from overflow.
LARGEST_LOG: Final = 4.0
# A step of Newton's method along a curve of the right bend leaves an error of the order of its
# cube. After a step this small it is rounding.
LAST_STEP_OF_NET: Final = 1e-6
# From a good start, that settles most runs in two steps. The safe search takes those that need
# more than this.
NEWTON_STEPS: Final = 6


class NoConvergence(ArithmeticError):
    """The iteration did not settle; finite, non-negative flows cannot cause this."""


def annual_irr(invested: float, flows: Floats, first_quarter: int = 1) -> Floats:
    """Return the annual internal rate of return of each run: 0.25 is 25 % a year, -1 a total loss.

    `flows` has shape (quarters, runs), is non-negative and in the unit of `invested` > 0, which is
    paid once at time zero; row j is paid at the end of quarter `first_quarter` + j. A run that
    gets nothing back returns -1. The rate of a run does not depend on the other runs, to the last
    bit. Raises NoConvergence.
    """
    runs = flows.shape[1]
    rates = np.full(runs, -1.0)
    for start in range(0, runs, RUNS_AT_ONCE):
        batch = slice(start, min(start + RUNS_AT_ONCE, runs))
        paying = np.flatnonzero(flows[:, batch].any(axis=0))
        whole = paying.size == batch.stop - start
        some = batch if whole else start + paying
        rates[some] = np.expm1(
            -QUARTERS_PER_YEAR * _log_discount(flows[:, some], np.log(invested), first_quarter)
        )
    return rates


def _log_discount(flows: Floats, log_invested: float, first: int) -> Floats:
    """Return the root y of g for each run of `flows` (quarters × runs), each of which pays."""
    low, y, high = _start(flows, log_invested, first)
    roots, going, settled = np.empty_like(y), np.arange(y.size), np.zeros(y.size, dtype=np.bool_)
    for _ in range(MAX_STEPS):
        value, slope = _value_and_slope(flows, log_invested, y, first)
        # False for the nan or inf of an overflow, which is to the right of the root.
        below = value <= 0.0
        low, high = np.where(below, y, low), np.where(below, high, y)
        target = y - value / slope
        target = np.where((target >= low) & (target <= high), target, (low + high) / 2)
        # A settled run stays, so that it stops where it would stop alone.
        target = np.where(settled, y, target)
        settled |= np.abs(target - y) <= LAST_STEP
        y = roots[going] = target
        rest = np.flatnonzero(~settled)
        if not rest.size:
            return roots
        if 2 * rest.size < y.size:
            going, flows, settled = going[rest], flows[:, rest], settled[rest]
            low, y, high = low[rest], y[rest], high[rest]
    raise NoConvergence(
        f"{rest.size} internal rates of return did not settle in {MAX_STEPS} steps"
    )


def _start(flows: Floats, log_invested: float, first: int) -> tuple[Floats, Floats, Floats]:
    """Return the ends of the bracket and, between them, the root of g's parabola at zero.

    The parabola takes the mean and the variance of the paying quarter k. Repeated sums give them
    without a product: with n = k - first + 1, summing the flows from the last quarter down gives
    sum c_k once, sum c_k n when the sums are summed, and sum c_k n (n + 1) / 2 when those are.
    """
    paid, sums, triangles = np.zeros((3, flows.shape[1]))
    for row in flows[::-1]:
        paid += row
        sums += paid
        triangles += sums
    value = np.log(paid) - log_invested
    offset = sums / paid
    slope = offset + (first - 1)
    curvature = 2.0 * triangles / paid - offset - offset * offset
    y = -2.0 * value / (slope + np.sqrt(np.maximum(slope * slope - 2.0 * curvature * value, 0.0)))
    ends = -value / first, -value / (first + len(flows) - 1)
    low, high = np.minimum(*ends), np.maximum(*ends)
    return low, np.clip(y, low, high), high


def _value_and_slope(
    flows: Floats, log_invested: float, y: Floats, first: int
) -> tuple[Floats, Floats]:
    """Return g and its derivative at y, by Horner's rule from the last quarter down."""
    x = np.exp(y)
    total = flows[-1].copy()
    derivative = np.zeros_like(total)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for row in flows[-2::-1]:
            derivative *= x
            derivative += total
            total *= x
            total += row
        return first * y + (np.log(total) - log_invested), first + x * derivative / total


def annual_irr_of_net(net: Floats) -> Floats:
    """Return the annual internal rate of return of runs whose investors pay over time.

    `net` has shape (quarters + 1, runs): row q is what the investors get, or pay where it is
    negative, q quarters after the start. The first flow of each run that is not zero must be a
    payment. A run without any positive flow returns -1. Flows that end with payments may have two
    rates or none: the higher one is returned, or else the rate at which what comes back comes
    closest to paying for what was paid. The rate lies in the bracket of -100 % to 900,000,000 %
    (|y| <= LARGEST_LOG). Raises NoConvergence.
    """
    rates = np.full(net.shape[1], -1.0)
    paying = np.flatnonzero((net > 0.0).any(axis=0))
    if paying.size:
        flows = net if paying.size == net.shape[1] else net[:, paying]
        rates[paying] = np.expm1(-QUARTERS_PER_YEAR * _log_discount_of_net(flows))
    return rates


def _log_discount_of_net(net: Floats) -> Floats:
    """Return the root y of each run: by Newton's method, and by the safe search where it fails."""
    y, bend = _start_of_net(net)
    roots, going, settled = np.empty_like(y), np.arange(y.size), np.zeros(y.size, dtype=np.bool_)
    for _ in range(NEWTON_STEPS):
        x = np.exp(y)
        value, slope = _horner(net, x)
        slope *= x
        slope -= bend * value
        with np.errstate(divide="ignore", invalid="ignore"):
            step = value / slope
        # A settled run stays, so that it stops where it would stop alone.
        step[settled] = 0.0
        y -= step
        np.clip(y, -LARGEST_LOG, LARGEST_LOG, out=y)
        roots[going] = y
        settled |= (np.abs(step) <= LAST_STEP_OF_NET) & (slope > 0.0)
        rest = np.flatnonzero(~settled)
        if not rest.size:
            return roots
        if 2 * rest.size < y.size:
            going, net, y = going[rest], net[:, rest], y[rest]
            bend, settled = bend[rest], settled[rest]
    rest = np.flatnonzero(~settled)
    roots[going[rest]] = _safe_log_discount(net[:, rest])
    return roots


def _safe_log_discount(net: Floats) -> Floats:
    """Return the root y of log D - log C, the present values of what comes back and was paid.

    Its bracket shrinks with every step: where D covers C, or comes closer to it at a higher rate,
    the root is below. So it ends at a root with a positive slope or, if there is none, at the
    maximum.
    """
    returned, paid = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    y, _ = _start_of_net(net)
    low, high = np.full_like(y, -LARGEST_LOG), np.full_like(y, LARGEST_LOG)
    settled = np.zeros(y.size, dtype=np.bool_)
    for _ in range(MAX_STEPS):
        value, slope = _coverage_and_slope(returned, paid, y)
        above = (value >= 0.0) | (slope <= 0.0)
        low, high = np.where(above, low, y), np.where(above, y, high)
        with np.errstate(divide="ignore", invalid="ignore"):
            target = y - value / slope
        inside = (slope > 0.0) & (target > low) & (target < high)
        target = np.where(inside, target, (low + high) / 2)
        target = np.where(settled, y, target)  # so that a run stops where it would stop alone
        settled |= (np.abs(target - y) <= LAST_STEP) | (high - low <= LAST_STEP)
        y = target
        if settled.all():
            return y
    raise NoConvergence(
        f"{np.sum(~settled)} internal rates of return did not settle in {MAX_STEPS} steps"
    )


def _start_of_net(net: Floats) -> tuple[Floats, Floats]:
    """Return the root of the parabola of log D - log C at zero, and the bend at the root.

    The root is cut to the bracket. The bend is f'' / (2 f') of f = D - C at the root, where D
    equals C. It then depends on the means and the variances of the times alone. The means move
    with y at the rate of the variances.
    """
    returned = _Moments(net.shape[1])
    both = _Moments(net.shape[1])
    for row in net[::-1]:
        both.add(row)
        returned.add(np.maximum(row, 0.0))
    paid = returned.less(both)
    value = np.log(returned.total / paid.total)
    later, earlier = returned.mean(), paid.mean()
    slope = np.maximum(later - earlier, 1.0)
    spread, paid_spread = returned.variance(), paid.variance()
    curvature = spread - paid_spread
    discriminant = np.maximum(slope * slope - 2.0 * curvature * value, 0.0)
    y = -2.0 * value / (slope + np.sqrt(discriminant))
    start: Floats = np.clip(y, -LARGEST_LOG, LARGEST_LOG)
    later += spread * start
    earlier += paid_spread * start
    bend: Floats = (later + earlier + curvature / np.maximum(later - earlier, 1.0)) / 2.0 - 1.0
    return start, bend


class _Moments:
    """The sum of flows that are added from the last one down, and the mean and variance of their
    time.

    With n = 1 for the first flow, repeated sums give them without a product: the sum of the flows,
    of their multiples by n, and of those by n (n + 1) / 2.
    """

    def __init__(self, runs: int) -> None:
        self.total, self._sums, self._triangles = np.zeros((3, runs))

    def add(self, row: Floats) -> None:
        """Add the flow before the ones that were added."""
        self.total += row
        self._sums += self.total
        self._triangles += self._sums

    def less(self, net: "_Moments") -> "_Moments":
        """Return the moments of what was paid, for the moments of what was returned and of the net
        flows.
        """
        paid = _Moments(0)
        paid.total = self.total - net.total
        paid._sums = self._sums - net._sums
        paid._triangles = self._triangles - net._triangles
        return paid

    def mean(self) -> Floats:
        """Return the mean of n."""
        return self._sums / self.total

    def variance(self) -> Floats:
        """Return the variance of n."""
        mean = self.mean()
        return 2.0 * self._triangles / self.total - mean - mean * mean


def _coverage_and_slope(returned: Floats, paid: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return log D - log C and its derivative at y."""
    x = np.exp(y)
    back, back_slope = _horner(returned, x)
    cost, cost_slope = _horner(paid, x)
    value = np.log(back) - np.log(cost)
    return value, x * (back_slope / back - cost_slope / cost)


def _horner(flows: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Return the sum of flows[q] x^q and its derivative, by Horner's rule."""
    total = flows[-1].copy()
    derivative = np.zeros_like(total)
    for row in flows[-2::-1]:
        derivative *= x
        derivative += total
        total *= x
        total += row
    return total, derivative
