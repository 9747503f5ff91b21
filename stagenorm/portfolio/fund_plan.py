"""The plan of a fund for its commitment: fees, first cheques and the reserve.

All money is a fraction of the commitment, times are quarters from the fund's start. First cheques
are of one size and evenly spread over the deployment period: cheque j of n falls at (j + 1/2) / n
of it. Money is called at the start of the quarter in which it is needed; a year's fee is called in
four parts. A first cheque after the horizon is never made, so `cheques_made` may be less than the
portfolio size.
"""

from dataclasses import dataclass

import numpy as np

from stagenorm.portfolio.market_profiles import (
    MONTHS_PER_QUARTER,
    MOST_FOLLOW_ON_CHEQUES,
    QUARTERS_PER_YEAR,
    FundTerms,
)
from stagenorm.portfolio.outcomes import Floats


@dataclass(frozen=True, slots=True)
class FundPlan:
    """The plan of one fund. Raises ValueError when no first cheque would be made within the
    horizon.
    """

    terms: FundTerms
    reserve_ratio: float
    deployment_months: int
    portfolio_size: int
    horizon_years: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.reserve_ratio < 1.0:
            raise ValueError("reserve_ratio must be at least 0 and below 1")
        if self.deployment_months < 1 or self.portfolio_size < 1 or self.horizon_years < 1:
            raise ValueError("deployment, portfolio and horizon must be at least 1")
        if self.cheques_made == 0:
            raise ValueError("no first cheque falls within the horizon")

    @property
    def horizon_quarters(self) -> int:
        """The horizon in quarters."""
        return self.horizon_years * QUARTERS_PER_YEAR

    @property
    def fees(self) -> float:
        """Management fees over the fund's life."""
        return self.terms.lifetime_fees()

    @property
    def investable(self) -> float:
        """What is left for companies."""
        return 1.0 - self.fees

    @property
    def reserve(self) -> float:
        """The part of the investable money that is kept for follow-ons."""
        return self.investable * self.reserve_ratio

    @property
    def first_cheque(self) -> float:
        """The size of a first cheque."""
        return self.investable * (1.0 - self.reserve_ratio) / self.portfolio_size

    @property
    def reserve_in_cheques(self) -> float:
        """The reserve in units of a first cheque."""
        return self.reserve_ratio * self.portfolio_size / (1.0 - self.reserve_ratio)

    @property
    def cheque_quarters(self) -> Floats:
        """When each first cheque is made that falls within the horizon, in order."""
        months = (np.arange(self.portfolio_size) + 0.5) * (
            self.deployment_months / self.portfolio_size
        )
        quarters: Floats = months / MONTHS_PER_QUARTER
        return quarters[quarters < self.horizon_quarters]

    @property
    def cheques_made(self) -> int:
        """How many first cheques fall within the horizon."""
        return self.cheque_quarters.size

    def fee_calls(self) -> Floats:
        """Return the fees called at the start of each quarter within the horizon."""
        by_year = np.zeros(self.horizon_years)
        charged = self.terms.annual_fees()[: self.horizon_years]
        by_year[: len(charged)] = charged
        return np.repeat(by_year / QUARTERS_PER_YEAR, QUARTERS_PER_YEAR)

    def first_cheque_calls(self) -> Floats:
        """Return the first cheques called at the start of each quarter within the horizon."""
        quarter = self.cheque_quarters.astype(np.intp)
        calls = np.zeros(self.horizon_quarters)
        np.add.at(calls, quarter, self.first_cheque)
        return calls

    def follow_on_cheques(self, graduates: Floats) -> Floats:
        """Return the follow-on of one graduate, in first cheques, for each number of graduates.

        The reserve is split evenly over the graduates of the whole portfolio; a fund without
        graduates never calls it.
        """
        even = self.reserve_in_cheques / np.maximum(graduates, 1.0)
        cheques: Floats = np.minimum(even, MOST_FOLLOW_ON_CHEQUES)
        return cheques
