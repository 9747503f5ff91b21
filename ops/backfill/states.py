"""The states of a run and every way from one to another, with the reason why there is one.

Pure data: `control` applies it, a test holds that it is total, and docs/backfill.md shows `diagram()`.
"""

from enum import StrEnum


class State(StrEnum):
    """Where a run is. PLANNED, RUNNING, PAUSED and FAILED are unfinished: of those there is at most one."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    UNDONE = "undone"


TRANSITIONS: dict[State, dict[State, str]] = {
    State.PLANNED: {
        State.RUNNING: "a process takes it up",
        State.CANCELLED: "an operator drops it before it began",
    },
    State.RUNNING: {
        State.PAUSED: "an operator pauses it, or its process was asked to end (SIGINT, SIGTERM)",
        State.FAILED: "a batch failed for good; the checkpoint stays at the last one that succeeded",
        State.COMPLETED: "every row that can be normalized is",
        State.CANCELLED: "an operator stops it; what it wrote stays, and can be undone",
    },
    State.PAUSED: {
        State.RUNNING: "an operator resumes it, or a process takes it up again",
        State.CANCELLED: "an operator stops it; what it wrote stays, and can be undone",
    },
    State.FAILED: {
        State.RUNNING: "a process takes it up again after the cause was mended",
        State.CANCELLED: "an operator gives it up; what it wrote stays, and can be undone",
    },
    State.COMPLETED: {State.UNDONE: "an undo run gave back what it wrote"},
    State.CANCELLED: {State.UNDONE: "an undo run gave back what it wrote"},
    State.UNDONE: {},
}

UNFINISHED = (State.PLANNED, State.RUNNING, State.PAUSED, State.FAILED)


class TransitionRefused(ValueError):
    """The run cannot go to that state from where it is; the message says what it can do."""


def refuse_unless_possible(source: State, target: State) -> None:
    """Raise `TransitionRefused` unless TRANSITIONS has the edge."""
    if target in TRANSITIONS[source]:
        return
    ways = ", ".join(TRANSITIONS[source]) or "nothing else: it is final"
    raise TransitionRefused(
        f"A run that is {source} cannot become {target}; it can become {ways}."
    )


def diagram() -> str:
    """The transitions as a Mermaid state diagram."""
    edges = [f"    [*] --> {State.PLANNED}"]
    for source, targets in TRANSITIONS.items():
        edges += [
            f"    {source} --> {target}: {reason.replace(';', ',')}"
            for target, reason in targets.items()
        ]
        edges += [] if targets else [f"    {source} --> [*]"]
    return "\n".join(["stateDiagram-v2", *edges])
