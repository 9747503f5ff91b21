"""System checks: each misconfiguration is reported at start, with a hint."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS
from django.db import Error as DatabaseFault

from normalization import conf, instance_registry, redis_rights
from normalization.redis_link import RedisUnavailable, client
from normalization.rollout import Mode

DEFAULT_ENFORCES = "normalization.W001"
DEFAULT_UNKNOWN = "normalization.E001"
TTL_OUT_OF_RANGE = "normalization.E002"
EMPTY_SECRET = "normalization.E003"  # noqa: S105 (the name of a check)
REDIS_UNREACHABLE = "normalization.W002"
REDIS_RIGHTS = "normalization.W005"
CLOCK_OFF = "normalization.W004"
CLOCK_LIMIT_SECONDS = 5.0


def check_default_mode(**_: Any) -> list[checks.CheckMessage]:
    """Warn of a default that refuses requests when no store answers; refuse an invalid mode."""
    given = settings.STAGE_VALIDATION_MODE
    if given not in set(Mode):
        hint = f"Set STAGE_VALIDATION_MODE to one of {', '.join(Mode)}."
        return [
            checks.Error(
                f"STAGE_VALIDATION_MODE is {given!r}, not a mode.", hint, id=DEFAULT_UNKNOWN
            )
        ]
    if given == Mode.ENFORCE:
        hint = "Use warn, and let manage.py stage_mode set enforce record the decision."
        text = (
            "STAGE_VALIDATION_MODE is enforce: "
            "while no store answers, a default would refuse requests."
        )
        return [checks.Warning(text, hint, id=DEFAULT_ENFORCES)]
    return []


def check_ttl(**_: Any) -> list[checks.CheckMessage]:
    """Refuse a TTL outside 0.1 to 60 seconds: no caching, or a slow way back."""
    if 0.1 <= settings.STAGE_MODE_TTL_SECONDS <= 60:
        return []
    return [
        checks.Error(
            "STAGE_MODE_TTL_SECONDS is outside 0.1 to 60.",
            "Leave it at 5 unless measured.",
            id=TTL_OUT_OF_RANGE,
        )
    ]


def check_secrets(**_: Any) -> list[checks.CheckMessage]:
    """Refuse to start without the webhook's secrets. Django checks SECRET_KEY."""
    if settings.ALERTMANAGER_WEBHOOK_SECRETS:
        return []
    hint = "Set ALERTMANAGER_WEBHOOK_SECRETS; see docs/configuration.md."
    return [checks.Error("There is no secret for the automatic way back.", hint, id=EMPTY_SECRET)]


def check_redis(**_: Any) -> list[checks.CheckMessage]:
    """Warn of a Redis that does not answer or refuses commands: changes take up to a TTL."""
    if not conf.redis_configured():
        return []
    try:
        missing = redis_rights.missing()
    except RedisUnavailable as error:
        hint = (
            "Check that REDIS_URL is correct and that Redis runs; "
            "until then the database carries the mode."
        )
        return [
            checks.Warning(
                f"The Redis of REDIS_URL does not answer ({_reason(error)}).",
                hint,
                id=REDIS_UNREACHABLE,
            )
        ]
    if not missing:
        return []
    user = client().connection_pool.connection_kwargs.get("username") or "default"
    names = ", ".join(each.command for each in missing)
    text = f"The Redis of REDIS_URL refuses {names}: {redis_rights.losses(missing)}."
    return [checks.Warning(text, redis_rights.remedy(missing, user), id=REDIS_RIGHTS)]


def _reason(error: RedisUnavailable) -> str:
    cause = error.__cause__
    answered = error.reason not in {"TimeoutError", "ConnectionError"}
    return f"{error.reason}: {cause}" if answered and cause else error.reason


def check_clock(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Warn of a clock that is off the database's: from 300 s on the webhook refuses alerts."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        skew = instance_registry.measured_skew()
    except DatabaseFault:  # the database is away
        return []
    if abs(skew) <= CLOCK_LIMIT_SECONDS:
        return []
    text = f"The clock of this host is {skew:+.1f} s off the clock of the database."
    return [checks.Warning(text, "Synchronize the clocks of both hosts (NTP).", id=CLOCK_OFF)]


def register() -> None:
    """Register the checks; called when the app is ready."""
    checks.register(check_clock, checks.Tags.database)
    for check in (check_default_mode, check_ttl, check_secrets, check_redis):
        checks.register(check)
