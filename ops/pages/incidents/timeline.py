"""The timeline of an incident: from the change that enforced more to the last server that warned.

Each entry is a fact that is recorded. The first refused request has the minute of its tally, or
the second in which a spelling came first; the others have the time of their row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from normalization import instance_registry
from normalization.models import RolloutChange
from normalization.rollout import Mode
from ops.admin_ui.ledgers import spoken
from ops.alerts.models import DeliveryOutcome, WebhookDelivery
from ops.pages.console import mode_in_words
from ops.pages.incidents.counts import RefusedRequests, RefusedSpelling
from ops.pages.incidents.record import Incident, IncidentScope, day
from ops.pages.rollout.changes import effects, percent_text

MINUTE: Final = timedelta(minutes=1)
LATER_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One fact: when, what, a reason that a person or the guard gave, and more in a line.

    `to_minute`: the time is known to the minute only. `tone` and `icon` are those of the mark.
    """

    at: datetime
    tone: str
    icon: str
    what: str
    reason: str = ""
    more: str = ""
    to_minute: bool = False

    @property
    def time(self) -> str:
        """The time of day in UTC."""
        at = self.at.astimezone(UTC)
        return f"{at:%H:%M}" if self.to_minute else f"{at:%H:%M:%S}"

    @property
    def day(self) -> str:
        """The day in UTC."""
        return day(self.at)


@dataclass(frozen=True, slots=True)
class FollowTime:
    """How long the way back took to reach the `processes` that had to follow it."""

    processes: int
    seconds: float | None


def spread_of(found: Incident) -> FollowTime:
    """Return how long the way back took to reach every process. Raises `django.db.Error`."""
    return FollowTime(*instance_registry.followed(found.version, found.at))


def timeline(
    found: Incident,
    refused: RefusedRequests | None,
    spellings: Sequence[RefusedSpelling] | None,
    spread: FollowTime | None,
) -> list[TimelineEntry]:
    """Return the entries, oldest first. A part is None if it could not be read."""
    entries = [
        *_enforced(found),
        *_first_refused(found, refused),
        *_new_spelling(found, spellings or ()),
        *_alert(found),
        *_way_back(found),
        *_spread(found, spread),
        *_later(found),
    ]
    return sorted(entries, key=lambda entry: entry.at)


def _enforced(found: Incident) -> Iterator[TimelineEntry]:
    change = found.enforced
    if change is None:
        return
    rollout = change.rollout()
    what = f"Enforced for {percent_text(rollout.enforce_percent)} % of the clients"
    if rollout.mode is not Mode.ENFORCE:
        what = f"Set to {mode_in_words(rollout)}"
    more = f"Version {change.pk}, by {change.actor}."
    yield TimelineEntry(change.created_at, "info", "enforce", what, change.reason, more)


def _first_refused(found: Incident, refused: RefusedRequests | None) -> Iterator[TimelineEntry]:
    if refused is None or refused.first_minute is None:
        return
    # The minute of a tally begins before the change that enforced more within it.
    begin = found.enforced.created_at if found.enforced else refused.first_minute
    yield TimelineEntry(
        max(refused.first_minute, begin),
        "bad",
        "no",
        "First refused request",
        more=f"{refused.refused:,} of {refused.requests:,} enforced requests were refused.",
        to_minute=True,
    )


def _new_spelling(
    found: Incident, spellings: Sequence[RefusedSpelling]
) -> Iterator[TimelineEntry]:
    new = [each for each in spellings if each.is_new]
    if not new:
        return
    first = min(new, key=lambda each: each.first_seen)
    others = f", the first of {len(new)} new spellings" if len(new) > 1 else ""
    more = f"{first.names} sent “{first.raw}” to {', '.join(first.endpoints)}{others}."
    yield TimelineEntry(
        first.first_seen, "warn", "alert", "First request with a new spelling", more=more
    )


def _alert(found: Incident) -> Iterator[TimelineEntry]:
    began = _fired_at(found)
    if began is not None:
        name = str(found.change.evidence.get("alert", ""))
        yield TimelineEntry(
            began,
            "bad",
            "alert",
            "The alert fired",
            more=f"{name}. {found.summary_of_alert}".strip(),
        )


def _fired_at(found: Incident) -> datetime | None:
    """Return when the alert began to fire, None if that is not known or before enforcement."""
    given = found.change.evidence.get("starts_at")
    if not given or found.enforced is None:
        return None
    began = datetime.fromisoformat(str(given))
    return began if began >= found.enforced.created_at else None


def _way_back(found: Incident) -> Iterator[TimelineEntry]:
    measured = found.measured
    facts = [f"Version {found.version}, by {found.by}."]
    if measured is not None:
        facts.append(measured.sentence)
    elif found.summary_of_alert and _fired_at(found) is None:
        facts.append(found.summary_of_alert)
    if found.change.source == "alert" and _delivered(found.version):
        facts.append("The signature of the delivery was valid.")
    yield TimelineEntry(
        found.at, "good", "undo", _taken_back(found), found.change.reason, " ".join(facts)
    )


def _taken_back(found: Incident) -> str:
    if found.scope is IncidentScope.CLIENT:
        return f"{', '.join(found.clients)} held out"
    if found.scope is IncidentScope.ENDPOINT:
        return f"{found.endpoint} only warns"
    return "Back to warn for every client"


def _delivered(version: int) -> bool:
    return WebhookDelivery.objects.filter(
        version=version, outcome=DeliveryOutcome.DOWNGRADED
    ).exists()


def _spread(found: Incident, spread: FollowTime | None) -> Iterator[TimelineEntry]:
    if spread is None or spread.seconds is None:
        return
    processes = "1 server process" if spread.processes == 1 else f"{spread.processes} processes"
    every = processes if spread.processes == 1 else f"All {processes}"
    word = "follows" if spread.processes == 1 else "follow"
    yield TimelineEntry(
        found.at + timedelta(seconds=spread.seconds),
        "good",
        "check",
        f"{every} {word} the change",
        more=f"{spoken(spread.seconds)} after it was recorded, by their own reports.",
    )


def _later(found: Incident) -> Iterator[TimelineEntry]:
    """Yield the first changes after the way back."""
    before = found.after
    later = RolloutChange.objects.filter(pk__gt=found.version).order_by("id")
    for change in later[:LATER_LISTED]:
        rollout = change.rollout()
        differences = " ".join(effects(before, rollout, [], []).differences)
        words = mode_in_words(before), mode_in_words(rollout)
        what = f"{words[0]} → {words[1]}" if words[0] != words[1] else differences
        more = f"Version {change.pk}, by {change.actor}."
        yield TimelineEntry(
            change.created_at, "info", "dot", what or "No difference", change.reason, more
        )
        before = rollout
