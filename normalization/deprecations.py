"""How clients learn about deprecated spellings: response headers and `/api/deprecations`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

from django.db.models import Max, Min, Sum
from django.utils.http import http_date

from normalization import conf
from normalization.models import ObservedSpelling, OutcomeTally, StageDecision
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

STATUSES: Final = ("known", "outside", "undecided")
"""The words for a meaning on the wire."""

FOLDING: Final = "/api/stages"
"""Where the folding rule is described: spellings are listed in folded form."""

LINK: Final = '</api/deprecations>; rel="deprecation"; type="application/json"'


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
    since = conf.deprecated_since()
    headers = {"Deprecation": f"@{int(since.timestamp())}", "Link": LINK}
    if rollout.enforce_at is not None:
        headers["Sunset"] = http_date(max(rollout.enforce_at, since).timestamp())
    return headers


def listing(rollout: Rollout, table: SpellingTable, client: str | None) -> dict[str, Any]:
    """Return the deprecated spellings, one entry for each folded spelling, and `client`'s own use.

    Case, separators and surrounding white space do not matter: one entry stands for all spellings
    that fold to it. `outside` lists the spellings decided to be none of the six stages.
    """
    decided = _decided_since()
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
        "endpoints": endpoints(),
        "folding": FOLDING,
        "deprecated": deprecated,
        "outside": outside,
        "your_usage": usage(client, table) if client is not None else [],
    }


def endpoints() -> dict[str, str]:
    """Return label → "METHOD path" of every endpoint with a boundary.

    An endpoint that is seen in traffic only has an empty path.
    """
    seen = OutcomeTally.objects.order_by("endpoint").values_list("endpoint", flat=True).distinct()
    return dict.fromkeys(seen, "") | conf.stage_endpoints()


def usage(client: str, table: SpellingTable) -> list[dict[str, Any]]:
    """Return what `client` sent that was not canonical.

    `stage` is what the spelling meant when it came, or None. `status` is what it is today:
    `known`, `outside` or `undecided`, and `send_instead` is its stage today.
    """
    rows = (
        ObservedSpelling.objects.filter(client=client)
        .values("spelling", "stage", "endpoint")
        .annotate(total=Sum("count"), first=Min("first_seen"), last=Max("last_seen"))
        .order_by("-last", "spelling", "endpoint")[:200]
    )
    return [_use(row, normalize(row["spelling"], table)) for row in rows]


def _use(row: dict[str, Any], today: Meaning) -> dict[str, Any]:
    return {
        "spelling": row["spelling"],
        "stage": row["stage"] or None,
        "status": status_of(today),
        "send_instead": today.stage.value if isinstance(today, Known) else None,
        "suggestions": suggestions_of(today),
        "endpoint": row["endpoint"],
        "count": row["total"],
        "first_seen": row["first"].isoformat(),
        "last_seen": row["last"].isoformat(),
    }


def meaning_on_the_wire(meaning: Meaning) -> dict[str, Any]:
    """Return the members that describe a meaning to a client."""
    known = isinstance(meaning, Known)
    return {
        "status": status_of(meaning),
        "stage": meaning.stage.value if known else None,
        "canonical": known and meaning.canonical,
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


def _decided_since() -> dict[str, datetime]:
    active = StageDecision.objects.filter(superseded_at__isnull=True)
    return dict(active.order_by().values_list("key", "created_at"))
