"""The value of a fund's companies at the end of each year, by sums instead of company by company.

Between its round and its exit a company is marked along a straight line, constant + slope · t. So
a year's value is a sum of constants plus t times a sum of slopes over the companies on their line.
It is enough to add both in the year in which a company's line begins and to subtract them in the
year of its exit.
"""

import numpy as np

from stagenorm.portfolio.fund_companies import CompanyTile, PeriodPlaces, sums
from stagenorm.portfolio.market_profiles import QUARTERS_PER_YEAR
from stagenorm.portfolio.outcomes import Floats


class PathTally:
    """Sums of constants and slopes by year and run, in units of a first cheque."""

    def __init__(self, years: int, runs: int) -> None:
        self._years = years
        self._runs = runs
        self._places = PeriodPlaces(runs)
        # The last row is for what happens after the horizon.
        self._constant = np.zeros((years + 1) * runs)
        self._slope = np.zeros((years + 1) * runs)

    def enter(self, companies: CompanyTile) -> None:
        """Enter the companies' marks. Every company is at cost until its line begins."""
        by_year = self._constant.reshape(-1, self._runs)
        for year, first_cheques in enumerate(companies.rows.first_cheques_by_year):
            by_year[year] += first_cheques
        slope = companies.slope * companies.units
        constant = companies.constant * companies.units
        size = self._constant.size
        ends = self._places.flat(companies.exit_quarter // np.int32(QUARTERS_PER_YEAR))
        self._slope -= sums(ends, slope, size)
        self._constant -= sums(ends, constant, size)
        begins = self._places.flat(companies.rows.start_years(companies.place))
        constant -= 1.0
        self._slope += sums(begins, slope, size)
        self._constant += sums(begins, constant, size)

    def values(self) -> Floats:
        """Return the value at the end of each year, of shape (years, runs). Called once."""
        constants = self._constant.reshape(-1, self._runs)
        slopes = self._slope.reshape(-1, self._runs)
        # By rows: numpy's cumulated sum along this axis takes five times as long.
        for year in range(1, self._years):
            constants[year] += constants[year - 1]
            slopes[year] += slopes[year - 1]
        year_ends = np.arange(1.0, self._years + 1.0) * QUARTERS_PER_YEAR
        values = slopes[:-1] * year_ends[:, np.newaxis]
        values += constants[:-1]
        # What is left of the sums when all companies have exited is rounding.
        return np.maximum(values, 0.0, out=values)
