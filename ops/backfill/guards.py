"""Why a run must not begin, resume or be undone now.

The gate `backup_valid`: without a backup that would restore the rows, no process gets the right to
rewrite them. The other guards protect runs from each other and from a changed release.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction
from django.db.models import Q, Sum

from ops.backfill import constraint
from ops.backfill.columns import CANONICAL, StageColumn, missing, named, written_column
from ops.backfill.lease import is_alive
from ops.backfill.models import BackfillCheckpoint, BackfillRun, RunKind
from ops.backfill.states import UNFINISHED, RunState, TransitionRefused, refuse_unless_possible
from ops.backups import history
from ops.gates.rules import GateOutcome


class RunRefused(RuntimeError):
    """The run cannot begin, resume or be undone now; the message has reason and remedy."""


class GateClosed(RuntimeError):
    """The gate did not pass; the message is its sentence and the remedy."""


def unfinished() -> BackfillRun | None:
    """Return the unfinished run, if there is one."""
    return BackfillRun.objects.filter(state__in=UNFINISHED).first()


def refuse_without_backup() -> None:
    """Raise GateClosed unless the gate `backup_valid` passes now. It cannot be overridden."""
    verdict = history.backup_verdict()
    if verdict.outcome is not GateOutcome.PASS:
        remedy = f" To fix it: {verdict.remedy}" if verdict.remedy else ""
        raise GateClosed(
            f"Refused by the gate {verdict.gate} ({verdict.outcome}): {verdict.sentence}{remedy}"
        )


@contextmanager
def only_one() -> Iterator[None]:
    """Open a transaction that creates a run. Raises RunRefused, naming another unfinished run.

    The database refuses a second unfinished run by a unique index.
    """
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "stage_one_active_run" not in str(error):
            raise
        other = unfinished()
        message = _unfinished(other) if other else "Another run ended just now: try again."
        raise RunRefused(message) from error


def refuse_if_held(run: BackfillRun) -> None:
    """Raise RunRefused, naming the holder, while a process works on `run`."""
    if is_alive(run):
        raise RunRefused(_unfinished(run))


def refuse_if_moved(run: BackfillRun) -> None:
    """Raise RunRefused when a column of an unfinished run holds no stages in this release."""
    look_up = written_column if run.kind == RunKind.UNDO else named
    if names := missing(look_up, _places(run.checkpoints.all())):
        raise RunRefused(
            f"Another release began run {run.pk}: {', '.join(names)} holds no stages in this one. "
            f"End it with --cancel {run.pk} and begin a new run with --apply."
        )


def refuse_unless_undoable(run: BackfillRun) -> None:
    """Raise RunRefused unless `run` is finished, is the last run that wrote, and can be restored.

    An undo cannot be undone. The columns must exist and have no constraint.
    """
    if run.kind == RunKind.UNDO:
        raise RunRefused(f"Run {run.pk} is itself an undo: begin a new run with --apply instead.")
    try:
        refuse_unless_possible(RunState(run.state), RunState.UNDONE)
    except TransitionRefused as error:
        raise RunRefused(f"Run {run.pk} cannot be undone. {error}") from error
    _refuse_if_another_wrote_later(run)
    _refuse_unless_columns_accept_any_text(run)


def _refuse_if_another_wrote_later(run: BackfillRun) -> None:
    later = BackfillRun.objects.filter(pk__gt=run.pk, kind=RunKind.APPLY)
    later = later.exclude(state=RunState.UNDONE)
    wrote = later.annotate(wrote=Sum("checkpoints__changed")).filter(wrote__gt=0)
    if other := wrote.order_by("-pk").first():
        raise RunRefused(f"Run {other.pk} wrote after run {run.pk}: undo run {other.pk} first.")


def _refuse_unless_columns_accept_any_text(run: BackfillRun) -> None:
    wrote = _places(run.checkpoints.filter(changed__gt=0))
    if gone := missing(written_column, wrote):
        raise RunRefused(
            f"Run {run.pk} wrote {', '.join(gone)}, which this release does not have: "
            "restore a backup."
        )
    columns = [written_column(*place) for place in wrote]
    if names := [str(column) for column in columns if _would_break(run, column)]:
        raise RunRefused(
            f"A constraint restricts {', '.join(names)} to canonical stages: "
            "run --drop-constraint first."
        )


def _would_break(run: BackfillRun, column: StageColumn) -> bool:
    """Return whether restoring what the run replaced would break a constraint of the column."""
    if constraint.find(column) is None and not constraint.requires_source(column):
        return False
    other_text = Q(before__isnull=False) & ~Q(before__in=CANONICAL)
    written = run.log.filter(table_name=column.table, column_name=column.column)
    return written.filter(other_text | Q(filled=True)).exists()


def _places(checkpoints: Iterable[BackfillCheckpoint]) -> list[tuple[str, str]]:
    return [(each.table_name, each.column_name) for each in checkpoints]


def _unfinished(run: BackfillRun) -> str:
    held = f"held by {run.lease_holder}" if is_alive(run) else "no process holds it"
    return (
        f"Run {run.pk} ({run.kind}, {run.state}) is not finished, {held}. "
        f"Resume it with --resume, end it with --cancel {run.pk}, "
        "or begin a new one with --restart."
    )
