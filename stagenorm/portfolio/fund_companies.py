"""The companies of some runs: what each is worth and when it pays, in units of a first cheque.

Arrays have shape (companies, runs), times are quarters from the fund's start. A company's row
decides when its first cheque is made. Follow-on money buys at the price of the next round, so a
graduate holds `units` = 1 + follow-on / price of the claim that a first cheque bought, and what
the claim pays is multiplied by them.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stagenorm.portfolio.market_outcomes import CELL_SHAPE, CELLS, MarketTable
from stagenorm.portfolio.market_profiles import QUARTERS_PER_YEAR
from stagenorm.portfolio.outcomes import Floats, Indices

_Number = TypeVar("_Number", np.float64, np.int64)


@dataclass(slots=True)
class CellTotals:
    """Over all runs, by cell (CELL_SHAPE): companies, and their units, value and unrealised value.

    `value` and `residual` are at the horizon and in units of a first cheque.
    """

    companies: NDArray[np.int64]
    units: Floats
    value: Floats
    residual: Floats

    @classmethod
    def empty(cls) -> "CellTotals":
        """Return totals of no company."""
        return cls(np.zeros(CELL_SHAPE, dtype=np.int64), *np.zeros((3, *CELL_SHAPE)))

    def add(
        self, cell: Indices, units: Floats, value: Floats, unrealised: NDArray[np.bool_]
    ) -> None:
        """Add companies, their units and their values."""
        flat = cell.ravel()
        self.companies += np.bincount(flat, minlength=CELLS).reshape(CELL_SHAPE)
        self.units += sums(flat, units, CELLS).reshape(CELL_SHAPE)
        # One pass for both sums: unrealised values go to a second set of cells.
        split = np.multiply(unrealised, CELLS, dtype=np.intp)
        split += cell
        realised, residual = sums(split, value, 2 * CELLS).reshape(2, *CELL_SHAPE)
        self.value += realised
        self.value += residual
        self.residual += residual


def sums(place: NDArray[np.integer[Any]], values: Floats, size: int) -> Floats:
    """Return the sum of the values at each of `size` places."""
    total = np.bincount(place.ravel(), weights=values.ravel(), minlength=size)
    return total  # type: ignore[return-value]  # numpy's types know bincount without weights only


def add_to(total: NDArray[_Number], part: NDArray[_Number]) -> NDArray[_Number]:
    """Return the sum. An empty total is replaced by the part, without a pass over zeros."""
    return part if total.size == 0 else np.add(total, part, out=total)


class TileRows:
    """The rows of companies that are simulated together, with tables of their times.

    The line of a company, and its round, depend on its row and its cell alone. Tables over both
    save computing them for each company.
    """

    def __init__(self, table: MarketTable, cheque_quarters: Floats, horizon: int) -> None:
        """`cheque_quarters` are those of the rows, in order."""
        self.table = table
        self.horizon = horizon
        self.cheque_quarter = cheque_quarters[:, np.newaxis]
        starts = table.line_start + self.cheque_quarter
        self._starts = starts.ravel()
        quarters = np.minimum(starts, horizon).astype(np.int32)
        # Companies without a round within the horizon go to the row after the last quarter.
        quarters[:, ~table.graduates] = horizon
        self._round_quarters = quarters.ravel()
        years = np.minimum(starts, horizon).astype(np.int32) // QUARTERS_PER_YEAR
        self._start_years = years.ravel()
        self._offset = np.arange(len(cheque_quarters))[:, np.newaxis] * CELLS
        self.rounds_beyond = bool(starts[-1].max() >= horizon)
        self.first_cheques_by_year = np.bincount(
            (cheque_quarters / QUARTERS_PER_YEAR).astype(np.intp)
        )

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.cheque_quarter)

    def places(self, cell: Indices) -> Indices:
        """Return where to look a company up, for cells of shape (companies, runs)."""
        return cell + self._offset

    def starts(self, place: Indices) -> Floats:
        """Return the quarter in which the company's line begins."""
        return self._starts.take(place)

    def round_quarters(self, place: Indices) -> NDArray[np.int32]:
        """Return the quarter of the next round; the horizon without a round before it."""
        return self._round_quarters.take(place)

    def start_years(self, place: Indices) -> NDArray[np.int32]:
        """Return the year in which the line begins, from 0; the last year after the horizon."""
        return self._start_years.take(place)


class PeriodPlaces:
    """Where a (period, run) lies in a flat array of shape (periods, runs)."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self._run = np.arange(runs, dtype=np.int32)

    def flat(self, period: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the flat index for periods of shape (companies, runs)."""
        place = period * np.int32(self.runs)
        place += self._run
        return place


class CompanyTile:
    """Companies of some runs, drawn and dated.

    `multiple` is that of the first cheque at the exit, the factor included. The tile takes over
    `holding_quarters` and overwrites it. A company's mark is 1 until its `rows` start it, and from
    then to `exit` the straight line `constant` + `slope` · time. `exit_quarter` is the quarter of
    the exit, the horizon for a later one.
    """

    def __init__(
        self,
        rows: TileRows,
        cell: Indices,
        multiple: Floats,
        holding_quarters: Floats,
        follow_on: Floats,
    ) -> None:
        table = rows.table
        self.rows = rows
        self.cell = cell
        self.multiple = multiple
        self.place = rows.places(cell)
        self.start = rows.starts(self.place)
        self.exit = holding_quarters
        self.exit += rows.cheque_quarter
        # Four bytes a number: processors convert to eight much more slowly.
        quarter = self.exit.astype(np.int32)
        self.exit_quarter = np.minimum(quarter, rows.horizon, out=quarter)
        self.units = table.follow_on_share.take(cell)
        self.units *= follow_on
        self.units += 1.0
        self.constant = table.line_value.take(cell)
        self.slope = multiple - self.constant
        length = self.exit - self.start
        self.slope /= length
        self.constant -= np.multiply(self.slope, self.start, out=length)

    def value(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the value at the horizon, and whether it is not yet cash.

        A round after the horizon has not happened: the company is at cost and has no follow-on.
        """
        value = self.slope * self.rows.horizon
        value += self.constant
        if self.rows.rounds_beyond:
            waiting = self.start >= self.rows.horizon
            value[waiting] = 1.0
            self.units[waiting] = 1.0
        unrealised = self.exit_quarter == self.rows.horizon
        # Without a choice by company, which would cost several times as much.
        value -= self.multiple
        value *= unrealised
        value += self.multiple
        value *= self.units
        return value, unrealised


class BlockFlows:
    """The cash flows of a block of runs by quarter, summed over their companies."""

    def __init__(self, horizon: int, runs: int) -> None:
        self._places = PeriodPlaces(runs)
        self._size = (horizon + 1) * runs
        self._proceeds = np.zeros(0)
        self._rounds = np.zeros(0, dtype=np.int64)

    def enter(self, companies: CompanyTile, totals: CellTotals) -> None:
        """Enter exits, values at the horizon and rounds."""
        value, unrealised = companies.value()
        totals.add(companies.cell, companies.units, value, unrealised)
        exits = self._places.flat(companies.exit_quarter)
        self._proceeds = add_to(self._proceeds, sums(exits, value, self._size))
        rounds = self._places.flat(companies.rows.round_quarters(companies.place))
        self._rounds = add_to(self._rounds, np.bincount(rounds.ravel(), minlength=self._size))

    def proceeds(self) -> Floats:
        """Return what exits pay in each quarter; the last row is the value at the horizon."""
        return self._proceeds.reshape(-1, self._places.runs)

    def rounds(self) -> NDArray[np.int64]:
        """Return how many companies raise their next round in each quarter within the horizon."""
        return self._rounds.reshape(-1, self._places.runs)[:-1]
