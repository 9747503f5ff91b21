"""Examples of parameters, headers, bodies and answers for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from normalization import folding
from normalization.stages_views import LABELS
from stagenorm.portfolio.simulation_examples import ANSWER_EXAMPLE
from stagenorm.portfolio.simulation_profiles import profiles_listing

JSON: Final = "application/json"
SIMULATION: Final = "7d2f6a52-5e0b-4cf4-9d0b-6c6c3a1d7a10"
MOMENT: Final = "2026-11-27T02:00:00Z"

# Name → what it is, where the operation does not describe it, and an example.
PARAMETERS: Final[Mapping[str, tuple[str, Any]]] = {
    "If-None-Match": ("The `ETag` of an earlier answer: 304 if nothing changed.", 'W/"1f0c-17"'),
    "Idempotency-Key": ("", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
    "Prefer": ("", "handling=dry-run"),
    "cursor": ("", "WzUwLDUwXQ.dGhpcyBpcyBhbiBleGFtcGxl"),
    "fields": ("", ["id", "stage", "updated_at"]),
    "fund_id": ("The number of the fund.", 1),
    "limit": ("The most entries of a page.", 50),
    "q": ("", "robotics"),
    "sector": ("", "Robotics"),
    "simulation_id": ("The `simulation_id` of an answer.", SIMULATION),
    "sort": ("", "-created_at"),
    "stage": ("", "Series A"),
    "stage_status": ("", "undecided"),
    "status": ("", "active"),
    "strategy_id": ("The `id` of the strategy.", 1),
    "updated_since": ("", MOMENT),
}

HEADERS: Final[Mapping[str, str]] = {
    "Deprecation": "@1767225600",
    "ETag": 'W/"1f0c-17"',
    "Idempotency-Replayed": "true",
    "Link": '</api/deprecations>; rel="deprecation"; type="application/json"',
    "Location": "/api/portfolio/strategies/1",
    "Preference-Applied": "handling=dry-run",
    "Retry-After": "12",
    "Stage-Validation": "warn; policy=17; normalized=2; unknown=1",
    "Sunset": "Thu, 31 Dec 2026 23:59:59 GMT",
}

_NEW: Final[dict[str, Any]] = {
    "fund_id": 1,
    "name": "first",
    "stage_allocation": {"Seed Funding Round": 0.5, "SERIES_A": 0.5},
}
BODIES: Final[Mapping[str, Any]] = {
    "create_strategy": _NEW,
    "change_strategy": {"name": "second"},
}

_STRATEGY: Final[dict[str, Any]] = {
    "id": 1,
    "fund_id": 1,
    "name": "first",
    "description": "",
    "model_type": "balanced",
    "target_portfolio_size": 25,
    "max_portfolio_size": 30,
    "deployment_months": 36,
    "sector_allocation": {},
    "reserve_ratio": 0.5,
    "risk_tolerance": "moderate",
    "target_irr": None,
    "target_multiple": None,
    "tags": [],
    "check_size": {"min": None, "target": None, "max": None},
    "stage_allocation": {"seed": 0.5, "series-a": 0.5},
    "stages": [
        {"spelling": "Seed Funding Round", "stage": "seed", "weight": 0.5},
        {"spelling": "SERIES_A", "stage": "series-a", "weight": 0.5},
    ],
    "created_at": MOMENT,
    "updated_at": MOMENT,
}
_DRY_RUN: Final[dict[str, Any]] = {"accepted": True, "warnings": []}
_SIMULATION: Final[dict[str, Any]] = {**ANSWER_EXAMPLE, "simulation_id": SIMULATION}
_LISTED: Final = (
    "profile",
    "engine",
    "seed",
    "parameters_hash",
    "parameters",
    "stage_mix",
    "tvpi",
    "irr",
    "probabilities",
)
_ROW: Final[dict[str, Any]] = {
    "simulation_id": SIMULATION,
    "created_at": MOMENT,
    "client": "dashboard",
    **{name: ANSWER_EXAMPLE[name] for name in _LISTED},
}
_DEPRECATIONS: Final[dict[str, Any]] = {
    "mode": "warn",
    "enforce_at": "2026-12-31T23:59:59+00:00",
    "valid_stages": [stage.value for stage in LABELS],
    "endpoints": {"portfolio-strategies": "POST /api/portfolio/strategies"},
    "folding": "/api/stages",
    "deprecated": [{"spelling": "series a round", "stage": "series-a", "since": MOMENT}],
    "outside": [
        {"spelling": "grant", "kind": "grant", "note": "Not an equity round.", "since": MOMENT}
    ],
    "your_usage": [
        {
            "spelling": "Seires A",
            "stage": None,
            "status": "undecided",
            "send_instead": None,
            "suggestions": ["series-a"],
            "endpoint": "portfolio-strategies",
            "count": 3,
            "first_seen": MOMENT,
            "last_seen": MOMENT,
        }
    ],
}
_STAGES: Final[dict[str, Any]] = {
    "stages": [
        {"stage": stage.value, "label": label, "position": stage.position}
        for stage, label in LABELS.items()
    ],
    "folding": folding.describe(),
    "decisions_version": 17,
}
_COMPANY: Final[dict[str, Any]] = {
    "id": 1,
    "name": "Fernhollow Robotics",
    "stage": "series-a",
    "stage_raw": "SERIES_A",
    "stage_status": "known",
    "status": "active",
    "sector": "Robotics",
    "invested_usd": "1250000.50",
    "invested_at": "2021-03-04",
    "created_at": MOMENT,
    "updated_at": MOMENT,
}
_FUND: Final[dict[str, Any]] = {
    "id": 1,
    "name": "Alder Ventures I",
    "size_usd": "100000000.00",
    "vintage_year": 2021,
    "created_at": MOMENT,
}

# (operation, status, content type) → answer
ANSWERS: Final[Mapping[tuple[str, str, str], Any]] = {
    ("deprecations", "200", JSON): _DEPRECATIONS,
    ("deprecations", "200", "text/html"): "<!doctype html><title>Deprecated spellings</title>",
    ("list_stages", "200", JSON): _STAGES,
    ("list_funds", "200", JSON): {"funds": [_FUND], "next_cursor": None},
    ("list_fund_companies", "200", JSON): {"companies": [_COMPANY], "next_cursor": None},
    ("list_profiles", "200", JSON): profiles_listing(),
    ("simulate", "202", JSON): _DRY_RUN,
    ("get_simulation", "200", JSON): _SIMULATION,
    ("list_strategies", "200", JSON): {"strategies": [_STRATEGY], "next_cursor": None},
    ("create_strategy", "201", JSON): _STRATEGY,
    ("create_strategy", "202", JSON): _DRY_RUN,
    ("get_strategy", "200", JSON): _STRATEGY,
    ("change_strategy", "200", JSON): {**_STRATEGY, "name": "second"},
    ("change_strategy", "202", JSON): _DRY_RUN,
    ("list_simulations_of_strategy", "200", JSON): {"simulations": [_ROW], "next_cursor": None},
}
