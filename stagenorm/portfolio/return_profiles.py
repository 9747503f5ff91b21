"""The first generation of return profiles: outcome bands, their odds and exit times by stage.

Data only; `outcomes` draws from it and `expected_value` integrates it. A profile's name carries
its version: numbers of a published profile never change, a better set gets a new name, so that a
stored simulation can be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from normalization.stages import Stage

# Tail index of the Pareto bands. 1.16 is the exponent of the 80/20 rule (log 5 / log 4): a fifth
# of the winners bring four fifths of the winnings. An assumption, like the rest of the bands.
TAIL_INDEX: Final = 1.16
# An exit comes up to this much before or after its expected time, uniformly, ...
EXIT_SPREAD_YEARS: Final = 1.0
# ... and never earlier than this after the investment.
EARLIEST_EXIT_YEARS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Band:
    """A range of return multiples: uniform on [low, high], or there a Pareto distribution cut off
    at both ends.

    `exit_factor` times the stage's base exit years is the expected exit time.
    """

    name: str
    low: float
    high: float
    heavy_tailed: bool
    exit_factor: float


# The heavy-tailed bands come last: `outcomes` finds their companies by one comparison.
BANDS: Final = (
    Band("fail", 0.0, 1.0, heavy_tailed=False, exit_factor=0.6),
    Band("modest", 1.0, 3.0, heavy_tailed=False, exit_factor=0.9),
    Band("good", 3.0, 10.0, heavy_tailed=False, exit_factor=1.0),
    Band("home_run", 10.0, 50.0, heavy_tailed=True, exit_factor=1.2),
    Band("unicorn", 50.0, 200.0, heavy_tailed=True, exit_factor=1.4),
)


@dataclass(frozen=True, slots=True)
class ReturnProfile:
    """Per stage the probability of each of BANDS, in their order, and the base exit time in
    years.
    """

    name: str
    source: str
    odds: Mapping[Stage, tuple[float, float, float, float, float]]
    base_exit_years: Mapping[Stage, float]


# Later stages are nearer to their exit. An assumption, shared by the profiles below.
BASE_EXIT_YEARS: Final[Mapping[Stage, float]] = MappingProxyType(
    {
        Stage.PRE_SEED: 6.5,
        Stage.SEED: 5.5,
        Stage.SERIES_A: 4.5,
        Stage.SERIES_B: 3.5,
        Stage.SERIES_C: 2.7,
        Stage.SERIES_C_PLUS: 2.5,
    }
)

MARKET_V1: Final = ReturnProfile(
    name="market-v1",
    source=(
        "An assumption set of this project, not fitted to a data set: most early companies "
        "fail, the odds of getting the money back rise and those of a home run fall with the "
        "stage."
    ),
    odds=MappingProxyType(
        {
            Stage.PRE_SEED: (0.75, 0.15, 0.07, 0.025, 0.005),
            Stage.SEED: (0.70, 0.17, 0.095, 0.030, 0.005),
            Stage.SERIES_A: (0.58, 0.25, 0.135, 0.032, 0.003),
            Stage.SERIES_B: (0.45, 0.36, 0.165, 0.024, 0.001),
            Stage.SERIES_C: (0.36, 0.45, 0.178, 0.012, 0.0),
            Stage.SERIES_C_PLUS: (0.30, 0.54, 0.155, 0.005, 0.0),
        }
    ),
    base_exit_years=BASE_EXIT_YEARS,
)

OPTIMISTIC_V1: Final = ReturnProfile(
    name="optimistic-v1",
    source=(
        "An assumption set of this project, not fitted to a data set: a bull market, in which "
        "home runs and unicorns become likelier at every stage from seed on and, against "
        "experience, most likely at the last ones."
    ),
    odds=MappingProxyType(
        {
            Stage.PRE_SEED: (0.75, 0.15, 0.07, 0.025, 0.005),
            Stage.SEED: (0.70, 0.15, 0.10, 0.04, 0.01),
            Stage.SERIES_A: (0.50, 0.25, 0.15, 0.08, 0.02),
            Stage.SERIES_B: (0.35, 0.30, 0.20, 0.12, 0.03),
            Stage.SERIES_C: (0.20, 0.35, 0.25, 0.15, 0.05),
            Stage.SERIES_C_PLUS: (0.20, 0.35, 0.25, 0.15, 0.05),
        }
    ),
    base_exit_years=BASE_EXIT_YEARS,
)

PROFILES: Final[Mapping[str, ReturnProfile]] = MappingProxyType(
    {p.name: p for p in (MARKET_V1, OPTIMISTIC_V1)}
)
DEFAULT_PROFILE: Final = MARKET_V1.name
