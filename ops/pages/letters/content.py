"""What a letter holds: the spellings of one client, what to send instead, and the dates.

The figures are those of the last seven days and of today's decisions, so a letter that is read
later shows what is left to do. Nothing of another client is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from normalization import conf, decision_store
from normalization.deprecations import suggestions_of
from normalization.rollout import Rollout
from normalization.stages import Known, Meaning, Outside, Stage, normalize
from ops.admin_ui.characters import Visible, visible
from ops.pages.clients import counts, spellings
from ops.pages.clients.counts import ClientRequests
from ops.pages.clients.enforcement import EnforcementStatus, enforcement_of
from ops.pages.clients.spellings import SentSpelling
from ops.pages.periods import WEEK

DAYS: Final = 7
DEPRECATED_NAMED: Final = 3


class Refusal(StrEnum):
    """When the client's requests are refused: now, from a date, some day, or not (held out)."""

    NOW = "now"
    ANNOUNCED = "announced"
    LATER = "later"
    HELD_OUT = "held out"


@dataclass(frozen=True, slots=True)
class LetterSpelling:
    """A spelling that the client sent in DAYS days, and what it means today."""

    raw: str
    shown: Visible
    times: int
    first_seen: datetime
    last_seen: datetime
    endpoints: tuple[str, ...]
    meaning: Meaning

    @property
    def must_change(self) -> bool:
        """Whether enforcement refuses it."""
        return not isinstance(self.meaning, Known)

    @property
    def send_instead(self) -> str:
        """What to send in its place."""
        if isinstance(self.meaning, Known):
            return self.meaning.stage.value
        if isinstance(self.meaning, Outside):
            return "no stage: it is outside the six stages"
        return " or ".join(suggestions_of(self.meaning)) or "one of the six stages"

    @property
    def note(self) -> str:
        """The public note of the decision that it is outside, "" without one."""
        return self.meaning.note if isinstance(self.meaning, Outside) else ""


@dataclass(frozen=True, slots=True)
class Letter:
    """The letter to the owner of one client.

    `sent` is None if the requests could not be counted. `more`: further spellings that are not
    listed. `paths` has the request of each endpoint, as `POST /api/portfolio/strategies`.
    """

    client: str
    at: datetime
    refusal: Refusal
    rollout: Rollout
    sunset: datetime | None
    sent: ClientRequests | None
    spellings: Sequence[LetterSpelling]
    more: int
    paths: Mapping[str, str]

    @property
    def changes(self) -> list[LetterSpelling]:
        """The spellings that enforcement refuses, the most frequent first."""
        return [each for each in self.spellings if each.must_change]

    @property
    def deprecated(self) -> list[LetterSpelling]:
        """The outdated spellings, which stay accepted."""
        return [each for each in self.spellings if not each.must_change]

    @property
    def since(self) -> datetime | None:
        """When the first of the spellings to change came first."""
        return min((each.first_seen for each in self.changes), default=None)

    @property
    def places(self) -> list[str]:
        """The requests that sent a spelling to change."""
        names = sorted({name for each in self.changes for name in each.endpoints})
        return [self.paths.get(name) or name for name in names]

    @property
    def stages(self) -> list[str]:
        """The six stages."""
        return [stage.value for stage in Stage]


def read_letter(client: str, rollout: Rollout, now: datetime) -> Letter:
    """Return the letter to the client's owner. Raises `django.db.Error`."""
    found = spellings.spellings_of(client, WEEK, now)
    return Letter(
        client=client,
        at=now,
        refusal=_refusal(rollout, client, now),
        rollout=rollout,
        sunset=_sunset(rollout),
        sent=counts.requests_of(client, WEEK, now),
        spellings=_merged([*found.unknown, *found.deprecated]),
        more=found.more,
        paths=conf.stage_endpoints(),
    )


def _refusal(rollout: Rollout, client: str, now: datetime) -> Refusal:
    enforcement = enforcement_of(rollout, client, conf.stage_endpoints())
    if enforcement.now:
        return Refusal.NOW
    if enforcement.status is EnforcementStatus.NEVER:
        return Refusal.HELD_OUT
    if rollout.enforce_at is not None and rollout.enforce_at > now:
        return Refusal.ANNOUNCED
    return Refusal.LATER


def _sunset(rollout: Rollout) -> datetime | None:
    """Return the date that the header `Sunset` has."""
    if rollout.enforce_at is None:
        return None
    return max(rollout.enforce_at, conf.deprecated_since()).astimezone(UTC)


def _merged(sent: Iterable[SentSpelling]) -> list[LetterSpelling]:
    """Return one row a spelling: before and after a decision it has two."""
    rows: dict[str, list[SentSpelling]] = {}
    for each in sent:
        rows.setdefault(each.raw, []).append(each)
    table = decision_store.current()
    found = [
        LetterSpelling(
            raw=raw,
            shown=visible(raw),
            times=sum(each.times for each in same),
            first_seen=min(each.first_seen for each in same),
            last_seen=max(each.last_seen for each in same),
            endpoints=tuple(sorted({name for each in same for name in each.places})),
            meaning=normalize(raw, table),
        )
        for raw, same in rows.items()
    ]
    return sorted(found, key=lambda each: (not each.must_change, -each.times, each.raw))
