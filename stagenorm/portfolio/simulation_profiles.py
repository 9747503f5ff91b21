"""The return profiles as JSON: every number, what it is calibrated to, and its known limits."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final

from rest_framework import serializers

from normalization.stages import Stage
from stagenorm.portfolio.market_expectation import (
    expected_multiple,
    graduation_probability,
    price_steps,
)
from stagenorm.portfolio.market_profiles import (
    FAIL_EXPONENT,
    MODEST_RANGE,
    MOST_FOLLOW_ON_CHEQUES,
    STAGES,
    MarketProfile,
)
from stagenorm.portfolio.market_v2 import MARKET_PROFILES, MARKET_V2
from stagenorm.portfolio.return_profiles import (
    BANDS,
    DEFAULT_PROFILE,
    EARLIEST_EXIT_YEARS,
    EXIT_SPREAD_YEARS,
    PROFILES,
    TAIL_INDEX,
    ReturnProfile,
)
from stagenorm.portfolio.simulation_summary import rounded

FIRST_GENERATION_LIMITS: Final = (
    "Companies are independent: 4 % of funds with 25 companies lose money, 24 % of published "
    "funds do.",
    "Everything is invested at time zero, so cash comes back years too early.",
    "There are no fees, no carry and no reserves; every number is gross.",
    "The odds are an assumption set of this project, not fitted to data.",
)


class CalibrationFigureSerializer(serializers.Serializer[Any]):
    """One figure of the base case, beside the published one."""

    figure = serializers.CharField()
    model = serializers.FloatField()
    published = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # a member, not the argument
    year = serializers.IntegerField()


class ProfileSerializer(serializers.Serializer[Any]):
    """A profile. `assumptions` has every number by part, each part with its source."""

    name = serializers.CharField()
    generation = serializers.IntegerField(help_text="1: gross, companies alone. 2: funds, net.")
    source = serializers.CharField()  # type: ignore[assignment]  # a member, not the argument
    assumptions = serializers.DictField(child=serializers.DictField())
    calibrated_to = CalibrationFigureSerializer(many=True)
    known_limits = serializers.ListField(child=serializers.CharField())


class ProfilesSerializer(serializers.Serializer[Any]):
    """All profiles."""

    default = serializers.CharField(help_text="Applies when a request names none.")
    recommended = serializers.CharField(help_text="The profile for new integrations.")
    profiles = ProfileSerializer(many=True)


@lru_cache(maxsize=1)
def profiles_listing() -> dict[str, Any]:
    """Return all profiles, ready for JSON."""
    first = [_first_generation(profile) for profile in PROFILES.values()]
    second = [_second_generation(profile) for profile in MARKET_PROFILES.values()]
    return {
        "default": DEFAULT_PROFILE,
        "recommended": MARKET_V2.name,
        "profiles": [*first, *second],
    }


def _first_generation(profile: ReturnProfile) -> dict[str, Any]:
    bands = [
        {
            "name": band.name,
            "low": band.low,
            "high": band.high,
            "heavy_tailed": band.heavy_tailed,
            "exit_factor": band.exit_factor,
        }
        for band in BANDS
    ]
    odds = {
        stage.value: dict(zip((band.name for band in BANDS), profile.odds[stage], strict=True))
        for stage in STAGES
    }
    return {
        "name": profile.name,
        "generation": 1,
        "source": profile.source,
        "assumptions": {
            "odds": {"by_stage": odds, "source": profile.source},
            "multiples": {"bands": bands, "tail_index": TAIL_INDEX, "source": profile.source},
            "exits": {
                "base_years": _by_stage(profile.base_exit_years),
                "spread_years": EXIT_SPREAD_YEARS,
                "earliest_years": EARLIEST_EXIT_YEARS,
                "source": profile.source,
            },
        },
        "calibrated_to": [],
        "known_limits": list(FIRST_GENERATION_LIMITS),
    }


def _second_generation(profile: MarketProfile) -> dict[str, Any]:
    terms = profile.terms
    return {
        "name": profile.name,
        "generation": 2,
        "source": profile.source,
        "assumptions": {
            "odds": _odds(profile),
            "factor": asdict(profile.factor),
            "exits": {
                "base_years": _by_stage(profile.exits.base_years),
                "band_factors": dict(profile.exits.band_factors),
                "spread": profile.exits.spread,
                "source": profile.exits.source,
            },
            "graduation": _graduation(profile),
            "marks": asdict(profile.marks),
            "terms": {
                **asdict(terms.terms),
                "lifetime_fees": rounded(terms.terms.lifetime_fees()),
                "source": terms.source,
            },
            "reserves": {
                **asdict(profile.reserves),
                "most_follow_on_cheques": MOST_FOLLOW_ON_CHEQUES,
            },
        },
        "calibrated_to": [asdict(figure) for figure in profile.calibrated_to],
        "known_limits": list(profile.known_limits),
    }


def _odds(profile: MarketProfile) -> dict[str, Any]:
    odds = profile.odds
    return {
        "fail": _by_stage(odds.fail),
        "fail_exponent": FAIL_EXPONENT,
        "modest": _by_stage(odds.modest),
        "modest_range": list(MODEST_RANGE),
        "winner": {stage.value: rounded(odds.winner(stage)) for stage in STAGES},
        "tail_index": _by_stage(odds.tail_index),
        "winner_edges": list(odds.winner_edges),
        "expected_multiple": {
            stage.value: rounded(expected_multiple(profile, stage)) for stage in STAGES
        },
        "source": odds.source,
    }


def _graduation(profile: MarketProfile) -> dict[str, Any]:
    graduation = profile.graduation
    return {
        "given_at_least_cost": _by_stage(graduation.given_at_least_cost),
        "given_below_cost": _by_stage(graduation.given_below_cost),
        "months_to_round": _by_stage(graduation.months_to_round),
        "next_stage": {s.value: following.value for s, following in graduation.next_stage.items()},
        "probability": {s.value: rounded(graduation_probability(profile, s)) for s in STAGES},
        "price_of_round": {
            stage.value: rounded(price) for stage, price in price_steps(profile).items()
        },
        "source": graduation.source,
    }


def _by_stage(values: Mapping[Stage, float]) -> dict[str, float]:
    return {stage.value: values[stage] for stage in STAGES}
