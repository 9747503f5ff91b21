"""The states of a run and every transition between them, each with its reason.

Pure data: `control` applies it, a test holds that it is complete, and docs/backfill.md shows
`diagram()`.
"""

from enum import StrEnum


class RunState(StrEnum):
    """The state of a run. PLANNED, RUNNING, PAUSED and FAILED are unfinished."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    UNDONE = "undone"


_CANCELLED = "an operator cancels it; its writes stay and can be undone"
_UNDONE = "an undo run restores what it wrote"

TRANSITIONS: dict[RunState, dict[RunState, str]] = {
    RunState.PLANNED: {
        RunState.RUNNING: "a process starts it",
        RunState.CANCELLED: "an operator cancels it before it starts",
    },
    RunState.RUNNING: {
        RunState.PAUSED: "an operator pauses it, or its process receives SIGINT or SIGTERM",
        RunState.FAILED: "a batch fails; the checkpoint stays at the last successful batch",
        RunState.COMPLETED: "every row that can be normalized is normalized",
        RunState.CANCELLED: _CANCELLED,
    },
    RunState.PAUSED: {
        RunState.RUNNING: "an operator or a new process resumes it",
        RunState.CANCELLED: _CANCELLED,
    },
    RunState.FAILED: {
        RunState.RUNNING: "a process resumes it after the cause is fixed",
        RunState.CANCELLED: _CANCELLED,
    },
    RunState.COMPLETED: {RunState.UNDONE: _UNDONE},
    RunState.CANCELLED: {RunState.UNDONE: _UNDONE},
    RunState.UNDONE: {},
}

# At most one run is unfinished: a partial unique index holds that.
UNFINISHED = (RunState.PLANNED, RunState.RUNNING, RunState.PAUSED, RunState.FAILED)


# What pages and commands show for a running run that no process holds.
PROCESS_GONE = "running, but its process is gone"


class TransitionRefused(ValueError):
    """The run cannot change to that state; the message names the possible ones."""


def refuse_unless_possible(source: RunState, target: RunState) -> None:
    """Raise `TransitionRefused` unless TRANSITIONS has the edge."""
    if target in TRANSITIONS[source]:
        return
    targets = ", ".join(TRANSITIONS[source]) or "nothing else: the state is final"
    raise TransitionRefused(
        f"A run that is {source} cannot become {target}; it can become {targets}."
    )


def state_in_words(state: str, *, alive: bool) -> str:
    """Return the state as pages and commands show it; `alive` comes from `lease.is_alive`."""
    if state == RunState.RUNNING and not alive:
        return PROCESS_GONE
    return state


def diagram() -> str:
    """Return the transitions as a Mermaid state diagram."""
    edges = [f"    [*] --> {RunState.PLANNED}"]
    for source, targets in TRANSITIONS.items():
        for target, reason in targets.items():
            edges.append(f"    {source} --> {target}: {reason.replace(';', ',')}")
        if not targets:
            edges.append(f"    {source} --> [*]")
    return "\n".join(["stateDiagram-v2", *edges])
