"""The ledger of runs: finding one, locking it, and writing down each change of its state with who and why."""

import structlog
from django.db.models import Sum
from django.utils import timezone

from ops.backfill.models import BackfillRun, NormalizationLog
from ops.backfill.states import UNFINISHED, State, refuse_unless_possible

log = structlog.get_logger(__name__)


class RunRefused(RuntimeError):
    """The run cannot be begun, taken up or undone now; the message says why and what to do."""


def unfinished() -> BackfillRun | None:
    """The run that is not over, if there is one."""
    return BackfillRun.objects.filter(state__in=UNFINISHED).first()


def locked(run_id: int) -> BackfillRun:
    """The run, its row locked until the transaction ends. Raises RunRefused when there is none.

    Every batch locks this row until its commit, so whoever has it stands between two batches.
    """
    run = BackfillRun.objects.select_for_update().filter(pk=run_id).first()
    if run is None:
        raise RunRefused(f"There is no run {run_id}.")
    return run


def move(run: BackfillRun, target: State, actor: str, reason: str) -> None:
    """Change the state of a locked run, which is still to be saved. Raises TransitionRefused."""
    refuse_unless_possible(State(run.state), target)
    run.state = target
    if target in (State.COMPLETED, State.CANCELLED):
        run.finished_at = timezone.now()
    note(run, target, actor, reason)


def note(run: BackfillRun, state: State, actor: str, reason: str) -> None:
    """Add to the run's history, which is still to be saved."""
    entry = {
        "at": timezone.now().isoformat(),
        "state": state.value,
        "actor": actor,
        "reason": reason,
    }
    run.history = [*run.history, entry]


def announce(run: BackfillRun, event: str) -> None:
    """Log `event`, once the change is committed."""
    log.info(
        event,
        run=run.pk,
        kind=run.kind,
        state=run.state,
        actor=(run.history or [{}])[-1].get("actor"),
    )


def written(run: BackfillRun) -> list[tuple[str, str, int]]:
    """(before, after, rows) of everything that the run wrote, the most frequent first."""
    pairs = NormalizationLog.objects.filter(run=run).order_by().values_list("before", "after")
    return [
        (before, after, rows)
        for before, after, rows in pairs.annotate(sum=Sum("rows")).order_by("-sum", "before")
    ]
