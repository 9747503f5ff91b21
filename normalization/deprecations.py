"""How clients learn about deprecated spellings: response headers and `/api/deprecations`.

Anyone may ask for the listing, without a key. It is the same for every caller, so each process
builds it once for each version of the rollout and the decisions, with its JSON and its entity tag.
Only a caller with a key causes a query: for its own use.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final, assert_never

from django.db import connection
from django.db.models import Q
from django.urls import get_script_prefix
from django.utils.http import http_date

from normalization import conf
from normalization.models import StageDecision
from normalization.rollout import Mode, Rollout
from normalization.stages import (
    Known,
    Meaning,
    Outside,
    SpellingTable,
    Stage,
    Unknown,
    normalize,
)

STAGE_STATUSES: Final = ("known", "outside", "undecided")
"""The words of `status_of`."""


@cache
def link() -> str:
    """Return `Link`: where deprecated spellings are listed."""
    return f'<{get_script_prefix()}api/deprecations>; rel="deprecation"; type="application/json"'


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of a request's stages were normalized from an alias, unknown or outside."""

    normalized: int = 0
    unknown: int = 0
    outside: int = 0

    @property
    def deprecated(self) -> bool:
        """Whether any of the stages was not canonical."""
        return bool(self.normalized or self.unknown or self.outside)


def validation_header(mode: Mode, policy_version: int, tally: Tally) -> str:
    """Return `Stage-Validation`, an RFC 9651 Item.

    It has the mode applied, the rollout's version and the counts of what was not canonical.
    `outside` is present only where it is not 0.
    """
    counts = f"normalized={tally.normalized}; unknown={tally.unknown}"
    if tally.outside:
        counts += f"; outside={tally.outside}"
    return f"{mode}; policy={policy_version}; {counts}"


def deprecation_headers(rollout: Rollout) -> dict[str, str]:
    """Return `Deprecation` (RFC 9745), `Link` and, once an enforce date is announced, `Sunset`
    (RFC 8594).

    The Sunset is never before the Deprecation, which it would contradict (RFC 9745, section 4).
    """
    headers = {"Deprecation": _deprecation(conf.deprecated_since()), "Link": link()}
    if rollout.enforce_at is not None:
        headers["Sunset"] = _sunset(rollout.enforce_at, conf.deprecated_since())
    return headers


@lru_cache(1)
def _deprecation(since: datetime) -> str:
    return f"@{int(since.timestamp())}"


@lru_cache(1)
def _sunset(enforce_at: datetime, since: datetime) -> str:
    return http_date(max(enforce_at, since).timestamp())


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer for callers without a key, under one rollout and one table.

    `rendered` is `body` as JSON, and `etag` its entity tag.
    """

    rollout: Rollout
    table: SpellingTable
    body: dict[str, Any]
    etag: str
    rendered: bytes

    def holds(self, rollout: Rollout, table: SpellingTable) -> bool:
        """Return whether the listing is the one of this rollout and table."""
        return self.table is table and self.rollout == rollout


_held: Listing | None = None


def listing(rollout: Rollout, table: SpellingTable) -> Listing:
    """Return the deprecated spellings, one entry for each folded spelling.

    Case, separators and surrounding white space do not matter: one entry stands for all spellings
    that fold to it. `outside` lists the spellings decided to be none of the six stages.
    Reads the decisions from the database once for each table; otherwise does no I/O.
    """
    global _held  # noqa: PLW0603 (threads may at worst build the same listing twice)
    from rest_framework.renderers import JSONRenderer  # commands need no renderer

    held = _held
    if held is None or not held.holds(rollout, table):
        body = _body(rollout, table)
        rendered = JSONRenderer().render(body)
        _held = held = Listing(rollout, table, body, weak_etag(body), rendered)
    return held


def forget() -> None:
    """Drop the listing, as in a process that has just started."""
    global _held  # noqa: PLW0603
    _held = None


def weak_etag(body: dict[str, Any]) -> str:
    """Return the entity tag of a JSON answer."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=True)
    return f'W/"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _body(rollout: Rollout, table: SpellingTable) -> dict[str, Any]:
    decided = _decided_since(table.version)
    since = conf.deprecated_since()
    deprecated = [
        {"spelling": key, "stage": stage.value, "since": decided.get(key, since).isoformat()}
        for key, stage in sorted(table.spellings(), key=lambda item: (item[1], item[0]))
        if key != stage.value
    ]
    outside = [
        {
            "spelling": key,
            "kind": entry.kind,
            "note": entry.note,
            "since": decided.get(key, since).isoformat(),
        }
        for key, entry in sorted(table.outside(), key=lambda item: item[0])
    ]
    return {
        "mode": rollout.mode.value,
        "enforce_at": rollout.enforce_at.isoformat() if rollout.enforce_at else None,
        "valid_stages": [stage.value for stage in Stage],
        "endpoints": conf.stage_endpoints(),
        "folding": f"{get_script_prefix()}api/stages",  # spellings are listed in folded form
        "deprecated": deprecated,
        "outside": outside,
        "your_usage": [],
    }


def _decided_since(version: int) -> dict[str, datetime]:
    """Return key → time of its decision, as of a version of the decisions.

    The database may hold a later version than the table of this process.
    """
    if not version:
        return {}
    in_force = Q(superseded_by__isnull=True) | Q(superseded_by__gt=version)
    decided = StageDecision.objects.filter(in_force, batch__lte=version)
    return dict(decided.order_by().values_list("key", "created_at"))


# The inner query reads the newest rows by the index on client and last_seen. Its limit bounds the
# time for a client that sends many spellings for years; `count` and `first_seen` are of its rows.
USAGE: Final = """
SELECT spelling, stage, endpoint, sum(count)::bigint, min(first_seen), max(last_seen)
  FROM (SELECT spelling, stage, endpoint, count, first_seen, last_seen
          FROM normalization_observedspelling
         WHERE client = %(client)s
         ORDER BY last_seen DESC
         LIMIT %(rows)s) AS newest
 GROUP BY spelling, stage, endpoint
 ORDER BY max(last_seen) DESC, spelling, endpoint
 LIMIT %(listed)s
"""
USAGE_ROWS: Final = 20_000
USAGE_LISTED: Final = 200


def usage(client: str, table: SpellingTable) -> list[dict[str, Any]]:
    """Return what `client` sent that was not canonical, the latest first.

    `stage` is what the spelling meant when it came, or None. `status` is what it is today:
    `known`, `outside` or `undecided`, and `send_instead` is its stage today.
    """
    with connection.cursor() as cursor:
        cursor.execute(USAGE, {"client": client, "rows": USAGE_ROWS, "listed": USAGE_LISTED})
        rows = cursor.fetchall()
    return [
        {
            "spelling": spelling,
            "stage": stage or None,
            **_today(normalize(spelling, table)),
            "endpoint": endpoint,
            "count": count,
            "first_seen": first.isoformat(),
            "last_seen": last.isoformat(),
        }
        for spelling, stage, endpoint, count, first, last in rows
    ]


def _today(meaning: Meaning) -> dict[str, Any]:
    return {
        "status": status_of(meaning),
        "send_instead": meaning.stage.value if isinstance(meaning, Known) else None,
        "suggestions": suggestions_of(meaning),
    }


def meaning_on_the_wire(meaning: Meaning) -> dict[str, Any]:
    """Return the members that describe a meaning to a client."""
    return {
        "status": status_of(meaning),
        "stage": meaning.stage.value if isinstance(meaning, Known) else None,
        "canonical": isinstance(meaning, Known) and meaning.canonical,
        "suggestions": suggestions_of(meaning),
        "note": meaning.note if isinstance(meaning, Outside) else "",
    }


def suggestions_of(meaning: Meaning) -> list[str]:
    """Return what an undecided text may have meant, best first; an empty list for the others."""
    return [stage.value for stage in meaning.suggestions] if isinstance(meaning, Unknown) else []


def status_of(meaning: Meaning) -> str:
    """Return the word for a meaning on the wire: `known`, `outside` or `undecided`."""
    match meaning:
        case Known():
            return "known"
        case Outside():
            return "outside"
        case Unknown():
            return "undecided"
        case _:
            assert_never(meaning)
