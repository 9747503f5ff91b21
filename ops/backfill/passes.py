"""One column of a run: pass after pass until nothing is left that could be normalized; or its undo, in one walk.

Note on passes: one pass walks the keys of a column from the first row to change to the last. Meanwhile clients insert
behind the cursor, write other spellings, and hold rows that the pass goes by. So after each pass the column is
surveyed again, and what is left makes the next pass, mostly of a few rows. A column is finished when a survey finds
nothing but canonical and unknown values: a run ends with a verification.
"""

from functools import partial
from typing import Any

from django.db import connection, transaction

from normalization.stages import SpellingTable
from ops.backfill import sql as statements
from ops.backfill.batches import Outcome, apply_batch, undo_batch
from ops.backfill.columns import StageColumn
from ops.backfill.models import BackfillCheckpoint
from ops.backfill.plan import ColumnPlan, make_plan, unknown_json
from ops.backfill.retry import BatchFailed
from ops.backfill.session import Session
from ops.backfill.survey import Mapping
from ops.backfill.walk import walk

MOST_PASSES = 6
"""That a process begins on a column; the one that takes the run up after it may begin as many again."""
WAITING_PASSES = 3
"""From this pass on, rows that clients hold are waited for."""


def normalize_column(
    session: Session, column: StageColumn, aliases: SpellingTable
) -> list[dict[str, Any]]:
    """Every pass that the column needs, from the checkpoint on; returns its unknown values. Raises as `walk` does."""
    mapping, begun = Mapping(aliases), 0
    while True:
        at = session.persist(session.checkpoint(column).get)
        if at.until is not None:
            _tell_pass(session, column, at)  # taken up in the middle
        else:
            planned = session.persist(partial(_survey, column, aliases))
            if not planned.to_change:
                session.persist(
                    partial(_update, session, column, finished=True, unknown=planned.unknown_rows)
                )
                return [
                    {"table": column.table, "column": column.column} | each
                    for each in unknown_json(planned.unknown)
                ]
            if begun == MOST_PASSES:
                raise BatchFailed(
                    f"{planned.to_change} rows of {column} still hold other spellings after {begun} passes: "
                    "clients keep them locked, or keep writing them."
                )
            mapping, begun = Mapping(aliases, planned.mapping()), begun + 1
            at = session.persist(partial(_begin_pass, session, column, planned))
            _tell_pass(session, column, at, to_change=planned.to_change)
        walk(
            session,
            column,
            partial(_apply, session, column, mapping, waits=at.passes >= WAITING_PASSES),
        )
        session.persist(partial(_update, session, column, until=None))


def undo_column(session: Session, column: StageColumn) -> None:
    """Give back what the run to undo wrote to the column, from the checkpoint on. Raises as `walk` does."""
    undoes = session.run.undoes_id or 0
    _tell_pass(session, column, session.persist(session.checkpoint(column).get))
    walk(session, column, lambda: undo_batch(session.lease, column, undoes, session.pace.size))
    session.persist(partial(_update, session, column, finished=True))


def _survey(column: StageColumn, aliases: SpellingTable) -> ColumnPlan:
    return make_plan([column], aliases, sample=False).columns[0]


def _begin_pass(session: Session, column: StageColumn, planned: ColumnPlan) -> BackfillCheckpoint:
    with transaction.atomic(), connection.cursor() as cursor:
        session.fence()
        at = session.checkpoint(column).get()
        after = (planned.first or 0) - 1
        cursor.execute(
            column.sql(statements.ROWS_OF_PASS), {"after": after, "until": planned.last}
        )
        at.cursor, at.until, at.passes = after, planned.last, at.passes + 1
        at.total = at.scanned + cursor.fetchone()[0]
        at.unknown = planned.unknown_rows
        at.save()
    return at


def _tell_pass(session: Session, column: StageColumn, at: BackfillCheckpoint, **more: int) -> None:
    """Tell where the pass that is begun, or taken up, stands: what shows the progress knows nothing else."""
    place = {"table": column.table, "column": column.column}
    session.tell("pass", **place, number=at.passes, scanned=at.scanned, total=at.total, **more)


def _apply(session: Session, column: StageColumn, mapping: Mapping, *, waits: bool) -> Outcome:
    all_in_one, size = session.transaction, session.pace.size
    if all_in_one is None:
        return apply_batch(session.lease, column, mapping, size, waits=waits)
    done = apply_batch(
        session.lease, column, mapping, size, waits=True, fenced=False, number=all_in_one.batch
    )
    all_in_one.moved(done.number)
    return done


def _update(session: Session, column: StageColumn, **fields: Any) -> None:
    with transaction.atomic():
        session.fence()
        session.checkpoint(column).update(**fields)
