"""The cash flows of the limited partners, from those of the companies: calls, carry and IRR.

Money is a fraction of the commitment; each row of an array is a quarter, each column a run. Calls
are paid at the start of their quarter, distributions at its end, so carry always sees the
quarter's call.

Carry is that of the whole fund, without a hurdle: the limited partners first get back what they
paid in, then share the profit. On cumulative amounts, net = gross - carry · max(0, gross -
paid-in). When a call follows a distribution of profit, the general partner returns the carry that
is no longer earned; the net cumulative distribution, min(gross, (1 - carry) gross + carry ·
paid-in), therefore never falls.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stagenorm.portfolio.fund_plan import FundPlan
from stagenorm.portfolio.irr import annual_irr_of_net
from stagenorm.portfolio.market_profiles import QUARTERS_PER_YEAR
from stagenorm.portfolio.outcomes import Floats

# Numbers in the piece of memory of a ledger, at least: 4 MiB.
LEAST_PIECE: Final = 2**19


@dataclass(frozen=True, slots=True)
class RunResults:
    """One number per run. Multiples are per unit paid in (net) or invested (gross); IRR is
    annual.
    """

    paid_in: Floats
    tvpi: Floats
    dpi: Floats
    irr: Floats
    invested: Floats
    gross_tvpi: Floats
    gross_dpi: Floats
    gross_irr: Floats

    @classmethod
    def empty(cls, runs: int) -> "RunResults":
        """Return room for `runs` runs."""
        return cls(*np.full((len(fields(cls)), runs), np.nan))

    def put(self, columns: slice, part: "RunResults") -> None:
        """Write the results of some runs."""
        for field in fields(self):
            getattr(self, field.name)[columns] = getattr(part, field.name)


@dataclass(frozen=True, slots=True)
class FundPath:
    """The fund at the end of each year, of shape (years, runs): cumulative and net of fees and
    carry.
    """

    contributions: Floats
    distributions: Floats
    nav: Floats

    @classmethod
    def empty(cls, years: int, runs: int) -> "FundPath":
        """Return room for `runs` runs over `years` years."""
        return cls(*np.empty((3, years, runs)))


def after_carry(gross: Floats, paid_in: Floats, carry: float) -> Floats:
    """Return what the limited partners keep of cumulative gross proceeds."""
    shared = paid_in - gross
    shared *= carry
    shared += gross
    return np.minimum(gross, shared, out=shared)


class FundLedger:
    """The quarterly cash flows of up to `runs` runs, and their results. Its memory is reused."""

    def __init__(self, plan: FundPlan, runs: int) -> None:
        quarters = plan.horizon_quarters
        self._plan = plan
        self._cheque = plan.first_cheque
        memory = _one_piece((3 * quarters + 2, runs))
        # The last row holds the value of the companies left at the horizon.
        self._proceeds = memory[: quarters + 1]
        self._follow_ons = memory[quarters + 1 : 2 * quarters + 1]
        self._net = memory[2 * quarters + 1 :]
        # What the investors of all closed runs together got, or paid, at the end of each quarter
        # from 0 on.
        self.pooled_net = np.zeros(quarters + 1)

    def enter(
        self, columns: slice, proceeds: Floats, rounds: NDArray[np.int64], follow_on: Floats
    ) -> None:
        """Set the cash flows of some runs.

        `proceeds` and `follow_on`, what each of a run's `rounds` takes, are in units of a first
        cheque.
        """
        np.multiply(proceeds, self._cheque, out=self._proceeds[:, columns])
        follow_ons = self._follow_ons[:, columns]
        follow_ons[:] = rounds
        follow_ons *= follow_on * self._cheque

    def close(self, runs: int, yearly: Floats | None, *, gross_irr: bool) -> RunResults:
        """Return the results of the first `runs` runs. Overwrites the flows.

        `yearly` has shape (3, years, runs) and in its last part the value of the companies at each
        year's end, before carry. It is overwritten with the path: contributions, distributions and
        net asset value.
        """
        proceeds, follow_ons = self._proceeds[:, :runs], self._follow_ons[:, :runs]
        investor = _Investor(self._plan, self._net[:, :runs])
        for quarter, cash in enumerate(proceeds[:-1]):
            investor.pass_quarter(quarter, follow_ons[quarter], cash)
            year, rest = divmod(quarter + 1, QUARTERS_PER_YEAR)
            if yearly is not None and rest == 0:
                yearly[:, year - 1] = investor.standing(yearly[2, year - 1])
        results = investor.results(follow_ons, proceeds, gross_irr=gross_irr)
        self.pooled_net += investor.pooled_net
        return results


def _one_piece(shape: tuple[int, int]) -> Floats:
    """Return an array in a large piece of memory.

    glibc gives freed memory back to the kernel, which clears it for the next array, until a larger
    piece has been freed. After the first simulation of a process this one keeps the arrays of the
    others from being cleared.
    """
    rows, columns = shape
    return np.empty(max(rows * columns, LEAST_PIECE))[: rows * columns].reshape(shape)


class _Investor:
    """The limited partners of some runs, quarter by quarter."""

    def __init__(self, plan: FundPlan, net: Floats) -> None:
        runs = net.shape[1]
        self._carry = plan.terms.carry
        self._fees, self._cheques = plan.fee_calls(), plan.first_cheque_calls()
        self._planned_calls = self._fees + self._cheques
        self._net = net
        self._net[0] = 0.0
        self._paid_in, self._cash, self._net_cash = np.zeros((3, runs))

    def pass_quarter(self, quarter: int, follow_ons: Floats, cash: Floats) -> None:
        """Call what the quarter needs, then distribute what came in and take carry."""
        call = follow_ons + self._planned_calls[quarter]
        self._paid_in += call
        self._net[quarter] -= call
        self._cash += cash
        kept = after_carry(self._cash, self._paid_in, self._carry)
        np.subtract(kept, self._net_cash, out=self._net[quarter + 1])
        self._net_cash = kept

    def standing(self, value: Floats) -> tuple[Floats, Floats, Floats]:
        """Return contributions, distributions and net asset value; `value` is that of the
        companies.
        """
        net_value = after_carry(self._cash + value, self._paid_in, self._carry)
        return self._paid_in, self._net_cash, net_value - self._net_cash

    def results(self, follow_ons: Floats, proceeds: Floats, *, gross_irr: bool) -> RunResults:
        """Return the results after the last quarter; the last row of `proceeds` is the value that
        is left.
        """
        residual = proceeds[-1]
        _, _, nav = self.standing(residual)
        self._net[-1] += nav
        self.pooled_net = self._net.sum(axis=1)
        gross = self._cash + residual
        invested = self._paid_in - self._fees.sum()
        return RunResults(
            paid_in=self._paid_in,
            tvpi=(self._net_cash + nav) / self._paid_in,
            dpi=self._net_cash / self._paid_in,
            irr=annual_irr_of_net(self._net),
            invested=invested,
            gross_tvpi=gross / invested,
            gross_dpi=self._cash / invested,
            gross_irr=self._gross_irr(follow_ons, proceeds, wanted=gross_irr),
        )

    def _gross_irr(self, follow_ons: Floats, proceeds: Floats, *, wanted: bool) -> Floats:
        if not wanted:
            return np.full(self._cash.size, np.nan)
        net = self._net
        net[0] = 0.0
        net[1:] = proceeds[:-1]
        net[-1] += proceeds[-1]
        net[:-1] -= follow_ons
        net[:-1] -= self._cheques[:, np.newaxis]
        return annual_irr_of_net(net)
