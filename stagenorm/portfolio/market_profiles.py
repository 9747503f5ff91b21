"""The assumptions of the second generation of return profiles, as data with a source for each
part.

A `MarketProfile` describes what happens to one company (odds, exits, graduation, marks), what all
companies of a fund share (the factor), and how a fund invests and what it charges (reserves,
terms). `market_outcomes` draws companies from it, `market_expectation` integrates it, `fund_plan`
applies the terms. The numbers of a published profile never change: a better set gets a new name,
so that a stored simulation can be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from normalization.stages import Stage

PerStage = Mapping[Stage, float]

STAGES: Final = tuple(Stage)
MONTHS_PER_QUARTER: Final = 3
MONTHS_PER_YEAR: Final = 12
QUARTERS_PER_YEAR: Final = 4
# One company gets at most this many first cheques as follow-on money. What is left over is never
# called.
MOST_FOLLOW_ON_CHEQUES: Final = 3.0
# A company that fails has the multiple U^FAIL_EXPONENT, one with a modest outcome is uniform on
# MODEST_RANGE.
FAIL_EXPONENT: Final = 3
MODEST_RANGE: Final = (1.0, 3.0)
# The bands that an answer names. The last three are parts of one Pareto distribution, cut at these
# multiples.
BAND_NAMES: Final = ("fail", "modest", "good", "home_run", "unicorn")
WINNER_BANDS: Final = ("good", "home_run", "unicorn")


def by_stage(*values: float) -> PerStage:
    """Return the values by stage, in the order of the stages.

    If values are missing, the last stages are absent, and the system check `portfolio.E001`
    names the table. Raises ValueError for more values than stages.
    """
    if len(values) > len(STAGES):
        raise ValueError(f"{len(values)} values for {len(STAGES)} stages")
    return MappingProxyType(dict(zip(STAGES, values, strict=False)))


@dataclass(frozen=True, slots=True)
class ReturnOdds:
    """The distribution of one company's gross multiple M, before the factor.

    With probability `fail`, M is U cubed for a uniform U (mean 1/4). With probability `modest`, M
    is uniform on [1, 3]. Otherwise M is a Pareto variable with the stage's `tail_index`, from the
    first of `winner_edges` on and cut off at the last; the edges between split the winners into
    named bands.
    """

    fail: PerStage
    modest: PerStage
    tail_index: PerStage
    winner_edges: tuple[float, float, float, float]
    source: str

    def winner(self, stage: Stage) -> float:
        """Return the probability of a multiple of at least three."""
        return 1.0 - self.fail[stage] - self.modest[stage]


@dataclass(frozen=True, slots=True)
class VintageFactor:
    """One lognormal factor per fund with mean 1: vintage, sector and manager together.

    It multiplies every exit of the fund: F = exp(sigma Z - sigma² / 2) with a standard normal Z.
    """

    sigma: float
    source: str


@dataclass(frozen=True, slots=True)
class ExitTiming:
    """Years from the first cheque to the exit.

    Uniform within `spread` (a fraction) of the stage's base years times the band's factor.
    """

    base_years: PerStage
    band_factors: Mapping[str, float]
    spread: float
    source: str


@dataclass(frozen=True, slots=True)
class Graduation:
    """The next financing round: its probability given the final multiple, and months until
    then.
    """

    given_at_least_cost: PerStage
    given_below_cost: PerStage
    months_to_round: PerStage
    next_stage: Mapping[Stage, Stage]
    source: str


@dataclass(frozen=True, slots=True)
class MarkRule:
    """How a company is valued before its exit, in words; `market_outcomes` computes it."""

    rule: str
    source: str


@dataclass(frozen=True, slots=True)
class FundTerms:
    """What a fund charges.

    `management_fee` is a fraction of the commitment a year. After `fee_full_years` years each
    further year's fee is `fee_step` times that of the year before, until the end of
    `fund_life_years`. `carry` is the general partner's share of the profit of the whole fund,
    without a hurdle. Raises ValueError for terms that leave nothing to invest.
    """

    management_fee: float
    fee_full_years: int
    fee_step: float
    fund_life_years: int
    carry: float

    def __post_init__(self) -> None:
        shares = (self.management_fee, self.fee_step, self.carry)
        if not all(0.0 <= share <= 1.0 for share in shares) or self.carry == 1.0:
            raise ValueError("management_fee, fee_step and carry are fractions; carry is below 1")
        if self.fee_full_years < 0 or self.fund_life_years < 1:
            raise ValueError("fee_full_years must be at least 0, fund_life_years at least 1")
        if self.lifetime_fees() >= 1.0:
            raise ValueError("the fees leave nothing to invest")

    def annual_fees(self) -> tuple[float, ...]:
        """Return the fee of each year of the fund's life, as a fraction of the commitment."""
        full_years = min(self.fee_full_years, self.fund_life_years)
        stepped_years = self.fund_life_years - full_years
        steps = (self.fee_step**n for n in range(1, stepped_years + 1))
        full = (self.management_fee,) * full_years
        return full + tuple(self.management_fee * step for step in steps)

    def lifetime_fees(self) -> float:
        """Return all fees as a fraction of the commitment."""
        return sum(self.annual_fees())


@dataclass(frozen=True, slots=True)
class SourcedTerms:
    """The terms that apply unless a request gives its own."""

    terms: FundTerms
    source: str


@dataclass(frozen=True, slots=True)
class ReserveRule:
    """How a fund deploys unless a request gives its own numbers.

    The reserve is split evenly over the companies that graduate, at most MOST_FOLLOW_ON_CHEQUES
    each.
    """

    ratio: float
    deployment_months: int
    source: str


@dataclass(frozen=True, slots=True)
class CalibrationFigure:
    """One figure of the base case: what the model gives and what was published."""

    figure: str
    model: float
    published: str
    source: str
    year: int


@dataclass(frozen=True, slots=True, eq=False)
class MarketProfile:
    """A complete set of assumptions. Raises ValueError where an exit could precede the next
    round.

    A profile equals itself alone, so that functions can cache what they compute of one.
    """

    name: str
    source: str
    odds: ReturnOdds
    factor: VintageFactor
    exits: ExitTiming
    graduation: Graduation
    marks: MarkRule
    terms: SourcedTerms
    reserves: ReserveRule
    calibrated_to: tuple[CalibrationFigure, ...]
    known_limits: tuple[str, ...]

    def __post_init__(self) -> None:
        earliest = (1.0 - self.exits.spread) * min(self.exits.band_factors.values())
        # A stage that one of the tables lacks is reported by the system check portfolio.E001.
        for stage, years in self.exits.base_years.items():
            months = self.graduation.months_to_round.get(stage, 0)
            if months >= MONTHS_PER_YEAR * earliest * years:
                raise ValueError(f"a company of stage {stage} could exit before its next round")
