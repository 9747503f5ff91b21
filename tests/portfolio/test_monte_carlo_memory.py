"""The memory of a simulation does not grow with runs × companies."""

import sys
from pathlib import Path

import pytest

from tests import children

MOST_GROWTH_MIB = 64
PROGRAM = """
import resource, sys
from normalization.stages import Stage
from stagenorm.portfolio.fund_simulation import FundParameters
from stagenorm.portfolio.fund_summary import Included, Targets, run_fund, summarize_fund
from stagenorm.portfolio.market_v2 import MARKET_V2
from stagenorm.portfolio.monte_carlo import SimulationParameters, simulate
from stagenorm.portfolio.simulation_summary import summarize

MIX = {Stage.SEED: 0.5, Stage.SERIES_A: 0.5}
TERMS = MARKET_V2.terms.terms

def first_generation(runs, companies):
    parameters = SimulationParameters(runs, 15, companies, 1, "market-v1", MIX)
    summarize(simulate(parameters), parameters)

def fund(runs, companies):
    parameters = FundParameters(runs, 15, companies, 1, "market-v2", MIX, 0.4, 36, 0.6, TERMS)
    included = Included(gross=True, path=True)
    summarize_fund(run_fund(parameters, included), parameters, Targets(3.0, 0.2), included)

def peak_mib(work, *size):
    work(*size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

work = {"market-v1": first_generation, "market-v2": fund}[sys.argv[1]]
print(-peak_mib(work, 100, 1) + peak_mib(work, 50_000, 1_000))
assert not any(name.startswith("django") for name in sys.modules)
"""


@pytest.mark.parametrize("profile", ["market-v1", "market-v2"])
def test_fifty_million_companies_take_at_most_64_mib_more_than_a_hundred(profile: str) -> None:
    # In a process of its own: the peak of this one was reached by other tests. 15 years is the
    # longest horizon, and the path and the gross rates are the largest answer.
    done = children.run(
        [sys.executable, "-c", PROGRAM, profile], check=True, cwd=Path(__file__).parents[2]
    )
    assert float(done.stdout) <= MOST_GROWTH_MIB
