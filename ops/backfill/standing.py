"""How far a run is, and how long it will take, from what it left in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

from django.utils import timezone

from ops.backfill import lease
from ops.backfill.models import BackfillCheckpoint, BackfillRun, Kind
from ops.backfill.states import State

LEAST_SECONDS: Final = 2.0
"""Of work before a rate is told: the first batches say little."""


@dataclass(frozen=True, slots=True)
class Share:
    """`done` of `total` rows; `about` while the total is the plan's and not yet counted."""

    done: int
    total: int
    about: bool = False

    @property
    def part(self) -> float:
        """From 0 to 1; 1 where a count found nothing to do."""
        if not self.total:
            return 0.0 if self.about else 1.0
        return min(self.done / self.total, 1.0)

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 means done."""
        return int(self.part * 100)


class Standing:
    """A run as it stands. Reads its checkpoints, which the caller has fetched, and asks who holds the run."""

    def __init__(self, run: BackfillRun) -> None:
        self.run = run
        self.checkpoints: Sequence[BackfillCheckpoint] = list(run.checkpoints.all())
        self.changed = sum(each.changed for each in self.checkpoints)

    @cached_property
    def held(self) -> bool:
        """Whether a process has the run. Asked of the database where it can be so at all."""
        return self.run.state in (State.RUNNING, State.PAUSED) and lease.lives(self.run)

    @cached_property
    def columns(self) -> list[tuple[BackfillCheckpoint, Share]]:
        """Each checkpoint with its share."""
        return [(each, self._share(each)) for each in self.checkpoints]

    @cached_property
    def share(self) -> Share:
        """All columns together."""
        shares = [share for _, share in self.columns]
        if self.run.state in (State.COMPLETED, State.UNDONE):
            done = sum(share.done for share in shares)
            return Share(done, done)
        total = sum(share.total for share in shares)
        return Share(
            sum(share.done for share in shares),
            total,
            any(share.about and share.total for share in shares),
        )

    @cached_property
    def unknown(self) -> int:
        """Rows with unknown values: as counted in the columns that were begun, as planned in the others."""
        begun = [each for each in self.checkpoints if each.passes or each.finished]
        planned = (
            self._planned
            if len(begun) < len(self.checkpoints) and self.run.kind == Kind.APPLY
            else {}
        )
        return sum(
            each.unknown if each in begun else planned.get(_name(each), _NONE)[1]
            for each in self.checkpoints
        )

    @cached_property
    def rate(self) -> float | None:
        """Rows looked at in a second of its running, rests and waits included; None before LEAST_SECONDS of it."""
        seconds = _running_seconds(self.run.history, self.run.heartbeat_at or timezone.now())
        return self.share.done / seconds if seconds >= LEAST_SECONDS and self.share.done else None

    @property
    def waiting_for(self) -> str:
        """Why it holds back by itself, which a pause is not."""
        return self.run.waiting_for if self.run.state == State.RUNNING and self.held else ""

    @property
    def seconds_left(self) -> float | None:
        """At that rate; None where nothing can be told: no process at work, or it waits for others."""
        if self.run.state != State.RUNNING or not self.held or self.waiting_for or not self.rate:
            return None
        return (self.share.total - self.share.done) / self.rate

    @cached_property
    def _planned(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(rows to look at, unknown rows) by column, as the plan has them."""
        found = self.run.plan.get("columns", [])
        return {
            (each["table"], each["column"]): (
                each["rows"] if each["to_change"] else 0,
                each["unknown_rows"],
            )
            for each in found
        }

    def _share(self, at: BackfillCheckpoint) -> Share:
        if at.finished:
            return Share(at.scanned, at.scanned)
        if at.passes or self.run.kind == Kind.UNDO:
            return Share(at.scanned, at.total)
        return Share(0, self._planned.get(_name(at), _NONE)[0], about=True)


_NONE: Final = (0, 0)


def _name(at: BackfillCheckpoint) -> tuple[str, str]:
    return at.table_name, at.column_name


def _running_seconds(history: list[dict[str, Any]], until: datetime) -> float:
    moments = [(datetime.fromisoformat(each["at"]), each["state"]) for each in history]
    spans = pairwise([*moments, (until, "")])
    return sum(
        max((end - at).total_seconds(), 0.0)
        for (at, state), (end, _) in spans
        if state == State.RUNNING
    )
