"""The value of a fund's companies at the end of each year, without looking at every company every
year.

Between its round and its exit a company is marked along a straight line, constant + slope · t. So
a year's value is a sum of constants plus t times a sum of slopes over the companies on their line.
It is enough to enter both in the year in which a company comes on its line and to take them out in
the year of its exit.
"""

import numpy as np
from numpy.typing import NDArray

from stagenorm.portfolio.fund_companies import CompanyTile, sums
from stagenorm.portfolio.market_profiles import QUARTERS_PER_YEAR
from stagenorm.portfolio.outcomes import Floats, Indices


class PathTally:
    """Sums of constants and slopes by year and run, in units of a first cheque."""

    def __init__(self, years: int, runs: int) -> None:
        self._years = years
        self._runs = runs
        # The last row is for what happens after the horizon.
        self._constant = np.zeros((years + 1) * runs)
        self._slope = np.zeros((years + 1) * runs)

    def enter(self, companies: CompanyTile) -> None:
        """Enter the companies' marks. Graduates are at cost until their round."""
        graduates = companies.graduating()
        self._enter_at_cost(companies.cheque_quarter[:, 0], graduates)
        constant = companies.constant * companies.units
        slope = companies.slope * companies.units
        begins, ends = self._place(companies.start), self._place(companies.exit)
        size = self._constant.size
        self._slope += sums(begins, slope, size)
        self._slope -= sums(ends, slope, size)
        self._constant -= sums(ends, constant, size)
        constant -= graduates
        self._constant += sums(begins, constant, size)

    def _enter_at_cost(self, quarter: Floats, graduates: NDArray[np.bool_]) -> None:
        """Enter the companies that begin at cost; the times of their first cheques are in
        order.
        """
        year = (quarter / QUARTERS_PER_YEAR).astype(np.intp)
        first = np.flatnonzero(np.diff(year, prepend=-1))
        by_year = self._constant.reshape(-1, self._runs)
        by_year[year[first]] += np.add.reduceat(graduates, first, axis=0, dtype=np.intp)

    def values(self) -> Floats:
        """Return the value at the end of each year, of shape (years, runs)."""
        constant = np.cumsum(self._constant.reshape(-1, self._runs)[:-1], axis=0)
        slope = np.cumsum(self._slope.reshape(-1, self._runs)[:-1], axis=0)
        year_ends = np.arange(1, self._years + 1) * QUARTERS_PER_YEAR
        constant += slope * year_ends[:, np.newaxis]
        # What is left of the sums when all companies have exited is rounding.
        return np.maximum(constant, 0.0, out=constant)

    def _place(self, quarter: Floats) -> Indices:
        """Return the flat index of (year, run) for times of shape (companies, runs)."""
        place = (quarter * (1.0 / QUARTERS_PER_YEAR)).astype(np.intp)
        np.minimum(place, self._years, out=place)
        place *= self._runs
        place += np.arange(self._runs)
        return place
