"""Memory does not grow with runs × companies."""

import sys

from tests import children

PROGRAM = """
import resource, sys
from normalization.stages import Stage
from stagenorm.portfolio.monte_carlo import SimulationParameters, simulate
from stagenorm.portfolio.simulation_summary import summarize

def peak_mib(runs, portfolio_size):
    stage_mix = {Stage.SEED: 0.5, Stage.SERIES_A: 0.5}
    parameters = SimulationParameters(runs, 15, portfolio_size, 1, "market-v1", stage_mix)
    summarize(simulate(parameters), parameters)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

print(-peak_mib(100, 1) + peak_mib(50_000, 1_000))
assert not any(name.startswith("django") for name in sys.modules)
"""


def test_fifty_million_companies_take_at_most_64_mib_more_than_a_hundred() -> None:
    # A process of its own, because the tests before this one set the peak of this process.
    # 15 years give the widest ledger.
    done = children.run([sys.executable, "-c", PROGRAM], check=True)
    assert float(done.stdout) <= 64
