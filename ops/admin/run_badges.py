"""The badge of a run's state."""

from __future__ import annotations

from typing import Final

from ops.admin_ui.ledgers import BAD, GOOD, QUIET, WARN, Badge
from ops.backfill.states import State

_OF_STATE: Final = {
    State.PLANNED: QUIET,
    State.RUNNING: ("busy", "▶"),
    State.PAUSED: ("warn", "‖"),
    State.FAILED: BAD,
    State.COMPLETED: GOOD,
    State.CANCELLED: ("quiet", "–"),
    State.UNDONE: ("quiet", "↶"),
}
_ABANDONED: Final = Badge("running, but its process is gone", *WARN)


def state_badge(state: str, *, held: bool = True) -> Badge:
    """Return the badge of a state; `held` says whether a process has the run."""
    if state == State.RUNNING and not held:
        return _ABANDONED
    return Badge(state, *_OF_STATE[State(state)])
