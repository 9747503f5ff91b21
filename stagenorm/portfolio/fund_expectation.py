"""What a simulated fund invests and is worth in expectation, computed instead of simulated.

All companies of a fund have the same distribution, so the expectation is a sum over cells for each
first cheque. `market_expectation` has the mark of one company; here its age is the time from
the first cheque to the horizon. A graduate's follow-on depends on the number G of graduates, which
is binomial: with the reserve R and the limit of three cheques, the follow-ons of all graduates sum
to min(R, 3 G), of which each company has an equal share in expectation. The factor has mean 1 and
plays no part.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from normalization.stages import Stage
from stagenorm.portfolio.fund_plan import FundPlan
from stagenorm.portfolio.market_expectation import band_means
from stagenorm.portfolio.market_outcomes import CELL_SHAPE, MarketTable, market_table
from stagenorm.portfolio.market_profiles import STAGES, MarketProfile
from stagenorm.portfolio.outcomes import Floats


@dataclass(frozen=True, slots=True)
class ExpectedFund:
    """Expectations at the horizon, gross and as fractions of the commitment."""

    invested: float
    value: float

    @property
    def multiple(self) -> float:
        """The expected value over the expected investment."""
        return self.value / self.invested


def expected_fund(
    plan: FundPlan, stage_mix: Mapping[Stage, float], profile: MarketProfile
) -> ExpectedFund:
    """Return what the fund invests and is worth at the horizon, before fees and carry."""
    table = market_table(stage_mix, profile)
    odds = table.odds.ravel()[:, np.newaxis]
    age = plan.horizon_quarters - plan.cheque_quarters
    value = odds * sum(expected_values(table, profile, age))
    # Money that follows on before the horizon.
    follows = odds * table.graduates[:, np.newaxis] * (age > table.line_start[:, np.newaxis])
    follow_on_value = value * table.follow_on_share[:, np.newaxis] * (follows > 0.0)
    follow_on = _mean_follow_on(plan, float(odds[table.graduates].sum()))
    invested = age.size + follow_on * float(follows.sum())
    worth = float(value.sum()) + follow_on * float(follow_on_value.sum())
    return ExpectedFund(plan.first_cheque * invested, plan.first_cheque * worth)


def expected_values(
    table: MarketTable, profile: MarketProfile, age: Floats
) -> tuple[Floats, Floats]:
    """Return the expected proceeds and the expected mark of a first cheque of 1 in each cell.

    `age` is in quarters since the first cheque; the results have shape (cells, ages). The mark
    counts companies that have not exited, the proceeds those that have.
    """
    price, start = table.line_value[:, np.newaxis], table.line_start[:, np.newaxis]
    centre = table.exit_quarters[:, np.newaxis]
    earliest, latest = centre * (1.0 - table.exit_spread), centre * (1.0 + table.exit_spread)
    mean = _mean_multiples(profile)[:, np.newaxis]
    exited = np.clip((age - earliest) / (latest - earliest), 0.0, 1.0)
    remaining = np.clip(age, earliest, latest) - start
    inverse = np.log((latest - start) / remaining) / (latest - earliest)
    line = price * (1.0 - exited) + (mean - price) * (age - start) * inverse
    return mean * exited, np.where(age > start, line, 1.0)


def _mean_multiples(profile: MarketProfile) -> Floats:
    means = np.empty(CELL_SHAPE)
    for column, stage in enumerate(STAGES):
        means[:, :, column] = band_means(profile, stage)[:, np.newaxis]
    return means.ravel()


def _mean_follow_on(plan: FundPlan, graduation: float) -> float:
    """Return the expected follow-on of a graduate, in first cheques; `graduation` is its
    probability.
    """
    graduates = np.arange(plan.cheques_made + 1.0)
    total = graduates * plan.follow_on_cheques(graduates)
    mean = float(total @ _binomial(plan.cheques_made, graduation))
    return mean / (plan.cheques_made * graduation)


def _binomial(trials: int, probability: float) -> Floats:
    """Return the probabilities of 0 to `trials` successes."""
    successes = np.arange(trials + 1)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, trials + 1)))))
    choices = factorials[-1] - factorials - factorials[::-1]
    logs = successes * np.log(probability) + (trials - successes) * np.log1p(-probability)
    probabilities: Floats = np.exp(choices + logs)
    return probabilities
