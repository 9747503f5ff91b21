"""Random companies: for each a stage, an outcome band, a return multiple and an exit time.

A (band, stage) pair is a *cell*, numbered band by band. One uniform number picks the cell, a
second one the multiple within the band (by the inverse distribution function), a third one the
exit time. The arrays of a block are allocated once and written in place: fresh memory for every
step would cost more than the arithmetic.
"""

import math
from collections.abc import Mapping
from typing import Final, Self

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from normalization.stages import Stage
from stagenorm.portfolio.irr import QUARTERS_PER_YEAR
from stagenorm.portfolio.return_profiles import (
    BANDS,
    EARLIEST_EXIT_YEARS,
    EXIT_SPREAD_YEARS,
    TAIL_INDEX,
    ReturnProfile,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

STAGES: Final = tuple(Stage)
CELLS: Final = (len(BANDS), len(STAGES))
DRAWS_PER_COMPANY: Final = 3
ROWS_OF_ROOM: Final = DRAWS_PER_COMPANY + 1
EARLIEST_EXIT_QUARTER: Final = int(EARLIEST_EXIT_YEARS * QUARTERS_PER_YEAR)

_ROUNDING: Final = 1e-12
_FIRST_HEAVY_CELL: Final = [band.heavy_tailed for band in BANDS].index(True) * len(STAGES)
# Bins of the guide table; a power of two, so that the bin of a uniform number is exact.
_GUIDE_BINS: Final = 4096
# Marks a bin with a border in it. It is larger than every cell, so one comparison finds these bins
# and the heavy-tailed cells.
_UNDECIDED: Final = len(BANDS) * len(STAGES)


def rescaled(stage_mix: Mapping[Stage, float]) -> dict[Stage, float]:
    """Return the mix in stage order, without empty stages and summing to 1.

    Raises ValueError for a weight that is negative or not finite, and for an empty mix.
    """
    if any(not 0.0 <= weight < float("inf") for weight in stage_mix.values()):
        raise ValueError("a stage weight is negative or not finite")
    total = math.fsum(stage_mix.values())
    if total <= 0.0:
        raise ValueError("the stage mix is empty")
    if abs(total - 1.0) <= _ROUNDING:
        # A mix that this function returned stays the same.
        total = 1.0
    return {stage: stage_mix[stage] / total for stage in STAGES if stage_mix.get(stage, 0.0) > 0.0}


class OutcomeTable:
    """A stage mix and a profile, as one array per quantity over the cells."""

    def __init__(self, stage_mix: Mapping[Stage, float], profile: ReturnProfile) -> None:
        mix = rescaled(stage_mix)
        self.odds: Floats = np.array(
            [
                [mix.get(stage, 0.0) * profile.odds[stage][index] for stage in STAGES]
                for index in range(len(BANDS))
            ]
        )
        cumulated = np.cumsum(self.odds)
        # Exactly 1.0 from the last possible cell on.
        self.upper: Floats = cumulated / cumulated[-1]
        self.guide: Indices = guide_table(self.upper, _UNDECIDED)
        self.low: Floats = np.repeat([band.low for band in BANDS], len(STAGES))
        self.width: Floats = np.repeat([band.high - band.low for band in BANDS], len(STAGES))
        # The probability that a Pareto variable from `low` on, not cut off, stays below `high`.
        self.cut: Floats = np.repeat(
            [1.0 - (band.low / band.high) ** TAIL_INDEX for band in BANDS], len(STAGES)
        )
        expected_exit = [
            [band.exit_factor * profile.base_exit_years[stage] for stage in STAGES]
            for band in BANDS
        ]
        self.soonest: Floats = (
            np.array(expected_exit).ravel() - EXIT_SPREAD_YEARS
        ) * QUARTERS_PER_YEAR


def guide_table(upper: Floats, undecided: int) -> Indices:
    """Return the cell of each bin of the unit interval, `undecided` for a bin with a border in it.

    `upper` is the cumulated probability of the cells. A lookup costs a fiftieth of a search (the
    guide-table method of Chen and Asau, 1974) and is just as exact: numbers in undecided bins,
    about 1 %, are searched.
    """
    edges = np.arange(_GUIDE_BINS + 1) / _GUIDE_BINS
    first = np.searchsorted(upper, edges[:-1], side="right")
    last = np.searchsorted(upper, edges[1:], side="left")
    return np.where(first == last, first, undecided)


class CompanyBlock:
    """Room for up to `size` companies, and the companies drawn last.

    `cell`: index into the raveled (band, stage) arrays. `multiple`: proceeds per unit invested.
    `exit_quarter`: quarters from the investment to the exit, not rounded. `spare`: as many
    integers without meaning, free for the caller to write. Each draw overwrites them all.
    """

    def __init__(self, table: OutcomeTable, room: Floats) -> None:
        """`room` has shape (ROWS_OF_ROOM, size). The block keeps it and overwrites it."""
        self._table = table
        self._room = room
        self._take(0)

    def _take(self, companies: int) -> None:
        self._scratch, self.multiple, self.exit_quarter, cell = self._room[:, :companies]
        self.cell: Indices = cell.view(np.intp)
        self.spare: Indices = self._scratch.view(np.intp)

    def draw(self, bits: PCG64, companies: int) -> Self:
        """Draw the first `companies` companies; `bits` is at the start of the block's stream.

        Every uniform number takes one step of the generator, and each of the three sequences has
        `size` steps to itself: a company is the same however many are drawn after it.
        """
        generator = Generator(bits)

        def uniforms(row: Floats) -> Floats:
            generator.random(out=row)
            bits.advance(self._room.shape[1] - companies)
            return row

        self._take(companies)
        heavy = self._find_cells(uniforms(self._scratch))
        self._find_multiples(uniforms(self.multiple), heavy)
        self._find_exits(uniforms(self.exit_quarter))
        return self

    def _find_cells(self, uniform: Floats) -> Indices:
        """Set the cells and return the indices of the heavy-tailed ones."""
        cell = self.cell
        bins = np.multiply(
            uniform, _GUIDE_BINS, out=self.exit_quarter.view(np.intp), casting="unsafe"
        )
        np.take(self._table.guide, bins, out=cell, mode="clip")
        special = np.flatnonzero(cell >= _FIRST_HEAVY_CELL)
        undecided = special[cell[special] == _UNDECIDED]
        cell[undecided] = np.searchsorted(self._table.upper, uniform[undecided], side="right")
        heavy: Indices = special[cell[special] >= _FIRST_HEAVY_CELL]
        return heavy

    def _find_multiples(self, multiple: Floats, heavy: Indices) -> None:
        """Turn the uniform numbers in `multiple` into multiples."""
        table = self._table
        heavy_cell, heavy_uniform = self.cell[heavy], multiple[heavy]
        multiple *= np.take(table.width, self.cell, out=self._scratch, mode="clip")
        multiple += np.take(table.low, self.cell, out=self._scratch, mode="clip")
        survival = 1.0 - heavy_uniform * table.cut[heavy_cell]
        multiple[heavy] = table.low[heavy_cell] * survival ** (-1.0 / TAIL_INDEX)

    def _find_exits(self, exit_quarter: Floats) -> None:
        """Turn the uniform numbers in `exit_quarter` into exit times."""
        exit_quarter *= 2.0 * EXIT_SPREAD_YEARS * QUARTERS_PER_YEAR
        exit_quarter += np.take(self._table.soonest, self.cell, out=self._scratch, mode="clip")
        np.maximum(exit_quarter, EARLIEST_EXIT_QUARTER, out=exit_quarter)
