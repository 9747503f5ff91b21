"""Closed forms of a market profile: what one company and a whole fund are worth in expectation.

Given its cell (stage s, band b, graduating or not), the multiple M and the exit time T of a
company are independent, and T is uniform on [l, h]. The mark at age a is a straight line in M, so
only the mean m of M in the cell is needed. With the line's start g and first value u (0 and 1
without graduation),

    E[V(a)] = P(T <= a) m + P(T > a) u + (m - u) (a - g) E[1 / (T - g); T > a]   for a > g, else 1,
    E[1 / (T - g); T > a] = log((h - g) / (max(l, a) - g)) / (h - l).

The factor has mean 1 and is independent of the company, so it does not appear. Moments of M: U
cubed has mean 1/4, the uniform on [1, 3] mean 2. A Pareto variable of tail index k on [a, b] has
mean k a^k (a^(1-k) - b^(1-k)) / ((k - 1) (1 - (a/b)^k)).
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from normalization.stages import Stage
from stagenorm.portfolio.market_profiles import (
    FAIL_EXPONENT,
    MODEST_RANGE,
    STAGES,
    MarketProfile,
    PerStage,
    by_stage,
)
from stagenorm.portfolio.outcomes import Floats

FAIL_MEAN: Final = 1.0 / (FAIL_EXPONENT + 1)
MODEST_MEAN: Final = sum(MODEST_RANGE) / 2.0


@lru_cache(maxsize=64)
def winner_shares(profile: MarketProfile, stage: Stage) -> Floats:
    """Return the shares of the winners that fall between the profile's edges; they sum to 1."""
    edges = np.array(profile.odds.winner_edges)
    above = (edges[0] / edges) ** profile.odds.tail_index[stage]
    shares: Floats = (above[:-1] - above[1:]) / (1.0 - above[-1])
    return shares


def pareto_mean(tail_index: float, low: float, high: float) -> float:
    """Return the mean of a Pareto variable on [low, high]; `tail_index` is above 1."""
    power = 1.0 - tail_index
    scale = tail_index * low**tail_index / (1.0 - (low / high) ** tail_index)
    return float(scale * (high**power - low**power) / power)


@lru_cache(maxsize=64)
def band_means(profile: MarketProfile, stage: Stage) -> Floats:
    """Return the mean multiple in each band."""
    edges = profile.odds.winner_edges
    tail = profile.odds.tail_index[stage]
    winners = [pareto_mean(tail, edges[n], edges[n + 1]) for n in range(len(edges) - 1)]
    return np.array([FAIL_MEAN, MODEST_MEAN, *winners])


def _mean_at_least_cost(profile: MarketProfile, stage: Stage) -> float:
    """Return E[M; M >= 1]."""
    edges = profile.odds.winner_edges
    winner = pareto_mean(profile.odds.tail_index[stage], edges[0], edges[-1])
    return profile.odds.modest[stage] * MODEST_MEAN + profile.odds.winner(stage) * winner


def expected_multiple(profile: MarketProfile, stage: Stage) -> float:
    """Return E[M]."""
    return profile.odds.fail[stage] * FAIL_MEAN + _mean_at_least_cost(profile, stage)


def graduation_probability(profile: MarketProfile, stage: Stage) -> float:
    """Return the probability that a company raises its next round."""
    fail = profile.odds.fail[stage]
    below = profile.graduation.given_below_cost[stage]
    above = profile.graduation.given_at_least_cost[stage]
    return fail * below + (1.0 - fail) * above


def expected_multiple_of_graduates(profile: MarketProfile, stage: Stage) -> float:
    """Return E[M | graduates]."""
    below = profile.graduation.given_below_cost[stage]
    above = profile.graduation.given_at_least_cost[stage]
    mean = profile.odds.fail[stage] * below * FAIL_MEAN
    mean += above * _mean_at_least_cost(profile, stage)
    return mean / graduation_probability(profile, stage)


@lru_cache(maxsize=8)
def price_steps(profile: MarketProfile) -> PerStage:
    """Return the price of the next round over that of the first cheque, by stage.

    It is E[M | graduates] / E[M of the next stage]: a follow-on expects what a first cheque in the
    next stage expects, so the model assumes no skill in choosing follow-ons.
    """
    return by_stage(
        *(
            expected_multiple_of_graduates(profile, stage)
            / expected_multiple(profile, profile.graduation.next_stage[stage])
            for stage in STAGES
        )
    )


def expected_multiple_of_invested_money(
    profile: MarketProfile, stage_mix: Mapping[Stage, float], reserve_ratio: float
) -> float:
    """Return the mean multiple of a dollar that a fund of many companies invests.

    `stage_mix` sums to 1. Follow-on money expects what a first cheque in the next stage expects.
    """
    first = sum(weight * expected_multiple(profile, s) for s, weight in stage_mix.items())
    graduates = {s: w * graduation_probability(profile, s) for s, w in stage_mix.items()}
    next_stage = profile.graduation.next_stage
    follow_on = sum(
        share * expected_multiple(profile, next_stage[s]) for s, share in graduates.items()
    )
    follow_on /= sum(graduates.values())
    return (1.0 - reserve_ratio) * first + reserve_ratio * follow_on


def loss_of_the_fully_diversified_fund(
    profile: MarketProfile, stage_mix: Mapping[Stage, float], reserve_ratio: float, fees: float
) -> float:
    """Return P(TVPI < 1) of a fund with infinitely many companies that have all exited.

    Only the factor remains: Phi((log(1 / (I m)) + sigma² / 2) / sigma), with the investable share
    I = 1 - fees and the mean multiple m of invested money. Carry does not matter below 1.
    `stage_mix` sums to 1.
    """
    mean = expected_multiple_of_invested_money(profile, stage_mix, reserve_ratio)
    sigma = profile.factor.sigma
    score = (-math.log((1.0 - fees) * mean) + sigma * sigma / 2.0) / sigma
    return 0.5 * math.erfc(-score / math.sqrt(2.0))
