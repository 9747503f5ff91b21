"""One batch: rows, log, checkpoint and the check of the lease, all in one transaction."""

import json
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from normalization.stages import SpellingTable, normalize
from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn
from ops.backfill.lease import Lease
from ops.backfill.models import BackfillCheckpoint
from ops.backfill.survey import derive

# The longest waits inside a batch. A table lock is waited for a little longer, because a migration
# holds one for a moment. The wait for a row that a client holds stays, with the batch's own time,
# below deadlock_timeout (1 s by default): in a deadlock the backfill always gives way.
TABLE_LOCK_TIMEOUT = "2s"
ROW_LOCK_TIMEOUT = "300ms"
STATEMENT_TIMEOUT = "15s"

# Below every key, and still a bigint: PostgreSQL reads -(2**63) as numeric, which no index serves.
LEAST_KEY = -(2**63) + 1
KEYS_KEPT = 20


@dataclass(frozen=True, slots=True)
class CheckpointPosition:
    """A column's checkpoint as one transaction read it."""

    checkpoint: int
    cursor: int
    until: int | None
    undo_batch: int | None
    left_alone: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch did.

    `first` (exclusive) and `last` bound the keys of its rows. `contended`: a client waited for it.
    `finished`: no batch is left. `seconds`: its duration.
    """

    number: int
    first: int
    last: int
    scanned: int = 0
    changed: int = 0
    skipped: int = 0
    contended: bool = False
    finished: bool = False
    seconds: float = 0.0


def apply_batch(
    lease: Lease,
    column: StageColumn,
    table: SpellingTable,
    size: int,
    *,
    fills: bool = False,
    waits: bool = False,
    fenced: bool = True,
    number: int | None = None,
) -> BatchResult:
    """Derive the next `size` rows of `column` after its checkpoint by `table`, in one transaction.

    `fills`: rows whose text is not in the source yet are filled too; without it they are left out.
    `waits`: wait briefly for rows that clients hold, instead of skipping them. Not `fenced`: part
    of a larger transaction that checks the lease at its end; `number` is then the number of the
    last batch.
    Raises LeaseLost or Steered, with nothing written, when this process no longer has the run.
    """
    start = perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        _set_limits(cursor, lease, ROW_LOCK_TIMEOUT if waits else TABLE_LOCK_TIMEOUT)
        number = (lease.fence() if fenced else number or 0) + 1
        at = _position(lease, column)
        page = {"after": at.cursor, "until": at.until, "size": size}
        cursor.execute(column.sql(statements.PAGE_END), page)
        end, scanned = cursor.fetchone()
        if not scanned:
            return BatchResult(number - 1, at.cursor, at.cursor, finished=True)
        page |= {"end": end, **_log_columns(lease, column, number)}
        wrong = _wrong_rows(cursor, column, page, table, fills=fills)
        changed = _write(cursor, column, page, wrong, fills=fills, waits=waits) if wrong else 0
        # A client may have written more such rows since they were counted.
        skipped = max(0, sum(each.rows for each in wrong) - changed)
        done = BatchResult(
            number,
            at.cursor,
            end,
            scanned,
            changed,
            skipped,
            contended=_contended(cursor),
            finished=scanned < size or end == at.until,
        )
        _advance(cursor, at, done)
        if fenced:
            _advance_run(cursor, lease, number, size, perf_counter() - start)
    return replace(done, seconds=perf_counter() - start)


def undo_batch(lease: Lease, column: StageColumn, undoes: int, size: int) -> BatchResult:
    """Restore up to `size` rows of the newest batch of run `undoes` that is not restored yet.

    Restores only rows that still hold what the run wrote. Raises as `apply_batch` does.
    """
    start = perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        _set_limits(cursor, lease, ROW_LOCK_TIMEOUT)
        number = lease.fence() + 1
        at = _position(lease, column)
        if at.undo_batch is None:
            return BatchResult(number - 1, at.cursor, at.cursor, finished=True)
        page = {"after": at.cursor, "size": size, "undoes": undoes, "undo_batch": at.undo_batch}
        page |= _log_columns(lease, column, number)
        end, scanned, changed, at = _restore_page(cursor, column, page, at)
        first = at.cursor
        if scanned < size:  # this batch of the run is restored: the one before is next
            before = _batch_before(cursor, page)
            at, end = replace(at, undo_batch=before), LEAST_KEY
        done = BatchResult(
            number,
            first,
            end,
            scanned,
            changed,
            contended=_contended(cursor),
            finished=at.undo_batch is None,
        )
        _advance(cursor, at, done)
        _advance_run(cursor, lease, number, size, perf_counter() - start)
    return replace(done, seconds=perf_counter() - start)


def _set_limits(cursor: CursorWrapper, lease: Lease, lock_timeout: str) -> None:
    # A holder that stops inside a batch loses its rows before its lease can be taken over.
    idle = f"{max(1000, int(lease.seconds * 1000))}ms"
    limits = {"lock": lock_timeout, "statement": STATEMENT_TIMEOUT, "idle": idle}
    cursor.execute(statements.LIMITS, limits)


def _position(lease: Lease, column: StageColumn) -> CheckpointPosition:
    found = BackfillCheckpoint.objects.get(
        run_id=lease.run_id, table_name=column.table, column_name=column.column
    )
    cursor = LEAST_KEY if found.cursor is None else found.cursor
    return CheckpointPosition(found.pk, cursor, found.until, found.undo_batch, found.left_alone)


def _log_columns(lease: Lease, column: StageColumn, number: int) -> dict[str, Any]:
    return {
        "run": lease.run_id,
        "batch": number,
        "table_name": column.table,
        "column_name": column.column,
    }


@dataclass(frozen=True, slots=True)
class WrongRows:
    """Rows of a page to write: their text, what they hold, and what they become.

    `unfilled`: the text is not in the source yet.
    """

    raw: str
    before: str | None
    unfilled: bool
    becomes: str | None
    rows: int


def _wrong_rows(
    cursor: CursorWrapper,
    column: StageColumn,
    page: dict[str, Any],
    table: SpellingTable,
    *,
    fills: bool,
) -> list[WrongRows]:
    cursor.execute(_page_statement(statements.PAGE_TEXTS, column, fills=fills), page)
    wrong = []
    for raw, before, unfilled, rows in cursor.fetchall():
        if raw is None:  # a row without a text has no stage to derive
            continue
        becomes = derive(column, raw, normalize(raw, table))
        if unfilled or before != becomes:
            wrong.append(WrongRows(raw, before, unfilled, becomes, rows))
    return wrong


def _write(
    cursor: CursorWrapper,
    column: StageColumn,
    page: dict[str, Any],
    wrong: list[WrongRows],
    *,
    fills: bool,
    waits: bool,
) -> int:
    """Write the rows, and log them; returns the number of rows written."""
    spellings = {
        "raws": [each.raw for each in wrong],
        "befores": [each.before for each in wrong],
        "filled": [each.unfilled for each in wrong],
        "stages": [each.becomes for each in wrong],
    }
    skip_locked = "" if waits else "SKIP LOCKED"
    template = statements.APPLY_PAGE
    statement = _page_statement(template, column, fills=fills, skip_locked=skip_locked)
    cursor.execute(statement, page | spellings)
    return int(cursor.fetchone()[0])


def _page_statement(template: str, column: StageColumn, *, fills: bool, **more: str) -> str:
    """Return the statement for a column that is filled too, only derived, or without a source."""
    words = column.sql(statements.WORDS) if fills else ""
    return column.sql(
        template,
        with_words=f"WITH {words}" if fills else "",
        words=f"{words}," if fills else "",
        of_words=column.sql(statements.OF_WORDS) if fills else "",
        text=column.sql(statements.TEXT_OF_WORDS if fills else "t.{source}"),
        fills=column.sql("t.{source} IS NULL") if fills else "false",
        held_raw=", spelling.raw" if fills else "",
        filling=column.sql(statements.FILLING) if fills else "",
        logged_raw="raw" if column.derived else "NULL",
        **more,
    )


def _restore_page(
    cursor: CursorWrapper, column: StageColumn, page: dict[str, Any], at: CheckpointPosition
) -> tuple[int, int, int, CheckpointPosition]:
    """Return (last key, rows in the page, rows restored, position with the rows left alone)."""
    cursor.execute(statements.UNDO_END, page)
    end, scanned = cursor.fetchone()
    if not scanned:
        return LEAST_KEY, 0, 0, at
    cursor.execute(_undo_statement(column), {**page, "end": end})
    changed, left_alone = _restored(cursor.fetchall(), at.left_alone)
    return end, scanned, changed, replace(at, left_alone=left_alone)


def _undo_statement(column: StageColumn) -> str:
    return column.sql(
        statements.UNDO_PAGE,
        same_words=column.sql(statements.SAME_WORDS) if column.derived else "true",
        as_before=column.sql(statements.AS_BEFORE) if column.fillable else "true",
        emptying=column.sql(statements.EMPTYING) if column.fillable else "",
    )


def _restored(
    rows: list[tuple[str, int, list[int] | None]], before: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    changed, left_alone = 0, dict(before)
    for reason, count, ids in rows:
        if reason == "written":
            changed = int(count)
            continue
        known = left_alone.get(reason, {"rows": 0, "ids": []})
        first_ids = (known["ids"] + (ids or []))[:KEYS_KEPT]
        left_alone[reason] = {"rows": known["rows"] + int(count), "ids": first_ids}
    return changed, left_alone


def _batch_before(cursor: CursorWrapper, page: dict[str, Any]) -> int | None:
    names = ("undoes", "table_name", "column_name")
    parameters = {name: page[name] for name in names} | {"batch": page["undo_batch"]}
    cursor.execute(statements.LAST_BATCH_BEFORE, parameters)
    return cursor.fetchone()[0]  # type: ignore[no-any-return]


def _contended(cursor: CursorWrapper) -> bool:
    cursor.execute(statements.WAITERS_FOR_US)
    return bool(cursor.fetchone()[0])


def _advance(cursor: CursorWrapper, at: CheckpointPosition, done: BatchResult) -> None:
    parameters = {
        "checkpoint": at.checkpoint,
        "cursor": done.last,
        "undo_batch": at.undo_batch,
        "scanned": done.scanned,
        "changed": done.changed,
        "skipped": done.skipped,
        "left_alone": json.dumps(at.left_alone),
    }
    cursor.execute(statements.ADVANCE_CHECKPOINT, parameters)


def _advance_run(
    cursor: CursorWrapper, lease: Lease, number: int, size: int, seconds: float
) -> None:
    cursor.execute(
        statements.ADVANCE_RUN,
        {"run": lease.run_id, "batch": number, "size": size, "seconds": seconds},
    )
