"""How far a run is and how long it will take, computed from its rows in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

from django.utils import timezone

from ops.backfill import lease
from ops.backfill.models import BackfillCheckpoint, BackfillRun, RunKind
from ops.backfill.states import RunState

# The work before a rate is shown: the first batches are not representative.
LEAST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class RunShare:
    """`done` of `total` rows; `about` while the total comes from the plan, before the count."""

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


class RunProgress:
    """The progress of a run, from its checkpoints (which the caller prefetches) and its plan."""

    def __init__(self, run: BackfillRun) -> None:
        self.run = run
        self.checkpoints: Sequence[BackfillCheckpoint] = list(run.checkpoints.all())
        self.changed = sum(each.changed for each in self.checkpoints)

    @cached_property
    def alive(self) -> bool:
        """Whether a process holds the run now."""
        return lease.is_alive(self.run)

    @cached_property
    def columns(self) -> list[tuple[BackfillCheckpoint, RunShare]]:
        """Each checkpoint with its share."""
        return [(each, self._share(each)) for each in self.checkpoints]

    @cached_property
    def share(self) -> RunShare:
        """All columns together."""
        shares = [share for _, share in self.columns]
        if self.run.state in (RunState.COMPLETED, RunState.UNDONE):
            done = sum(share.done for share in shares)
            return RunShare(done, done)
        total = sum(share.total for share in shares)
        return RunShare(
            sum(share.done for share in shares),
            total,
            any(share.about and share.total for share in shares),
        )

    @cached_property
    def unknown(self) -> int:
        """Rows with unknown values: counted where a column was begun, else as planned."""
        return sum(self._unknown_of(each) for each in self.checkpoints)

    @cached_property
    def rate(self) -> float | None:
        """Rows a second in state running, with rests and waits; None at the beginning."""
        seconds = _running_seconds(self.run.history, self.run.heartbeat_at or timezone.now())
        if seconds < LEAST_SECONDS or not self.share.done:
            return None
        return self.share.done / seconds

    @property
    def waiting_for(self) -> str:
        """Why the running process waits; "" while it works, is paused or is gone."""
        return self.run.waiting_for if self.run.state == RunState.RUNNING and self.alive else ""

    @property
    def seconds_left(self) -> float | None:
        """The time left at that rate; None while the run does not work or has no rate yet."""
        works = self.run.state == RunState.RUNNING and self.alive and not self.waiting_for
        if not works or not self.rate:
            return None
        return (self.share.total - self.share.done) / self.rate

    @cached_property
    def _planned(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(rows to look at, unknown rows) by column, from the plan."""
        found = self.run.plan.get("columns", [])
        return {
            (each["table"], each["column"]): (
                each["rows"] if each["to_change"] else 0,
                each["unknown_rows"],
            )
            for each in found
        }

    def _share(self, at: BackfillCheckpoint) -> RunShare:
        if at.finished:
            return RunShare(at.scanned, at.scanned)
        if at.passes or self.run.kind == RunKind.UNDO:
            return RunShare(at.scanned, at.total)
        return RunShare(0, self._planned.get(_name(at), _NONE)[0], about=True)

    def _unknown_of(self, at: BackfillCheckpoint) -> int:
        if at.passes or at.finished or self.run.kind == RunKind.UNDO:
            return at.unknown
        return self._planned.get(_name(at), _NONE)[1]


_NONE: Final = (0, 0)


def _name(at: BackfillCheckpoint) -> tuple[str, str]:
    return at.table_name, at.column_name


def _running_seconds(history: list[dict[str, Any]], until: datetime) -> float:
    moments = [(datetime.fromisoformat(each["at"]), each["state"]) for each in history]
    spans = pairwise([*moments, (until, "")])
    return sum(
        max((end - at).total_seconds(), 0.0)
        for (at, state), (end, _) in spans
        if state == RunState.RUNNING
    )
