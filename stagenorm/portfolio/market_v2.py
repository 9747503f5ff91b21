"""The profile `market-v2`: what is assumed of a venture fund, with the source of each part.

Calibrated by hand to published net returns of funds (`calibrated_to`). docs/simulation.md describes the
model; `manage.py calibrate_simulation` recomputes its figures.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from normalization.stages import Stage
from stagenorm.portfolio.market_profiles import (
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

MARKET_V2: Final = MarketProfile(
    name="market-v2",
    source="Calibrated by hand to published net returns of venture funds; see calibrated_to.",
    odds=ReturnOdds(
        fail=by_stage(0.67, 0.61, 0.51, 0.40, 0.33, 0.28),
        modest=by_stage(0.09, 0.14, 0.235, 0.35, 0.46, 0.54),
        tail_index=by_stage(1.25, 1.25, 1.35, 1.55, 1.75, 1.95),
        winner_edges=(3.0, 10.0, 50.0, 1000.0),
        source="",
    ),
    factor=VintageFactor(sigma=0.60, source=""),
    exits=ExitTiming(
        base_years=by_stage(10.0, 9.2, 8.0, 6.8, 5.6, 4.8),
        band_factors=MappingProxyType(
            {"fail": 0.6, "modest": 0.92, "good": 1.0, "home_run": 1.2, "unicorn": 1.35}
        ),
        spread=0.5,
        source="",
    ),
    graduation=Graduation(
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
        source="",
    ),
    marks=MarkRule(rule="", source=""),
    terms=SourcedTerms(FundTerms(0.02, 5, 0.9, 10, 0.20), source=""),
    reserves=ReserveRule(ratio=0.4, deployment_months=36, source=""),
    calibrated_to=(),
    known_limits=(),
)

MARKET_PROFILES: Final[Mapping[str, MarketProfile]] = MappingProxyType({MARKET_V2.name: MARKET_V2})
