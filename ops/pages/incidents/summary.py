"""An incident for other places: a text for the chat, and JSON for a program or an archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.admin_ui.ledgers import spoken
from ops.pages.console import public_address
from ops.pages.incidents.advice import NextAction, Safety
from ops.pages.incidents.counts import (
    IncidentClient,
    IncidentPeriod,
    RefusedRequests,
    RefusedSpelling,
)
from ops.pages.incidents.record import Incident, day
from ops.pages.incidents.timeline import FollowTime, TimelineEntry
from ops.pages.rollout.changes import first_names

NAMED = 5


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """Everything that is known of an incident. A part that could not be read is None."""

    incident: Incident
    refused: RefusedRequests | None
    spellings: Sequence[RefusedSpelling] | None
    spread: FollowTime | None
    entries: Sequence[TimelineEntry]
    safety: Safety
    actions: Sequence[NextAction]

    @property
    def text(self) -> str:
        """The summary for a chat: what happened, who was hurt, now, next."""
        paragraphs = [self._what(), self._hurt(), self._now()]
        paragraphs.append(public_address(self.incident.url))
        return "\n".join(filter(None, paragraphs))

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form: the facts with their figures, without advice."""
        found, period = self.incident, IncidentPeriod.of(self.incident)
        return {
            "version": found.version,
            "at": _utc(found.at),
            "scope": found.scope.value,
            "source": found.change.source,
            "what": found.what,
            "reason": found.change.reason,
            "evidence": found.change.evidence,
            "clients": list(found.clients),
            "endpoint": found.endpoint,
            "rollout_before": found.before.to_wire() if found.before else None,
            "rollout_after": found.after.to_wire(),
            "enforced_by_version": found.enforced.pk if found.enforced else None,
            "enforced_again_by_version": found.again.pk if found.again else None,
            "period": {"begin": _utc(period.begin), "end": _utc(period.end)},
            "spread": _spread_wire(self.spread),
            "refused": _refused_wire(self.refused),
            "spellings": None if self.spellings is None else list(map(_spelling, self.spellings)),
            "timeline": list(map(_entry, self.entries)),
        }

    def _what(self) -> str:
        found = self.incident
        at = found.at.astimezone(UTC)
        figures = found.measured.sentence if found.measured else found.summary_of_alert
        parts = [f"Stage validation, {day(at)}, {at:%H:%M:%S} UTC: {found.what} by {found.by}."]
        parts += filter(None, [figures, *self._followed()])
        return " ".join(parts)

    def _followed(self) -> Iterator[str]:
        if self.spread is not None and self.spread.seconds is not None:
            yield f"Every server followed within {spoken(self.spread.seconds)}."

    def _hurt(self) -> str:
        if self.refused is None or not self.refused.refused:
            return ""
        requests = (
            "1 request" if self.refused.refused == 1 else f"{self.refused.refused:,} requests"
        )
        names = [f"{each.client} ({each.refused:,})" for each in self.refused.listed[:NAMED]]
        more = self.refused.hurt - len(names)
        others = f" and {more} more" if more > 0 else ""
        words = [f"“{each.raw}”" for each in self.spellings or ()]
        sent = f" Spellings: {first_names(words, NAMED)}." if words else ""
        return f"Refused: {requests} of {', '.join(names)}{others}. Nothing was stored.{sent}"

    def _now(self) -> str:
        steps = f" Next: {self.actions[0].title}." if self.actions else ""
        return f"{self.safety.title}.{steps}"


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _spread_wire(spread: FollowTime | None) -> dict[str, Any] | None:
    if spread is None or spread.seconds is None:
        return None
    return {"processes": spread.processes, "seconds": round(spread.seconds, 3)}


def _refused_wire(refused: RefusedRequests | None) -> dict[str, Any] | None:
    if refused is None:
        return None
    return {
        "requests": refused.refused,
        "of_enforced_requests": refused.requests,
        "clients": refused.hurt,
        "of_enforced_clients": refused.clients,
        "counted": refused.counted,
        "by_client": list(map(_client, refused.listed)),
    }


def _client(hurt: IncidentClient) -> dict[str, Any]:
    return {
        "client": hurt.client,
        "refused": hurt.refused,
        "of_enforced_requests": hurt.requests,
        "endpoints": list(hurt.endpoints),
        "held_out": hurt.held_out,
        "warned_since": hurt.warned,
    }


def _spelling(sent: RefusedSpelling) -> dict[str, Any]:
    return {
        "spelling": sent.raw,
        "times_that_day": sent.times,
        "clients": list(sent.clients),
        "endpoints": list(sent.endpoints),
        "first_seen": _utc(sent.first_seen),
        "new": sent.is_new,
        "today": sent.status,
    }


def _entry(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "at": _utc(entry.at),
        "to_minute": entry.to_minute,
        "what": entry.what,
        "reason": entry.reason,
        "more": entry.more,
    }
