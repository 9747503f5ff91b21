"""How clients learn that a spelling is deprecated: response headers and the list behind `/api/deprecations`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Max, Min, Q, Sum
from django.utils.http import http_date

from normalization import conf
from normalization.models import ObservedSpelling, OutcomeTally, StageAlias
from normalization.rollout import Mode, Rollout
from normalization.stages import AliasTable, Stage

LINK: Final = '</api/deprecations>; rel="deprecation"; type="application/json"'


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a request's stages were normalized from an alias, and how many were unknown."""

    normalized: int = 0
    unknown: int = 0


def validation_header(mode: Mode, policy_version: int, tally: Tally) -> str:
    """Return `Stage-Validation`, an RFC 9651 Item: the mode applied, the rollout's version, what was not canonical."""
    return (
        f"{mode}; policy={policy_version}; normalized={tally.normalized}; unknown={tally.unknown}"
    )


def deprecation_headers(rollout: Rollout) -> dict[str, str]:
    """Return `Deprecation` (RFC 9745), `Link` and, once an enforce date is announced, `Sunset` (RFC 8594).

    A Sunset before the Deprecation would contradict it (RFC 9745, section 4), so it is never earlier.
    """
    since = conf.deprecated_since()
    headers = {"Deprecation": f"@{int(since.timestamp())}", "Link": LINK}
    if rollout.enforce_at is not None:
        headers["Sunset"] = http_date(max(rollout.enforce_at, since).timestamp())
    return headers


def listing(rollout: Rollout, aliases: AliasTable, client: str | None) -> dict[str, Any]:
    """Return the deprecated spellings, one entry per folded spelling, and what `client` itself sent.

    Case, separators and surrounding white space do not matter, so one entry stands for all spellings that fold to it.
    """
    since = _operator_since()
    spellings = [
        _entry(key, stage, since.get(key, conf.deprecated_since()))
        for key, stage in sorted(aliases.spellings(), key=lambda item: (item[1], item[0]))
        if key != stage.value
    ]
    return {
        "mode": rollout.mode.value,
        "enforce_at": rollout.enforce_at.isoformat() if rollout.enforce_at else None,
        "valid_stages": [stage.value for stage in Stage],
        "endpoints": endpoints(),
        "deprecated": spellings,
        "your_usage": usage(client) if client is not None else [],
    }


def endpoints() -> dict[str, str]:
    """Return label → "METHOD path" of every endpoint with a boundary; one seen only in traffic has an empty path."""
    seen = OutcomeTally.objects.order_by("endpoint").values_list("endpoint", flat=True).distinct()
    return dict.fromkeys(seen, "") | conf.stage_endpoints()


def usage(client: str) -> list[dict[str, Any]]:
    """Return what `client` sent that was not canonical; the stage of an unknown spelling is None."""
    rows = (
        ObservedSpelling.objects.filter(client=client)
        .values("spelling", "stage", "endpoint")
        .annotate(total=Sum("count"), first=Min("first_seen"), last=Max("last_seen"))
        .order_by("-last", "spelling", "endpoint")[:200]
    )
    return [
        {
            "spelling": row["spelling"],
            "stage": row["stage"] or None,
            "endpoint": row["endpoint"],
            "count": row["total"],
            "first_seen": row["first"].isoformat(),
            "last_seen": row["last"].isoformat(),
        }
        for row in rows
    ]


def _entry(key: str, stage: Stage, since: datetime) -> dict[str, Any]:
    return {"spelling": key, "stage": stage.value, "since": since.isoformat()}


def _operator_since() -> dict[str, datetime]:
    active = StageAlias.objects.filter(Q(retired_at__isnull=True))
    return dict(active.values_list("key", "created_at"))
