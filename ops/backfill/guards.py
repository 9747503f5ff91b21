"""Why a run cannot be begun, taken up or undone now: another one is not over, or wrote later."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction
from django.db.models import Sum

from ops.backfill import lease as leases
from ops.backfill.columns import named, unknown_to, written_column
from ops.backfill.constraint import constrained
from ops.backfill.ledger import RunRefused, unfinished
from ops.backfill.models import BackfillCheckpoint, BackfillRun, Kind
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
        raise RunRefused(
            _held(other) if other else "Another run ended just now: try again."
        ) from error


def refuse_if_held(run: BackfillRun) -> None:
    """Raise RunRefused, naming the holder, while a process works on `run`."""
    if leases.lives(run):
        raise RunRefused(_held(run))


def refuse_if_moved(run: BackfillRun) -> None:
    """Raise RunRefused when an unfinished run was begun by a release that kept stages in other columns."""
    look_up = written_column if run.kind == Kind.UNDO else named
    if names := unknown_to(look_up, _places(run.checkpoints.all())):
        raise RunRefused(
            f"Run {run.pk} was begun by another release: {', '.join(names)} holds no stages in this one. "
            f"End it with --cancel {run.pk} and begin anew with --apply."
        )


def refuse_unless_undoable(run: BackfillRun) -> None:
    """Raise RunRefused when `run` is not over, is an undo, not the last that wrote, or its columns are gone or held."""
    if run.kind == Kind.UNDO:
        raise RunRefused(f"Run {run.pk} is itself an undo: begin a new run with --apply instead.")
    try:
        refuse_unless_possible(State(run.state), State.UNDONE)
    except TransitionRefused as error:
        raise RunRefused(f"Run {run.pk} cannot be undone. {error}") from error
    later = BackfillRun.objects.filter(pk__gt=run.pk, kind=Kind.APPLY).exclude(state=State.UNDONE)
    for other in (
        later.annotate(wrote=Sum("checkpoints__changed")).filter(wrote__gt=0).order_by("-pk")[:1]
    ):
        raise RunRefused(f"Run {other.pk} wrote after run {run.pk}: undo run {other.pk} first.")
    wrote = _places(run.checkpoints.filter(changed__gt=0))
    if gone := unknown_to(written_column, wrote):
        raise RunRefused(
            f"Run {run.pk} wrote {', '.join(gone)}, which this release does not have: restore a backup."
        )
    if names := constrained(wrote):
        raise RunRefused(
            f"{', '.join(names)} may hold canonical stages only: run --drop-constraint first."
        )


def _places(checkpoints: Iterable[BackfillCheckpoint]) -> list[tuple[str, str]]:
    return [(each.table_name, each.column_name) for each in checkpoints]


def _held(run: BackfillRun) -> str:
    who = (
        f"held by {run.lease_holder}"
        if run.lease_token and leases.lives(run)
        else "held by nobody now"
    )
    return (
        f"Run {run.pk} ({run.kind}, {run.state}) is not over, {who}. "
        f"Take it up with --resume, or end it with --cancel {run.pk}, or begin anew with --restart."
    )
