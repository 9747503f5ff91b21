"""Why a run cannot be begun, taken up or undone now: another one is not over, or wrote later."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction
from django.db.models import Sum

from ops.backfill import lease as leases
from ops.backfill.constraint import constrained
from ops.backfill.ledger import RunRefused, unfinished
from ops.backfill.models import BackfillRun, Kind
from ops.backfill.states import State, TransitionRefused, refuse_unless_possible


@contextmanager
def only_one() -> Iterator[None]:
    """A transaction that makes a run; the database refuses a second unfinished one, which RunRefused names."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "stage_one_active_run" not in str(error):
            raise
        other = unfinished()
        raise RunRefused(_held(other) if other else "Another run ended just now: try again.") from error


def refuse_if_held(run: BackfillRun) -> None:
    """Raise RunRefused, naming the holder, while a process works on `run`."""
    if leases.lives(run):
        raise RunRefused(_held(run))


def refuse_unless_undoable(run: BackfillRun) -> None:
    """Raise RunRefused when `run` is not over, is an undo, not the last that wrote, or a constraint is in the way."""
    if run.kind == Kind.UNDO:
        raise RunRefused(f"Run {run.pk} is itself an undo: begin a new run with --apply instead.")
    try:
        refuse_unless_possible(State(run.state), State.UNDONE)
    except TransitionRefused as error:
        raise RunRefused(f"Run {run.pk} cannot be undone. {error}") from error
    later = BackfillRun.objects.filter(pk__gt=run.pk, kind=Kind.APPLY).exclude(state=State.UNDONE)
    for other in later.annotate(wrote=Sum("checkpoints__changed")).filter(wrote__gt=0).order_by("-pk")[:1]:
        raise RunRefused(f"Run {other.pk} wrote after run {run.pk}: undo run {other.pk} first.")
    if names := constrained((done.table_name, done.column_name) for done in run.checkpoints.filter(changed__gt=0)):
        raise RunRefused(f"{', '.join(names)} may hold canonical stages only: run --drop-constraint first.")


def _held(run: BackfillRun) -> str:
    who = f"held by {run.lease_holder}" if run.lease_token and leases.lives(run) else "held by nobody now"
    return (
        f"Run {run.pk} ({run.kind}, {run.state}) is not over, {who}. "
        f"Take it up with --resume, or end it with --cancel {run.pk}, or begin anew with --restart."
    )
