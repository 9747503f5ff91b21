"""One column of a run: passes until nothing is left to normalize, or its undo in one walk.

Note on passes: a pass walks the keys of a column from the first row to change to the last. The
run's plan has these bounds for the first pass. Meanwhile clients insert rows behind the cursor,
write other spellings, and hold rows that the pass skips. So after each pass the column is surveyed
again, and the rest makes the next pass, usually of few rows. A column is finished when a survey
finds nothing to change: every run ends with a verification.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import Error, connection, transaction

from normalization.stages import SpellingTable
from ops.backfill import retry
from ops.backfill import sql as statements
from ops.backfill.batches import BatchResult, apply_batch, undo_batch
from ops.backfill.columns import StageColumn
from ops.backfill.models import BackfillCheckpoint
from ops.backfill.plan import ColumnPlan, make_plan, unknown_json
from ops.backfill.retry import BatchFailed
from ops.backfill.session import RunSession
from ops.backfill.survey import has_unfilled

# Passes that a process begins on a column; the process that resumes the run may begin as many.
MOST_PASSES = 6
# From this pass on, the run waits for rows that clients hold.
WAITING_PASSES = 3


@dataclass(frozen=True, slots=True)
class PassBounds:
    """The first and the last key to change, the rows to change, and those that are undecided."""

    first: int | None
    last: int | None
    to_change: int
    unknown_rows: int


def normalize_column(
    session: RunSession, column: StageColumn, table: SpellingTable
) -> list[dict[str, Any]]:
    """Make every pass that the column needs, from its checkpoint on; returns the unknown values.

    Raises as `walk` does.
    """
    begun = 0
    while True:
        at = session.persist(session.checkpoint(column).get)
        if at.until is not None:  # resumed in the middle of a pass
            _tell_pass(session, column, at)
        else:
            ahead = _planned(session, column, table, at)
            if ahead is None:
                found = session.persist(partial(_survey, column, table))
                if not found.to_change:
                    return _finish(session, column, found)
                ahead = PassBounds(found.first, found.last, found.to_change, found.unknown_rows)
            at = _next_pass(session, column, ahead, begun)
            begun += 1
        waits = at.passes >= WAITING_PASSES
        fills = session.persist(partial(has_unfilled, column))
        take = partial(_apply, session, column, table, fills=fills, waits=waits)
        walk(session, column, take)
        session.persist(partial(_update, session, column, until=None))


def undo_column(session: RunSession, column: StageColumn) -> None:
    """Restore what the run to undo wrote to the column, from the checkpoint on.

    Raises as `walk` does.
    """
    undoes = session.run.undoes_id or 0
    _tell_pass(session, column, session.persist(session.checkpoint(column).get))
    walk(session, column, lambda: undo_batch(session.lease, column, undoes, session.pace.size))
    session.persist(partial(_update, session, column, finished=True))


def walk(session: RunSession, column: StageColumn, take: Callable[[], BatchResult]) -> None:
    """Call `take` for one batch after another until the last one, with a rest after each.

    A batch that fails is narrowed down to the row that causes it. Raises BatchFailed naming the
    rows, Steered, StopRequested or LeaseLost; the checkpoint then stays at the batch before.
    """

    def take_when_free() -> BatchResult:
        session.wait_for_others(column)
        return take()

    finished = False
    while not finished:
        try:
            done = session.persist(take_when_free)
        except Error as error:
            if _narrows(session, error):
                continue
            raise BatchFailed(f"{_rows(session, column)}: {retry.first_line(error)}.") from error
        _tell_batch(session, column, done)
        finished = done.finished
        if not finished:
            session.rest(session.pace.rest(done.seconds))


def _planned(
    session: RunSession, column: StageColumn, table: SpellingTable, at: BackfillCheckpoint
) -> PassBounds | None:
    """Return the first pass as the run's plan has it; None where a survey has to find the rows.

    That is so for the later passes, for other decisions than the plan's, for a plan without rows
    to change, and for one of an earlier release, which has no bounds.
    """
    if at.passes or session.run.alias_version != table.version:
        return None
    for each in session.run.plan.get("columns", []):
        place = (each["table"], each["column"])
        if place == (column.table, column.column) and each.get("last") is not None:
            counts = (each["to_change"], each["unknown_rows"])
            return PassBounds(each["first"], each["last"], *counts)
    return None


def _survey(column: StageColumn, table: SpellingTable) -> ColumnPlan:
    return make_plan([column], table, sample=False).columns[0]


def _finish(session: RunSession, column: StageColumn, planned: ColumnPlan) -> list[dict[str, Any]]:
    finish = partial(_update, session, column, finished=True, unknown=planned.unknown_rows)
    session.persist(finish)
    place = {"table": column.table, "column": column.column}
    return [place | each for each in unknown_json(planned.unknown)]


def _next_pass(
    session: RunSession, column: StageColumn, ahead: PassBounds, begun: int
) -> BackfillCheckpoint:
    if begun == MOST_PASSES:
        raise BatchFailed(
            f"{ahead.to_change} rows of {column} are still not derived after {begun} "
            "passes: clients lock these rows or write other spellings all the time."
        )
    at = session.persist(partial(_begin_pass, session, column, ahead))
    _tell_pass(session, column, at, to_change=ahead.to_change)
    return at


def _begin_pass(session: RunSession, column: StageColumn, ahead: PassBounds) -> BackfillCheckpoint:
    with transaction.atomic(), connection.cursor() as cursor:
        session.fence()
        at = session.checkpoint(column).get()
        page = {"after": (ahead.first or 0) - 1, "until": ahead.last}
        cursor.execute(column.sql(statements.ROWS_OF_PASS), page)
        at.cursor, at.until, at.passes = page["after"], ahead.last, at.passes + 1
        at.total = at.scanned + cursor.fetchone()[0]
        at.unknown = ahead.unknown_rows
        at.save()
    return at


def _apply(
    session: RunSession, column: StageColumn, table: SpellingTable, *, fills: bool, waits: bool
) -> BatchResult:
    whole, size = session.transaction, session.pace.size
    take = partial(apply_batch, session.lease, column, table, size, fills=fills)
    if whole is None:
        return take(waits=waits)
    done = take(waits=True, fenced=False, number=whole.batch)
    whole.moved(done.number)
    return done


def _update(session: RunSession, column: StageColumn, **fields: Any) -> None:
    with transaction.atomic():
        session.fence()
        session.checkpoint(column).update(**fields)


def _narrows(session: RunSession, error: Error) -> bool:
    """Return whether to retry with fewer rows: the rows before the faulty one can be written."""
    pace = session.pace
    if pace.size == 1 or retry.transient(error):
        return False
    pace.size = max(1, pace.size // 10)
    session.tell("narrowing", error=retry.first_line(error), next_size=pace.size)
    return True


def _rows(session: RunSession, column: StageColumn) -> str:
    """Return the rows of the next batch, for an error message."""
    at = session.checkpoint(column).get()
    if at.until is None:
        undone = f"batch {at.undo_batch} of run {session.run.undoes_id}"
        return f"{column}, {undone}, after row {at.cursor}"
    page = {"after": at.cursor, "until": at.until, "size": session.pace.size}
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.PAGE_END), page)
        end, _ = cursor.fetchone()
    return f"{column}, rows {(at.cursor or 0) + 1} to {end}"


def _tell_pass(
    session: RunSession, column: StageColumn, at: BackfillCheckpoint, **more: int
) -> None:
    """Report where a pass begins or resumes: a progress display has no other source for it."""
    place = {"table": column.table, "column": column.column}
    session.tell("pass", **place, number=at.passes, scanned=at.scanned, total=at.total, **more)


def _tell_batch(session: RunSession, column: StageColumn, done: BatchResult) -> None:
    size = session.pace.size
    session.pace.note(done.seconds, done.contended)
    session.tell(
        "batch",
        batch=done.number,
        table=column.table,
        column=column.column,
        after=done.first,
        last=done.last,
        scanned=done.scanned,
        changed=done.changed,
        skipped=done.skipped,
        seconds=round(done.seconds, 4),
        size=size,
        next_size=session.pace.size,
        contended=done.contended,
    )
