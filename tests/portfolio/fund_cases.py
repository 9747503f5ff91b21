"""Simulations of funds for the tests: the base case of the research and changes of it."""

from dataclasses import replace
from typing import Any

from normalization.stages import Stage
from stagenorm.portfolio.fund_simulation import FundParameters
from stagenorm.portfolio.market_v2 import MARKET_V2

BASE_MIX = {Stage.SEED: 0.6, Stage.SERIES_A: 0.4}
# Parts of a mix of every stage; a stage that is not listed has one.
_PARTS = {Stage.SEED: 3.0, Stage.SERIES_A: 2.5, Stage.SERIES_B: 1.5}
_WHOLE = sum(_PARTS.get(stage, 1.0) for stage in Stage)
EVERY_STAGE = {stage: _PARTS.get(stage, 1.0) / _WHOLE for stage in Stage}
TERMS = MARKET_V2.terms.terms
BASE = FundParameters(
    runs=50_000,
    horizon_years=15,
    portfolio_size=25,
    seed=20_260_101,
    profile="market-v2",
    stage_mix=BASE_MIX,
    reserve_ratio=0.4,
    deployment_months=36,
    factor_sigma=0.6,
    terms=TERMS,
)


def fund_of(**changes: Any) -> FundParameters:
    """The base case with some members changed."""
    return replace(BASE, **changes)


def free_of_charge(**changes: Any) -> Any:
    """Terms without fees and carry, and with changes."""
    return replace(TERMS, **{"management_fee": 0.0, "carry": 0.0, **changes})
