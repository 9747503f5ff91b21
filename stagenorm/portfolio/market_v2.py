"""The profile `market-v2`: what is assumed of a venture fund, with the source of each part.

Calibrated by hand to published net returns of funds (`calibrated_to`). `market_calibration`
computes the figures of `calibrated_to` again, and a test compares them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from normalization.stages import Stage
from stagenorm.portfolio.market_profiles import (
    CalibrationFigure,
    ExitTiming,
    FundTerms,
    Graduation,
    MarketProfile,
    MarkRule,
    ReserveRule,
    ReturnOdds,
    SourcedTerms,
    VintageFactor,
    by_stage,
)

_CAMBRIDGE: Final = "Cambridge Associates, venture capital benchmark book, 31 March 2025"
_CAMBRIDGE_TVPI: Final = f"{_CAMBRIDGE}: net TVPI, vintages 2000 to 2017 as one mixture"
_CAMBRIDGE_DPI: Final = f"{_CAMBRIDGE}: median net DPI by age of the fund, a cross-section"

ODDS: Final = ReturnOdds(
    fail=by_stage(0.67, 0.61, 0.51, 0.40, 0.33, 0.28),
    modest=by_stage(0.09, 0.14, 0.235, 0.35, 0.46, 0.54),
    tail_index=by_stage(1.25, 1.25, 1.35, 1.55, 1.75, 1.95),
    winner_edges=(3.0, 10.0, 50.0, 1000.0),
    source=(
        "Losses: Correlation Ventures 2014 (65 % of financings 2004 to 2013 returned less than "
        "cost, exited companies only) and, by stage, a rule of thumb published by SaaStr. Tail "
        "index: 1.3 to 1.44 between 5 and 50 times cost in the same data; the split by stage is "
        "an assumption."
    ),
)

FACTOR: Final = VintageFactor(
    sigma=0.60,
    source=(
        "Fitted. Cambridge Associates, 31 March 2025: standard deviation of the log median 0.34 "
        "between vintages, of log TVPI 0.61 within a vintage. One factor stands for vintage, "
        "sector and manager."
    ),
)

EXITS: Final = ExitTiming(
    base_years=by_stage(10.0, 9.2, 8.0, 6.8, 5.6, 4.8),
    band_factors=MappingProxyType(
        {"fail": 0.6, "modest": 0.92, "good": 1.0, "home_run": 1.2, "unicorn": 1.35}
    ),
    spread=0.5,
    source="Fitted to the median net DPI at ages 8, 10, 12 and 15 of Cambridge Associates, 2025.",
)

GRADUATION: Final = Graduation(
    given_at_least_cost=by_stage(0.80, 0.80, 0.70, 0.55, 0.45, 0.35),
    given_below_cost=by_stage(0.35, 0.30, 0.25, 0.20, 0.15, 0.10),
    months_to_round=by_stage(18, 22, 24, 24, 20, 17),
    next_stage=MappingProxyType(
        {
            Stage.PRE_SEED: Stage.SEED,
            Stage.SEED: Stage.SERIES_A,
            Stage.SERIES_A: Stage.SERIES_B,
            Stage.SERIES_B: Stage.SERIES_C,
            Stage.SERIES_C: Stage.SERIES_C_PLUS,
            Stage.SERIES_C_PLUS: Stage.SERIES_C_PLUS,
        }
    ),
    source=(
        "CB Insights 2017 (46 % raise a second round, 14 % a fourth); Carta 2024 (series A to B "
        "40 to 55 % by year 4; 25 months from seed to series A, 14 in 2021). How the odds "
        "depend on the final multiple, and the months of the last two stages, are assumptions."
    ),
)

MARKS: Final = MarkRule(
    rule=(
        "A graduate is at cost until its next round, then on a straight line from the round's "
        "price to its proceeds at the exit. Any other company is on a straight line from cost "
        "to its proceeds. The price of the round is E[M | graduates] / E[M of the next stage], "
        "so follow-ons assume no skill."
    ),
    source="An assumption, in the spirit of valuation at the last round's price.",
)

TERMS: Final = SourcedTerms(
    FundTerms(management_fee=0.02, fee_full_years=5, fee_step=0.9, fund_life_years=10, carry=0.20),
    source=(
        "Metrick and Yasuda 2010 (lifetime fees of about 18 % of the commitment); Cambridge "
        "Associates, terms of 2018 to 2022 (2 %, most step down; carry 20 %, often without a "
        "hurdle)."
    ),
)

RESERVES: Final = ReserveRule(
    ratio=0.4,
    deployment_months=36,
    source=(
        "Reserves of 40 to 60 % are a practitioners' rule of thumb. Carta 2024: 47 to 60 % of "
        "the commitment called after 24 months."
    ),
)


def _net(figure: str, model: float, published: str) -> CalibrationFigure:
    return CalibrationFigure(figure, model, published, _CAMBRIDGE_TVPI, 2025)


def _dpi(figure: str, model: float, published: str) -> CalibrationFigure:
    return CalibrationFigure(figure, model, published, _CAMBRIDGE_DPI, 2025)


CALIBRATED_TO: Final = (
    _net("net TVPI, 10th percentile", 0.634, "0.61"),
    _net("net TVPI, lower quartile", 1.0, "1.02"),
    _net("net TVPI, median", 1.55, "1.64"),
    _net("net TVPI, upper quartile", 2.54, "2.60"),
    _net("net TVPI, 90th percentile", 4.22, "4.28"),
    _net("net TVPI, mean", 2.26, "2.34"),
    _net("share of funds with net TVPI below 1", 0.249, "0.241"),
    _net("share of funds with net TVPI of 3 and more", 0.189, "0.193"),
    _dpi("median net DPI, year 8", 0.316, "0.23"),
    _dpi("median net DPI, year 10", 0.656, "0.59"),
    _dpi("median net DPI, year 12", 1.01, "1.14"),
    _dpi("median net DPI, year 15", 1.38, "1.85"),
    CalibrationFigure(
        "pooled net IRR", 0.106, "about 0.11 to 0.12", f"{_CAMBRIDGE}: pooled horizon return", 2025
    ),
    CalibrationFigure(
        "share of the commitment called after 24 months",
        0.377,
        "0.47 to 0.60",
        "Carta, fund performance, first and second quarter of 2024",
        2024,
    ),
    CalibrationFigure(
        "lifetime fees as a share of the commitment",
        0.174,
        "about 0.18",
        "Metrick and Yasuda, The Economics of Private Equity Funds",
        2010,
    ),
)

KNOWN_LIMITS: Final = (
    "The pooled IRR of the base case is 10.6 %, published about 11 to 12 %.",
    "The median IRR of the base case, 5.8 %, is low against the vintages of a boom.",
    "The median DPI at year 15 is 1.38, published 1.85; that at year 8 is 0.32, published 0.23.",
    "The base case has called 38 % of the commitment after 24 months, published 47 to 60 %.",
    "The numbers were tuned by hand to one set of published figures, without a hold-out.",
    "The published funds were selected by their managers; weak funds are underrepresented.",
    "The odds of a loss by stage rest on a rule of thumb. They are the weakest input.",
    "Vintage, sector and manager are one factor. It does not change over a fund's life.",
    "A fund recycles nothing and has no hurdle, no credit line and no general-partner commitment.",
)

MARKET_V2: Final = MarketProfile(
    name="market-v2",
    source="Calibrated by hand to published net returns of venture funds; see calibrated_to.",
    odds=ODDS,
    factor=FACTOR,
    exits=EXITS,
    graduation=GRADUATION,
    marks=MARKS,
    terms=TERMS,
    reserves=RESERVES,
    calibrated_to=CALIBRATED_TO,
    known_limits=KNOWN_LIMITS,
)

MARKET_PROFILES: Final[Mapping[str, MarketProfile]] = MappingProxyType({MARKET_V2.name: MARKET_V2})
