"""What an operator may ask of a run in its state, for pages: the buttons, and what only a command can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ops.backfill import control
from ops.backfill.models import BackfillRun, Kind
from ops.backfill.states import TRANSITIONS, State

TAKE_UP: Final = "manage.py normalize_stages --apply --resume"
PLAN: Final = "manage.py normalize_stages"


@dataclass(frozen=True, slots=True)
class Wish:
    """One button. `asks`: what has to be confirmed first, "" where nothing has; `target`: the state it leads to."""

    name: str
    label: str
    target: State
    carry_out: Callable[[int, str], BackfillRun]
    asks: str = ""


def _undo(run_id: int, actor: str) -> BackfillRun:
    return control.begin_undo(run_id, control.Options(), actor)


WISHES: Final = {
    wish.name: wish
    for wish in (
        Wish("pause", "Pause", State.PAUSED, control.pause),
        Wish("resume", "Resume", State.RUNNING, control.resume),
        Wish(
            "cancel",
            "Cancel",
            State.CANCELLED,
            control.cancel,
            "It ends before its next batch, for good: it cannot be taken up again. What it has written stays and is "
            "logged; an undo can give it back.",
        ),
        Wish(
            "undo",
            "Undo",
            State.UNDONE,
            _undo,
            "A run of its own is planned that gives back every row this one wrote, newest batch first, wherever the "
            "row still holds what was written. Nothing is changed until a process carries that run out.",
        ),
    )
}


def offered(run: BackfillRun, *, held: bool, wrote: bool) -> list[Wish]:
    """The wishes that can be fulfilled now. `held`: a process has the run; `wrote`: there is something to give back."""
    apart = {"resume": held, "undo": wrote and run.kind == Kind.APPLY}
    ways = TRANSITIONS[State(run.state)]
    return [wish for wish in WISHES.values() if wish.target in ways and apart.get(wish.name, True)]


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do next, and the command for it where the admin cannot do it itself."""

    sentence: str
    command: str = ""


def next_step(run: BackfillRun, *, held: bool, unknown: int) -> NextStep:
    """What an operator does with the run now."""
    if run.state in (State.RUNNING, State.PAUSED) and held:
        return _HELD[State(run.state)]
    if run.state == State.COMPLETED and run.kind == Kind.APPLY:
        return _LEFT if unknown else _CLEAN
    return _ALONE[State(run.state)]


_HELD: Final = {
    State.RUNNING: NextStep("A process is at work. Pause and cancel come between two batches."),
    State.PAUSED: NextStep("Its process waits and goes on by itself when the run is resumed."),
}
_LEFT: Final = NextStep(
    "Decide the unknown values below as aliases or leave them, then look at the new plan:", PLAN
)
_CLEAN: Final = NextStep(
    "Nothing unknown was left. To look again:", "manage.py normalize_stages --verify"
)
_ALONE: Final = {
    State.PLANNED: NextStep("No process has taken it up yet. To carry it out:", TAKE_UP),
    State.RUNNING: NextStep(
        "Its process is gone. What it wrote stands; to go on from the checkpoint:", TAKE_UP
    ),
    State.PAUSED: NextStep("It waits without a process. To go on from the checkpoint:", TAKE_UP),
    State.FAILED: NextStep("Mend the cause, then go on from the checkpoint:", TAKE_UP),
    State.COMPLETED: NextStep(
        "Every row was given back that could be. A new run begins with its plan:", PLAN
    ),
    State.CANCELLED: NextStep(
        "It is over; what it wrote stays. A new run begins with its plan:", PLAN
    ),
    State.UNDONE: NextStep("What it wrote was given back. A new run begins with its plan:", PLAN),
}
