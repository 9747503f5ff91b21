"""What an operator can do with a run in its state: the buttons, and the next command to run.

The buttons call the functions of `ops.backfill.control`, as the command line does. Claiming a run
and working on it needs a process, so pages show that as a command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ops.backfill import control
from ops.backfill.models import BackfillRun, RunKind, RunOptions
from ops.backfill.progress import RunProgress
from ops.backfill.states import TRANSITIONS, RunState

RESUME: Final = "manage.py normalize_stages --apply --resume"
PLAN: Final = "manage.py normalize_stages"
VERIFY: Final = "manage.py normalize_stages --verify"


@dataclass(frozen=True, slots=True)
class RunAction:
    """One button; `target` is the state it leads to.

    `confirmation`: what the operator has to confirm first, "" for nothing.
    """

    name: str
    label: str
    target: RunState
    carry_out: Callable[[int, str], BackfillRun]
    confirmation: str = ""

    @property
    def button(self) -> str:
        """The text of the button; an ellipsis announces a question."""
        return f"{self.label}…" if self.confirmation else self.label


def _undo(run_id: int, actor: str) -> BackfillRun:
    return control.begin_undo(run_id, RunOptions(), actor)


ACTIONS: Final = {
    action.name: action
    for action in (
        RunAction("pause", "Pause", RunState.PAUSED, control.pause),
        RunAction("resume", "Resume", RunState.RUNNING, control.resume),
        RunAction(
            "cancel",
            "Cancel",
            RunState.CANCELLED,
            control.cancel,
            "The run ends before its next batch and cannot be resumed. "
            "Its writes stay and are logged; an undo can restore the rows.",
        ),
        RunAction(
            "undo",
            "Undo",
            RunState.UNDONE,
            _undo,
            "This plans a separate run that restores every row this run wrote, newest batch "
            "first, if the row still holds what was written. "
            "Nothing changes until a process carries that run out.",
        ),
    )
}


def offered(progress: RunProgress) -> list[RunAction]:
    """Return the actions that are possible now.

    Resume needs a process that waits; undo needs an apply run that wrote something.
    """
    run = progress.run
    possible = {
        "resume": progress.alive,
        "undo": progress.changed > 0 and run.kind == RunKind.APPLY,
    }
    targets = TRANSITIONS[RunState(run.state)]
    return [
        action
        for action in ACTIONS.values()
        if action.target in targets and possible.get(action.name, True)
    ]


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do next, with the command for it where the admin cannot do it itself."""

    sentence: str
    command: str = ""


def next_step(progress: RunProgress) -> NextStep:
    """Return what an operator does with the run now."""
    run = progress.run
    if progress.alive:
        return _WITH_A_PROCESS[RunState(run.state)]
    if run.state == RunState.COMPLETED and run.kind == RunKind.APPLY:
        return _UNKNOWN_LEFT if progress.unknown else _CLEAN
    return _WITHOUT_A_PROCESS[RunState(run.state)]


_WITH_A_PROCESS: Final = {
    RunState.RUNNING: NextStep(
        "A process is working. Pause and cancel take effect between two batches."
    ),
    RunState.PAUSED: NextStep("Its process is waiting and continues when you resume the run."),
}
_UNKNOWN_LEFT: Final = NextStep(
    "Decide the unknown values below, or leave them, then check the new plan:", PLAN
)
_CLEAN: Final = NextStep("No unknown values are left. To verify the rows again:", VERIFY)
_WITHOUT_A_PROCESS: Final = {
    RunState.PLANNED: NextStep("No process has started it yet. To carry it out:", RESUME),
    RunState.RUNNING: NextStep(
        "Its process is gone. Its batches are safe; to continue from the checkpoint:", RESUME
    ),
    RunState.PAUSED: NextStep("No process is waiting. To continue from the checkpoint:", RESUME),
    RunState.FAILED: NextStep("Fix the cause, then continue from the checkpoint:", RESUME),
    RunState.COMPLETED: NextStep(
        "Every row that could be restored is restored. A new run begins with its plan:", PLAN
    ),
    RunState.CANCELLED: NextStep(
        "The run has ended; its writes stay. A new run begins with its plan:", PLAN
    ),
    RunState.UNDONE: NextStep("Its writes are restored. A new run begins with its plan:", PLAN),
}
