"""The companies of some runs: what each is worth and when it pays, in units of a first cheque.

Arrays have shape (companies, runs), times are quarters from the fund's start. A company's row
decides when its first cheque is made. Follow-on money buys at the price of the next round, so a
graduate holds `units` = 1 + follow-on / price of the claim that a first cheque bought, and what
the claim pays is multiplied by them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stagenorm.portfolio.market_outcomes import CELL_SHAPE, CELLS, MarketTable
from stagenorm.portfolio.outcomes import Floats, Indices


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

    def add(self, cell: Indices, units: Floats, value: Floats, residual: Floats) -> None:
        """Add companies and their values."""
        flat = cell.ravel()
        self.companies += np.bincount(flat, minlength=CELLS).reshape(CELL_SHAPE)
        self.units += sums(flat, units, CELLS).reshape(CELL_SHAPE)
        self.value += sums(flat, value, CELLS).reshape(CELL_SHAPE)
        self.residual += sums(flat, residual, CELLS).reshape(CELL_SHAPE)


def sums(place: Indices, values: Floats, size: int) -> Floats:
    """Return the sum of the values at each of `size` places."""
    total = np.bincount(place.ravel(), weights=values.ravel(), minlength=size)
    return total  # type: ignore[return-value]  # numpy's types know bincount without weights only


class CompanyTile:
    """Companies of some runs, drawn and dated.

    `multiple` is that of the first cheque at the exit, the factor included. A company's mark is 1
    until `start`, and from then to `exit` the straight line `constant` + `slope` · time.
    """

    def __init__(
        self,
        table: MarketTable,
        cell: Indices,
        cheque_quarter: Floats,
        multiple: Floats,
        holding_quarters: Floats,
        follow_on: Floats,
    ) -> None:
        self._table = table
        self.cell = cell
        self.cheque_quarter = cheque_quarter
        self.multiple = multiple
        self.start = table.line_start.take(cell) + cheque_quarter
        self.exit = holding_quarters + cheque_quarter
        self.units = table.follow_on_share.take(cell)
        self.units *= follow_on
        self.units += 1.0
        price = table.line_value.take(cell)
        self.slope = (multiple - price) / (self.exit - self.start)
        self.constant = price - self.slope * self.start

    def graduating(self) -> NDArray[np.bool_]:
        """Return which companies raise a next round."""
        return self._table.graduates.take(self.cell)

    def value(self, horizon: int) -> tuple[Floats, Floats]:
        """Return the value at the horizon, and the part of it that is not yet cash.

        A round after the horizon has not happened: the company is at cost and has no follow-on.
        """
        mark = self.constant + self.slope * horizon
        if self.start[-1].max() >= horizon:
            waiting = self.start >= horizon
            mark[waiting] = 1.0
            self.units[waiting] = 1.0
        mark *= self.exit >= horizon
        value = self.multiple * (self.exit < horizon)
        value += mark
        value *= self.units
        mark *= self.units
        return value, mark


class BlockFlows:
    """The cash flows of a block of runs by quarter, summed over their companies."""

    def __init__(self, horizon: int, runs: int) -> None:
        self._horizon = horizon
        self._runs = runs
        self._run = np.arange(runs)
        self._proceeds = np.zeros((horizon + 1) * runs)
        self._rounds = np.zeros((horizon + 1) * runs, dtype=np.int64)

    def enter(self, companies: CompanyTile, totals: CellTotals) -> None:
        """Enter exits, values at the horizon and rounds."""
        value, residual = companies.value(self._horizon)
        totals.add(companies.cell, companies.units, value, residual)
        self._proceeds += sums(self._place(companies.exit), value, self._proceeds.size)
        graduates = np.flatnonzero(companies.graduating())
        rounds = self._place(companies.start).ravel()[graduates]
        self._rounds += np.bincount(rounds, minlength=self._rounds.size)

    def _place(self, quarter: Floats) -> Indices:
        """Return the flat index of (quarter, run); the last row is everything from the horizon
        on.
        """
        place = quarter.astype(np.intp)
        np.minimum(place, self._horizon, out=place)
        place *= self._runs
        place += self._run
        return place

    def proceeds(self) -> Floats:
        """Return what exits pay in each quarter; the last row is the value at the horizon."""
        return self._proceeds.reshape(-1, self._runs)

    def rounds(self) -> NDArray[np.int64]:
        """Return how many companies raise their next round in each quarter within the horizon."""
        return self._rounds.reshape(-1, self._runs)[:-1]
