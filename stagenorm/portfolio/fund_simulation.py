"""Monte Carlo of a venture fund with fees, carry, reserves, deployment over time, and a common
factor.

Every run is a fund. It makes its first cheques over the deployment period, follows on in the
companies that graduate, pays fees, and gets back what exits bring. All exits of a run are
multiplied by the run's factor. Companies that have not exited at the horizon are valued at their
mark.

Random numbers come in blocks of RUNS_PER_BLOCK runs. In a block the n-th company of every run is
drawn before the next company, from streams that do not depend on the portfolio's size. So more
runs begin with the same runs, and portfolios of any size and mix share their random numbers
company by company.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence

from stagenorm.portfolio.fund_companies import BlockFlows, CellTotals, CompanyTile, TileRows
from stagenorm.portfolio.fund_ledger import FundLedger, FundPath, RunResults
from stagenorm.portfolio.fund_path import PathTally
from stagenorm.portfolio.fund_plan import FundPlan
from stagenorm.portfolio.market_outcomes import (
    find_cells,
    find_exit_quarters,
    find_multiples,
    market_table,
)
from stagenorm.portfolio.market_profiles import FundTerms
from stagenorm.portfolio.market_v2 import MARKET_PROFILES
from stagenorm.portfolio.outcomes import Floats, Indices
from stagenorm.portfolio.simulation_parameters import RunParameters

# Names the random stream and the arithmetic. It changes when the same seed gives other numbers.
FUND_ENGINE: Final = "pcg64-funds-1"
MAX_PORTFOLIO: Final = 1_000
RUNS_PER_BLOCK: Final = 500
# Companies at once: about as many numbers per array as stay in a core's cache.
_COMPANIES_AT_ONCE: Final = 12_500
# Runs whose quarterly cash flows are kept until they are closed together.
_RUNS_PER_LEDGER: Final = 10_000
# The first part of the spawn key. Streams of the first engine have keys of one part, so none is
# shared.
_STREAMS: Final = 2


@dataclass(frozen=True, slots=True)
class FundParameters(RunParameters):
    """What determines a simulation of a fund. Raises ValueError for what cannot be simulated."""

    engine: ClassVar[str] = FUND_ENGINE
    profiles: ClassVar[Mapping[str, object]] = MARKET_PROFILES

    reserve_ratio: float
    deployment_months: int
    factor_sigma: float
    terms: FundTerms

    def __post_init__(self) -> None:
        self.check()
        if self.portfolio_size > MAX_PORTFOLIO:
            raise ValueError(f"portfolio_size must be at most {MAX_PORTFOLIO}")
        if not 0.0 <= self.factor_sigma <= 1.0:
            raise ValueError("factor_sigma must be 0 to 1")
        self.plan()

    def plan(self) -> FundPlan:
        """Return how the fund deploys its commitment."""
        return FundPlan(
            self.terms,
            self.reserve_ratio,
            self.deployment_months,
            self.portfolio_size,
            self.horizon_years,
        )


@dataclass(frozen=True, slots=True)
class FundResult:
    """The runs in the order of the stream, the path (of no year unless asked for), and totals over
    all runs.

    `totals` are by cell. `pooled_net` has for each quarter from 0 on what all investors together
    got or paid.
    """

    runs: RunResults
    path: FundPath
    totals: CellTotals
    pooled_net: Floats


def simulate_fund(
    parameters: FundParameters, *, path: bool = False, gross_irr: bool = False
) -> FundResult:
    """Simulate every run. The same parameters give the same result, with or without the path.

    Memory grows with the runs (times years, with the path), not with the companies.
    """
    simulation = _Simulation(parameters, with_path=path)
    ledger = FundLedger(parameters.plan(), min(parameters.runs, _RUNS_PER_LEDGER))
    results = RunResults.empty(parameters.runs)
    years = parameters.horizon_years if path else 0
    yearly = np.empty((3, years, parameters.runs))
    for first in range(0, parameters.runs, _RUNS_PER_LEDGER):
        columns = slice(first, min(first + _RUNS_PER_LEDGER, parameters.runs))
        nav = yearly[:, :, columns]
        simulation.run(columns, ledger, nav[2])
        part = ledger.close(columns.stop - first, nav if path else None, gross_irr=gross_irr)
        results.put(columns, part)
    return FundResult(results, FundPath(*yearly), simulation.totals, ledger.pooled_net)


class _Streams:
    """The random numbers of a simulation: the same for every portfolio size, mix and number of
    runs.
    """

    def __init__(self, seed: int) -> None:
        keys = [(_STREAMS, purpose) for purpose in range(4)]
        bits = [PCG64(SeedSequence(seed, spawn_key=key)) for key in keys]
        self._factor, *self._companies = [Generator(each) for each in bits]

    def factors(self, runs: int, sigma: float) -> Floats:
        """Return the factor of each run; its mean is 1."""
        normal = self._factor.standard_normal(runs)
        return np.exp(sigma * normal - sigma * sigma / 2.0)

    def uniforms(self, purpose: int, companies: int, runs: int) -> Floats:
        """Return the next companies' numbers, of shape (companies, runs): 0 cell, 1 multiple, 2
        exit.
        """
        drawn = self._companies[purpose].random((companies, RUNS_PER_BLOCK))
        return np.ascontiguousarray(drawn[:, :runs])

    def end_block(self, companies: int) -> None:
        """Go to the next block, after `companies` of the companies that a block has room for."""
        skipped = (MAX_PORTFOLIO - companies) * RUNS_PER_BLOCK
        for generator in self._companies:
            generator.bit_generator.advance(skipped)  # type: ignore[attr-defined]


class _Simulation:
    """The blocks of one simulation, one after another, and totals by cell over all of them."""

    def __init__(self, parameters: FundParameters, *, with_path: bool) -> None:
        self._plan = parameters.plan()
        self._table = market_table(parameters.stage_mix, MARKET_PROFILES[parameters.profile])
        self._with_path = with_path
        self._streams = _Streams(parameters.seed)
        self._factors = self._streams.factors(parameters.runs, parameters.factor_sigma)
        quarters = self._plan.cheque_quarters
        self._cheques_made = quarters.size
        self._first_cheque = self._plan.first_cheque
        self._tiles = [
            TileRows(self._table, quarters[rows], self._plan.horizon_quarters)
            for rows in _tiles(self._cheques_made)
        ]
        self.totals = CellTotals.empty()

    def run(self, columns: slice, ledger: FundLedger, nav: Floats) -> None:
        """Simulate the next runs: enter their flows, and the companies' value at each year's end
        in `nav`.
        """
        for first in range(columns.start, columns.stop, RUNS_PER_BLOCK):
            last = min(first + RUNS_PER_BLOCK, columns.stop)
            part = slice(first - columns.start, last - columns.start)
            self._run_block(self._factors[first:last], part, ledger, nav)

    def _run_block(self, factors: Floats, part: slice, ledger: FundLedger, nav: Floats) -> None:
        cells, follow_on = self._graduation(factors.size)
        flows = BlockFlows(self._plan.horizon_quarters, factors.size)
        tally = PathTally(self._plan.horizon_years, factors.size) if self._with_path else None
        for rows, cell in zip(self._tiles, cells, strict=True):
            companies = self._companies(rows, cell, factors, follow_on)
            flows.enter(companies, self.totals)
            if tally is not None:
                tally.enter(companies)
        ledger.enter(part, flows.proceeds(), flows.rounds(), follow_on)
        if tally is not None:
            np.multiply(tally.values(), self._first_cheque, out=nav[:, part])
        self._streams.end_block(self._cheques_made)

    def _graduation(self, runs: int) -> tuple[list[Indices], Floats]:
        """Draw the cells of a block; return them by tile, and the follow-on of a graduate in each
        run, in cheques.
        """
        cells = []
        graduates = np.zeros(runs)
        for rows in self._tiles:
            cell = find_cells(self._table, self._streams.uniforms(0, rows.size, runs))
            graduating = self._table.graduates.take(cell)
            # A tile has fewer companies than two bytes can count.
            graduates += np.add.reduce(graduating.view(np.uint8), axis=0, dtype=np.uint16)
            cells.append(cell)
        return cells, self._plan.follow_on_cheques(graduates)

    def _companies(
        self, rows: TileRows, cell: Indices, factors: Floats, follow_on: Floats
    ) -> CompanyTile:
        multiples = find_multiples(self._table, cell, self._streams.uniforms(1, *cell.shape))
        multiples *= factors
        holding = find_exit_quarters(self._table, cell, self._streams.uniforms(2, *cell.shape))
        return CompanyTile(rows, cell, multiples, holding, follow_on)


def _tiles(companies: int) -> list[slice]:
    """Return the rows of companies that are simulated together, of about equal size."""
    parts = -(-companies * RUNS_PER_BLOCK // _COMPANIES_AT_ONCE)
    edges = np.linspace(0, companies, parts + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]
