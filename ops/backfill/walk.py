"""One walk over the keys of a column: batch after batch, a rest between two, smaller ones where a batch fails."""

from collections.abc import Callable

from django.db import Error, connection

from ops.backfill import retry as attempts
from ops.backfill import sql as statements
from ops.backfill.batches import Outcome
from ops.backfill.columns import StageColumn
from ops.backfill.retry import BatchFailed
from ops.backfill.session import Session


def walk(session: Session, column: StageColumn, take: Callable[[], Outcome]) -> None:
    """`take()` the next batch until the last one is done.

    Raises BatchFailed naming the rows, Steered, Stopped or LeaseLost; the checkpoint then stands at the batch before.
    """

    def one() -> Outcome:
        session.wait_for_others(column)
        return take()

    finished = False
    while not finished:
        try:
            done = session.persist(one)
        except Error as error:
            if _narrows(session, error):
                continue
            raise BatchFailed(
                f"{_where(session, column)}: {attempts.first_line(error)}."
            ) from error
        _note(session, column, done)
        finished = done.finished
        if not finished:
            session.rest(session.pace.rest(done.seconds))


def _narrows(session: Session, error: Error) -> bool:
    """Whether to try again with fewer rows: what can be written is, and the message names the row that cannot."""
    pace = session.pace
    if pace.size == 1 or attempts.passing(error):
        return False
    pace.size = max(1, pace.size // 10)
    session.tell("narrowing", error=attempts.first_line(error), next_size=pace.size)
    return True


def _note(session: Session, column: StageColumn, done: Outcome) -> None:
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


def _where(session: Session, column: StageColumn) -> str:
    """The rows of the batch that comes next, for an error message."""
    at = session.checkpoint(column).get()
    if at.until is None:
        return f"{column}, batch {at.undo_batch} of run {session.run.undoes_id}, after row {at.cursor}"
    page = {"after": at.cursor, "until": at.until, "size": session.pace.size}
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.PAGE_END), page)
        end, _ = cursor.fetchone()
    return f"{column}, rows {(at.cursor or 0) + 1} to {end}"
