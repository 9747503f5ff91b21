"""Monte Carlo of a venture fund: the cash flows of many funds that differ only by luck.

Every run is a fund that invests one unit in each of `portfolio_size` companies, all at time zero.
An exit within the horizon is cash at the end of its quarter (DPI). A later one is a residual value
at the horizon (RVPI): what has grown at a constant rate since the investment and would reach the
multiple at the exit, multiple^(horizon/exit). TVPI = DPI + RVPI. The IRR is that of the
investment, the quarterly cash, and the residual value as a last flow at the horizon (an interim
IRR with net asset value, as funds report it). It is -1 when nothing ever comes back.

The random numbers come in blocks, each with a stream of its own: SeedSequence(seed) with the
block's number as spawn key. How many runs make a block depends on the portfolio's size alone, so
more runs start with the same runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray

from stagenorm.portfolio.irr import QUARTERS_PER_YEAR, annual_irr
from stagenorm.portfolio.outcomes import (
    CELLS,
    DRAWS_PER_COMPANY,
    EARLIEST_EXIT_QUARTER,
    ROWS_OF_ROOM,
    CompanyBlock,
    Floats,
    Indices,
    OutcomeTable,
)
from stagenorm.portfolio.return_profiles import PROFILES
from stagenorm.portfolio.simulation_parameters import RunParameters

# Names the random stream and the arithmetic. It changes when the same seed gives other numbers,
# after a change here or in numpy's Generator.random (a test pins the first numbers).
ENGINE: Final = "pcg64-blocks-1"
DRAWS_PER_BLOCK: Final = 200_000


@dataclass(frozen=True, slots=True)
class SimulationParameters(RunParameters):
    """What determines a simulation. Raises ValueError for what cannot be simulated."""

    engine: ClassVar[str] = ENGINE
    profiles: ClassVar[Mapping[str, object]] = PROFILES

    def __post_init__(self) -> None:
        self.check()


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Per run, in the order of the stream: `tvpi`, `dpi` (per unit invested) and `irr` (annual
    fraction).

    Over all runs, of shape (bands, stages): how many `companies`, their `value` at the horizon in
    units of a cheque, and the `residual` part of it that is not yet cash.
    """

    tvpi: Floats
    dpi: Floats
    irr: Floats
    companies: NDArray[np.int64]
    value: Floats
    residual: Floats


def runs_per_block(portfolio_size: int) -> int:
    """Return how many runs share one stream: those of DRAWS_PER_BLOCK numbers, at least one."""
    return max(1, DRAWS_PER_BLOCK // (DRAWS_PER_COMPANY * portfolio_size))


def simulate(parameters: SimulationParameters) -> SimulationResult:
    """Simulate every run. The same parameters give the same result; memory grows with runs ×
    quarters only.

    The random numbers are the same on every machine; powers and exponentials may differ in their
    last bit between processors, as numpy picks its routines by what the processor has.
    """
    size, at_once = parameters.portfolio_size, runs_per_block(parameters.portfolio_size)
    horizon = parameters.horizon_years * QUARTERS_PER_YEAR
    room, flows = _allocate(
        (ROWS_OF_ROOM, at_once * size), (_ledger_rows(horizon), parameters.runs)
    )
    block = CompanyBlock(OutcomeTable(parameters.stage_mix, PROFILES[parameters.profile]), room)
    ledger = _Ledger(flows, size, horizon)
    for number, first in enumerate(range(0, parameters.runs, at_once)):
        runs = slice(first, min(first + at_once, parameters.runs))
        stream = PCG64(SeedSequence(parameters.seed, spawn_key=(number,)))
        ledger.book(runs, block.draw(stream, (runs.stop - runs.start) * size))
    return ledger.close()


def _allocate(first: tuple[int, int], second: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return two arrays in one piece of memory.

    Several pieces of some megabytes would go back to the system after each simulation, and the
    kernel would clear them for the next one, which can cost as much as simulating. glibc keeps
    pieces no larger than one freed before.
    """
    memory = np.empty(first[0] * first[1] + second[0] * second[1])
    cut = first[0] * first[1]
    return memory[:cut].reshape(first), memory[cut:].reshape(second)


def _ledger_rows(horizon: int) -> int:
    """Return the rows: the quarters from the earliest exit on, and one for the residual value."""
    return horizon - EARLIEST_EXIT_QUARTER + 2


class _Ledger:
    """The quarterly flows of every run, and the totals by cell."""

    def __init__(self, flows: Floats, portfolio_size: int, horizon: int) -> None:
        self._flows = flows  # shape (_ledger_rows(horizon), runs)
        self._size = portfolio_size
        self._horizon = horizon
        self._companies = np.zeros(CELLS, dtype=np.int64)
        self._value = np.zeros(CELLS)
        self._residual = np.zeros(CELLS)

    def book(self, runs: slice, block: CompanyBlock) -> None:
        """Enter the companies of these runs. Overwrites the block: its multiples become values at
        the horizon.
        """
        cell, value, exit_quarter = block.cell, block.multiple, block.exit_quarter
        late = np.flatnonzero(exit_quarter > self._horizon)
        residual = value[late] ** (self._horizon / exit_quarter[late])
        value[late] = residual
        cells = self._value.size
        self._companies += np.bincount(cell, minlength=cells).reshape(CELLS)
        self._value += np.bincount(cell, weights=value, minlength=cells).reshape(CELLS)
        self._residual += np.bincount(cell[late], weights=residual, minlength=cells).reshape(CELLS)
        self._flows[:, runs] = self._by_quarter(value, exit_quarter, place=block.spare)

    def _by_quarter(self, value: Floats, exit_quarter: Floats, place: Indices) -> Floats:
        """Return the sums of the block's values, of shape (rows of the ledger, runs).

        Overwrites the last two arguments.
        """
        rows, runs = len(self._flows), value.size // self._size
        # Paid at the end of the quarter of the exit; all quarters after the horizon are the
        # residual row.
        np.ceil(exit_quarter, out=exit_quarter)
        np.minimum(exit_quarter, self._horizon + 1, out=place, casting="unsafe")
        by_run = place.reshape(runs, self._size)
        by_run += np.arange(0, runs * rows, rows)[:, np.newaxis] - EARLIEST_EXIT_QUARTER
        flows = np.bincount(place, weights=value, minlength=rows * runs).reshape(runs, rows)
        # numpy's type of bincount has no weights.
        return flows.T  # type: ignore[return-value]

    def close(self) -> SimulationResult:
        """Return the result. The flows are overwritten."""
        flows, residual = self._flows[:-1], self._flows[-1]
        cash = np.zeros_like(residual)
        for row in flows:  # not flows.sum(axis=0), which adds in another order for a single run
            cash += row
        dpi = cash / self._size
        tvpi = dpi + residual / self._size
        flows[-1] += residual
        irr = annual_irr(self._size, flows, first_quarter=EARLIEST_EXIT_QUARTER)
        return SimulationResult(tvpi, dpi, irr, self._companies, self._value, self._residual)
