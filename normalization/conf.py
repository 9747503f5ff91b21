"""The app's settings, with types. Each function reads Django's settings at the call."""

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
    """Return the mode that applies while no store answers and no last-known mode exists."""
    return Mode(settings.STAGE_VALIDATION_MODE)


def ttl_seconds() -> float:
    """Return the maximum age of a snapshot in seconds."""
    return float(settings.STAGE_MODE_TTL_SECONDS)


def deprecated_since() -> datetime:
    """Return the time from which non-canonical spellings are deprecated, midnight UTC."""
    day: date = settings.STAGE_DEPRECATED_SINCE
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def stage_endpoints() -> dict[str, str]:
    """Return the endpoints that check stages: label → "METHOD path"."""
    return dict(settings.STAGE_ENDPOINTS)


def redis_configured() -> bool:
    """Return whether `REDIS_URL` is set; without it only the database carries the rollout."""
    return "rollout" in settings.CACHES


def shared_store() -> str:
    """Return what carries the rollout to this process: "database", or the digest of its Redis.

    Two processes with the same digest have the same host, port and database in `REDIS_URL`.
    """
    if not redis_configured():
        return "database"
    from stagenorm import redis_url  # commands without Redis do not load its client

    return redis_url.digest(settings.CACHES["rollout"])


def expected_instances() -> int:
    """Return how many serving processes must report; 0: as many as there are."""
    return int(settings.EXPECTED_INSTANCES)


def redis_seconds() -> float:
    """Return the time limit in seconds for one call to Redis, all its steps included."""
    return float(settings.STAGE_REDIS_TIMEOUT_MS) / 1000


def public_url() -> str:
    """Return the address of the service as operators reach it, without a slash at its end."""
    return str(settings.STAGE_PUBLIC_URL).rstrip("/")


def production() -> bool:
    """Return whether this is a live platform (debug off)."""
    return bool(settings.PRODUCTION)


def gatekeeper() -> Callable[..., Any] | None:
    """Return the function named by `STAGE_GATEKEEPER`, which runs the gates; None without it."""
    return import_string(settings.STAGE_GATEKEEPER) if settings.STAGE_GATEKEEPER else None


def decision_gatekeeper() -> Callable[..., Any] | None:
    """Return the function named by `STAGE_DECISION_GATEKEEPER`, or None without it.

    It judges a change of decisions: (rollout, table before, table after) → verdicts.
    """
    name = settings.STAGE_DECISION_GATEKEEPER
    return import_string(name) if name else None


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
