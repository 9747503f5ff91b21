"""Companies of a market profile: stage, outcome, graduation, multiple and exit time, many at once.

A *cell* is an outcome band, whether the company graduates, and a stage. Cells are numbered band by
band, and within a band the companies that do not graduate come first. One uniform number picks the
cell, a second one the multiple within its band, a third one the exit time. Bands come first so
that under common random numbers a company of another mix tends to keep its band.

Times are in quarters, money in units of a first cheque.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from normalization.stages import Stage
from stagenorm.portfolio.market_expectation import price_steps, winner_shares
from stagenorm.portfolio.market_profiles import (
    BAND_NAMES,
    MODEST_RANGE,
    MONTHS_PER_QUARTER,
    QUARTERS_PER_YEAR,
    STAGES,
    MarketProfile,
)
from stagenorm.portfolio.outcomes import Floats, Indices, guide_table, rescaled

CELL_SHAPE: Final = (len(BAND_NAMES), 2, len(STAGES))
CELLS: Final = len(BAND_NAMES) * 2 * len(STAGES)
_PER_BAND: Final = 2 * len(STAGES)
_FIRST_MODEST: Final = _PER_BAND
_FIRST_WINNER: Final = 2 * _PER_BAND
# Not a cell: the bin of the guide table holds the border of two.
_UNDECIDED: Final = CELLS


class MarketTable:
    """A stage mix and a profile as one array per quantity over the cells.

    `exit_quarters` is the mean time from the first cheque to the exit; `exit_spread` the fraction
    around it. A mark starts to move `line_start` quarters after the first cheque, at `line_value`
    times the cost. A unit of follow-on money has `follow_on_share` times the multiple of a unit of
    the first cheque, 0 where the company does not graduate.
    """

    def __init__(self, stage_mix: Mapping[Stage, float], profile: MarketProfile) -> None:
        self.odds = _cell_odds(rescaled(stage_mix), profile)
        cumulated = np.cumsum(self.odds)
        self.upper: Floats = cumulated / cumulated[-1]
        self.guide: Indices = guide_table(self.upper, _UNDECIDED)
        self.exit_spread = profile.exits.spread
        self.exit_quarters = _cells(
            [
                [
                    profile.exits.base_years[stage]
                    * profile.exits.band_factors[band]
                    * QUARTERS_PER_YEAR
                    for stage in STAGES
                ]
                for band in BAND_NAMES
            ]
        )
        self._set_rounds(profile)
        self._set_winners(profile)

    def _set_rounds(self, profile: MarketProfile) -> None:
        months = profile.graduation.months_to_round
        price = price_steps(profile)
        self.graduates = _for_graduates([1.0] * len(STAGES)).astype(np.bool_)
        self.line_start = _for_graduates([months[stage] / MONTHS_PER_QUARTER for stage in STAGES])
        self.line_value = _for_graduates([price[stage] for stage in STAGES], otherwise=1.0)
        self.follow_on_share = _for_graduates([1.0 / price[stage] for stage in STAGES])

    def _set_winners(self, profile: MarketProfile) -> None:
        edges = profile.odds.winner_edges
        tail = np.array([profile.odds.tail_index[stage] for stage in STAGES])
        low = np.array([1.0, 1.0, *edges[:-1]])
        high = np.array([1.0, 1.0, *edges[1:]])
        self.low = _cells(np.repeat(low, len(STAGES)).reshape(-1, len(STAGES)))
        # The probability that a Pareto variable from `low` on, not cut off, stays below `high`.
        self.cut = _cells(1.0 - (low / high)[:, np.newaxis] ** tail)
        self.power = _cells(np.tile(-1.0 / tail, (len(BAND_NAMES), 1)))


@lru_cache(maxsize=8)
def _table(weights: tuple[tuple[Stage, float], ...], profile: MarketProfile) -> MarketTable:
    return MarketTable(dict(weights), profile)


def market_table(stage_mix: Mapping[Stage, float], profile: MarketProfile) -> MarketTable:
    """Return the table of a mix and a profile, kept from the last calls. Never write to it."""
    return _table(tuple(stage_mix.items()), profile)


def _cell_odds(mix: Mapping[Stage, float], profile: MarketProfile) -> Floats:
    """Return the probability of each cell, of shape CELL_SHAPE."""
    odds = np.zeros(CELL_SHAPE)
    for column, stage in enumerate(STAGES):
        if stage not in mix:
            continue
        fail, modest = profile.odds.fail[stage], profile.odds.modest[stage]
        winners = profile.odds.winner(stage) * winner_shares(profile, stage)
        bands = np.array([fail, modest, *winners])
        above = profile.graduation.given_at_least_cost[stage]
        below = profile.graduation.given_below_cost[stage]
        graduating = np.array([below] + [above] * (len(BAND_NAMES) - 1))
        odds[:, 0, column] = mix[stage] * bands * (1.0 - graduating)
        odds[:, 1, column] = mix[stage] * bands * graduating
    return odds


def _cells(by_band_and_stage: object) -> Floats:
    """Return the values for every cell, graduating or not."""
    values = np.asarray(by_band_and_stage, dtype=np.float64)
    return np.repeat(values[:, np.newaxis, :], 2, axis=1).ravel()


def _for_graduates(by_stage: list[float], otherwise: float = 0.0) -> Floats:
    """Return the values for the graduating cells, `otherwise` for the others."""
    cells = np.full(CELL_SHAPE, otherwise)
    cells[:, 1, :] = by_stage
    return cells.ravel()


def find_cells(table: MarketTable, uniform: Floats) -> Indices:
    """Return the cell of each uniform number, by the guide-table method.

    Overwrites the numbers.
    """
    scaled = np.multiply(uniform, table.guide.size, out=uniform)
    # Four bytes an index: processors convert to eight much more slowly.
    cell: Indices = table.guide.take(scaled.astype(np.int32))
    undecided = np.flatnonzero(cell == _UNDECIDED)
    # The number of bins is a power of two, so that the division is exact.
    drawn = scaled.ravel()[undecided] / table.guide.size
    cell.ravel()[undecided] = np.searchsorted(table.upper, drawn, side="right")
    return cell


def find_multiples(table: MarketTable, cell: Indices, uniform: Floats) -> Floats:
    """Return the multiple of each uniform number within the band of its cell."""
    # FAIL_EXPONENT by products: numpy's powers take ten times as long.
    multiple: Floats = uniform * uniform
    multiple *= uniform
    # The modest companies by arithmetic: picking out half of all companies would cost more.
    low, high = MODEST_RANGE
    modest: Floats = (high - low) * uniform
    modest += low
    modest -= multiple
    modest *= cell >= _FIRST_MODEST
    multiple += modest
    winning = np.flatnonzero(cell >= _FIRST_WINNER)
    winner_cell = cell.ravel().take(winning)
    survival = uniform.ravel().take(winning)
    survival *= table.cut.take(winner_cell)
    np.subtract(1.0, survival, out=survival)
    # survival ** power, in two thirds of the time.
    np.log(survival, out=survival)
    survival *= table.power.take(winner_cell)
    np.exp(survival, out=survival)
    survival *= table.low.take(winner_cell)
    multiple.ravel()[winning] = survival
    return multiple


def find_exit_quarters(table: MarketTable, cell: Indices, uniform: Floats) -> Floats:
    """Return quarters from the first cheque to the exit; overwrites the uniform numbers."""
    around = uniform
    around *= 2.0 * table.exit_spread
    around += 1.0 - table.exit_spread
    around *= table.exit_quarters.take(cell)
    return around
