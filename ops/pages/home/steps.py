"""The rollout as a line of steps: those behind, the one in force, the next, and those to come.

Pure functions over the plan and the history of the rollout. `normalization.rollout_plan` explains
the rank of a step. The clean-up of the stored rows stands between warning and enforcing, and has
no rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import takewhile
from typing import Final

from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout
from normalization.rollout_plan import OBSERVE, WARN, RolloutPlan, rank_name, rank_of
from ops.gates.facts import AUTOMATIC


class StepState(StrEnum):
    """Where a step stands; the value is its class in the style sheet."""

    DONE = "done"
    HERE = "here"
    NEXT = "next"
    TODO = "todo"
    WAS = "was"
    HOLD = "hold"
    LOST = "lost"


_WORDS: Final = {
    StepState.DONE: "done",
    StepState.HERE: "you are here",
    StepState.NEXT: "next",
    StepState.TODO: "later",
    StepState.WAS: "reached before",
    StepState.HOLD: "not done",
    StepState.LOST: "taken back",
}
_ICONS: Final = {
    StepState.DONE: "check",
    StepState.HERE: "dot",
    StepState.NEXT: "dot",
    StepState.WAS: "check",
    StepState.HOLD: "alert",
    StepState.LOST: "undo",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the line, with a note below its name."""

    name: str
    state: StepState
    note: str = ""

    @property
    def words(self) -> str:
        """The state for readers who do not see the line."""
        return _WORDS[self.state]

    @property
    def icon(self) -> str:
        """The name of the icon, "" for none."""
        return _ICONS.get(self.state, "")


def taken_back(history: Sequence[RolloutChange]) -> RolloutChange | None:
    """Return the newest change if the alert or the guard made it, None otherwise.

    `history` is the newest change first.
    """
    newest = history[0] if history else None
    return newest if newest is not None and newest.source in AUTOMATIC else None


def steps(
    plan: RolloutPlan,
    rollout: Rollout,
    history: Sequence[RolloutChange],
    clean: bool | None,
    now: datetime,
) -> list[Step]:
    """Return the line. `clean`: whether the stored rows are clean, None if that is not known."""
    ahead = plan.next(rollout)
    line = _Line(
        first=plan.shares[0],
        here=rank_of(rollout),
        ahead=ahead.rank if ahead is not None else None,
        past=[(rank_of(change.rollout()), change.created_at) for change in history],
        lost=_lost(history),
        now=now,
    )
    shares = {*plan.shares, *line.lost} | ({line.here} if line.here >= 0 else set())
    return [
        line.step(OBSERVE),
        line.step(WARN),
        _rows(line.here, clean),
        *(line.step(rank) for rank in sorted(shares)),
    ]


@dataclass(frozen=True, slots=True)
class _Line:
    """What a step is drawn from. `past`: rank and time of each change, newest first."""

    first: Decimal
    here: Decimal
    ahead: Decimal | None
    past: Sequence[tuple[Decimal, datetime]]
    lost: Mapping[Decimal, datetime]
    now: datetime

    def step(self, rank: Decimal) -> Step:
        """Return the step of this rank."""
        name, reached = self._name(rank), self._reached(rank)
        if rank == self.here:
            return Step(name, StepState.HERE, self._since())
        if rank < self.here:
            return Step(name, StepState.DONE, reached)
        if rank in self.lost:
            lost = day_or_time(self.lost[rank], self.now)
            return Step(name, StepState.LOST, f"taken back {lost}")
        if rank == self.ahead:
            return Step(name, StepState.NEXT)
        return Step(name, StepState.WAS if reached else StepState.TODO, reached)

    def _name(self, rank: Decimal) -> str:
        if rank == 0:
            return "Pilots only"
        name = rank_name(rank)
        return f"Enforce {name}" if rank == self.first else f"{name[:1].upper()}{name[1:]}"

    def _since(self) -> str:
        same = takewhile(lambda each: each[0] == self.here, self.past)
        times = [at for _, at in same]
        return f"since {day_or_time(times[-1], self.now)}" if times else "by default"

    def _reached(self, rank: Decimal) -> str:
        times = [at for each, at in self.past if each == rank]
        return f"from {day_or_time(times[0], self.now)}" if times else ""


def _rows(here: Decimal, clean: bool | None) -> Step:
    if clean is None:
        return Step("Clean up rows", StepState.TODO, "not known now")
    if here < WARN:
        return Step("Clean up rows", StepState.TODO, "clean" if clean else "")
    if clean:
        return Step("Clean up rows", StepState.DONE, "clean")
    return Step("Clean up rows", StepState.HOLD, "not clean")


def _lost(history: Sequence[RolloutChange]) -> dict[Decimal, datetime]:
    """Return the share that the newest change took back by itself, with the time."""
    change = taken_back(history)
    if change is None or len(history) < 2 or change.previous_mode != Mode.ENFORCE.value:
        return {}
    before = rank_of(history[1].rollout())
    return {before: change.created_at} if before > rank_of(change.rollout()) else {}


def day_or_time(at: datetime, now: datetime) -> str:
    """Return the time of day if `at` is today, and the day otherwise, in UTC."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    if at.date() == now.date():
        return f"{at:%H:%M}"
    return f"{at.day} {at:%b}" if at.year == now.year else f"{at.day} {at:%b %Y}"
