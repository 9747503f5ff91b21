"""The app's settings, typed and read lazily from Django's settings."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import log
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from normalization.guard_rule import GuardLimits
from normalization.rollout import Mode


def default_mode() -> Mode:
    """Mode used only while neither Redis, database nor a last-known mode can be had."""
    return Mode(settings.STAGE_VALIDATION_MODE)


def ttl_seconds() -> float:
    """Age in seconds up to which a process serves its snapshot without looking again."""
    return float(settings.STAGE_MODE_TTL_SECONDS)


def deprecated_since() -> datetime:
    """Moment from which non-canonical spellings count as deprecated, midnight UTC."""
    day: date = settings.STAGE_DEPRECATED_SINCE
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def stage_endpoints() -> dict[str, str]:
    """Known endpoints with a stage boundary: label → "METHOD path"."""
    return dict(settings.STAGE_ENDPOINTS)


def redis_configured() -> bool:
    """Whether `REDIS_URL` is set; without it the database alone carries the rollout."""
    return "rollout" in settings.CACHES


def redis_seconds() -> float:
    """Longest time for one exchange with Redis, in seconds, however many steps it takes."""
    return float(settings.STAGE_REDIS_TIMEOUT_MS) / 1000


def production() -> bool:
    """Whether this is a live platform (debug off)."""
    return bool(settings.PRODUCTION)


def gatekeeper() -> Callable[..., Any] | None:
    """Return who is asked before more is enforced: the function that `STAGE_GATEKEEPER` names, or None for nobody."""
    return import_string(settings.STAGE_GATEKEEPER) if settings.STAGE_GATEKEEPER else None


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """How the guard works: `mode` is act, notify or off; `pinned` clients are never held out."""

    mode: str
    limits: GuardLimits
    pinned: frozenset[str]


def guard() -> GuardSettings:
    """Return the guard's settings."""
    odds = settings.STAGE_GUARD_ODDS
    limits = GuardLimits(
        share=settings.STAGE_GUARD_LIMIT_PERCENT / 100,
        client_evidence=log(odds),
        everybody_evidence=log(odds / 100),
        clients=settings.STAGE_GUARD_CLIENTS,
    )
    return GuardSettings(settings.STAGE_GUARD, limits, frozenset(settings.STAGE_GUARD_PINNED))
