"""One batch: rows, log, checkpoint and fencing check in one transaction. Either all of it is there or none."""

import json
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn
from ops.backfill.lease import Lease
from ops.backfill.models import BackfillCheckpoint
from ops.backfill.survey import CANONICAL, Mapping

# Longest waits inside a batch. Table locks are waited for a while (a migration takes one for a moment); a row that a
# client holds only briefly: together with the batch this stays under deadlock_timeout (1 s by default), so that in a
# deadlock it is always the backfill that gives way.
TABLE_LOCK_TIMEOUT = "2s"
ROW_LOCK_TIMEOUT = "300ms"
STATEMENT_TIMEOUT = "15s"


@dataclass(frozen=True, slots=True)
class Position:
    """A column's checkpoint as one transaction read it."""

    checkpoint: int
    cursor: int
    until: int | None
    undo_batch: int | None
    left_alone: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch did. `first` (exclusive) to `last`: the keys it looked at. `contended`: a client waited for it."""

    number: int
    first: int
    last: int
    scanned: int
    changed: int
    skipped: int
    contended: bool
    finished: bool
    seconds: float = 0.0


def apply_batch(
    lease: Lease,
    column: StageColumn,
    mapping: Mapping,
    size: int,
    *,
    waits: bool = False,
    fenced: bool = True,
    number: int | None = None,
) -> Outcome:
    """Normalize the next `size` rows of `column` that the checkpoint has not seen, in one transaction.

    `waits`: wait (briefly) for rows that clients hold, instead of passing by. Not `fenced`: part of a larger
    transaction that checks the lease at its end, with its own batch `number`.
    Raises LeaseLost or Steered and writes nothing when the run is no longer this process's.
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
            return Outcome(
                number - 1, at.cursor, at.cursor, 0, 0, 0, contended=False, finished=True
            )
        page |= {"end": end, **_log_columns(lease, column, number)}
        changed, skipped = _write_page(cursor, column, page, mapping, waits)
        contended = _contended(cursor)
        seconds = perf_counter() - start
        _advance(cursor, at, cursor_at=end, scanned=scanned, changed=changed, skipped=skipped)
        if fenced:
            _advance_run(cursor, lease, number, size, seconds)
    finished = scanned < size or end == at.until
    return Outcome(
        number,
        at.cursor,
        end,
        scanned,
        changed,
        skipped,
        contended,
        finished,
        perf_counter() - start,
    )


def undo_batch(lease: Lease, column: StageColumn, undoes: int, size: int) -> Outcome:
    """Give back up to `size` rows of the newest batch of run `undoes` that is not given back yet.

    Only rows that still hold what the run wrote. Raises as `apply_batch` does.
    """
    start = perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        _set_limits(cursor, lease, ROW_LOCK_TIMEOUT)
        number = lease.fence() + 1
        at = _position(lease, column)
        if at.undo_batch is None:
            return Outcome(
                number - 1, at.cursor, at.cursor, 0, 0, 0, contended=False, finished=True
            )
        page = {"after": at.cursor, "size": size, "undoes": undoes, "undo_batch": at.undo_batch}
        page |= _log_columns(lease, column, number)
        cursor.execute(statements.UNDO_END, page)
        end, scanned = cursor.fetchone()
        changed, left_alone = 0, at.left_alone
        if scanned:
            cursor.execute(column.sql(statements.UNDO_PAGE), {**page, "end": end})
            changed, left_alone = _undone(cursor.fetchall(), left_alone)
        if scanned < size:  # this batch of the run is done: on to the one before
            at, end = replace(at, undo_batch=_batch_before(cursor, page, at.undo_batch)), _LEAST
        contended = _contended(cursor)
        seconds = perf_counter() - start
        _advance(
            cursor,
            replace(at, left_alone=left_alone),
            cursor_at=end,
            scanned=scanned,
            changed=changed,
            skipped=0,
        )
        _advance_run(cursor, lease, number, size, seconds)
    finished = at.undo_batch is None
    return Outcome(
        number, at.cursor, end, scanned, changed, 0, contended, finished, perf_counter() - start
    )


# Below every key, and still a bigint: -(2**63) would be read as a numeric, which no index on the key serves.
_LEAST = -(2**63) + 1


def _set_limits(cursor: CursorWrapper, lease: Lease, lock_timeout: str) -> None:
    # A holder that stops in the middle gives its rows back before its lease can be taken over.
    idle = f"{max(1000, int(lease.seconds * 1000))}ms"
    cursor.execute(
        statements.LIMITS, {"lock": lock_timeout, "statement": STATEMENT_TIMEOUT, "idle": idle}
    )


def _position(lease: Lease, column: StageColumn) -> Position:
    found = BackfillCheckpoint.objects.get(
        run_id=lease.run_id, table_name=column.table, column_name=column.column
    )
    cursor = _LEAST if found.cursor is None else found.cursor
    return Position(found.pk, cursor, found.until, found.undo_batch, found.left_alone)


def _log_columns(lease: Lease, column: StageColumn, number: int) -> dict[str, Any]:
    return {
        "run": lease.run_id,
        "batch": number,
        "table_name": column.table,
        "column_name": column.column,
    }


def _write_page(
    cursor: CursorWrapper, column: StageColumn, page: dict[str, Any], mapping: Mapping, waits: bool
) -> tuple[int, int]:
    """(changed, passed by). Takes the page again for the spellings that nobody had met before."""
    statement = column.sql(statements.APPLY_PAGE, skip_locked="" if waits else "SKIP LOCKED")
    seen, written = _write(cursor, statement, page, mapping)
    met = sum(rows for raw, rows in seen.items() if raw in mapping)
    if learned := mapping.learn(
        raw for raw in seen if raw not in mapping and raw not in CANONICAL
    ):
        met += sum(rows for raw, rows in seen.items() if raw in learned)
        written += _write(cursor, statement, page, learned)[1]
    return written, met - written


def _write(
    cursor: CursorWrapper, statement: str, page: dict[str, Any], mapping: Mapping
) -> tuple[dict[str | None, int], int]:
    """(rows by value as the page was before, rows written)."""
    cursor.execute(statement, {**page, **mapping.arrays()})
    *seen, (_, _, written) = cursor.fetchall()
    return {raw: int(rows) for _, raw, rows in seen}, int(written)


def _undone(
    rows: list[tuple[str, int, list[int] | None]], before: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    changed, left_alone = 0, dict(before)
    for reason, count, ids in rows:
        if reason == "written":
            changed = int(count)
        else:
            known = left_alone.get(reason, {"rows": 0, "ids": []})
            left_alone[reason] = {
                "rows": known["rows"] + int(count),
                "ids": (known["ids"] + (ids or []))[:20],
            }
    return changed, left_alone


def _batch_before(cursor: CursorWrapper, page: dict[str, Any], batch: int) -> int | None:
    cursor.execute(
        statements.LAST_BATCH_BEFORE,
        {key: page[key] for key in ("undoes", "table_name", "column_name")} | {"batch": batch},
    )
    return cursor.fetchone()[0]  # type: ignore[no-any-return]


def _contended(cursor: CursorWrapper) -> bool:
    cursor.execute(statements.WAITERS_FOR_US)
    return bool(cursor.fetchone()[0])


def _advance(
    cursor: CursorWrapper,
    at: Position,
    *,
    cursor_at: int,
    scanned: int,
    changed: int,
    skipped: int,
) -> None:
    cursor.execute(
        statements.ADVANCE_CHECKPOINT,
        {
            "checkpoint": at.checkpoint,
            "cursor": cursor_at,
            "undo_batch": at.undo_batch,
            "scanned": scanned,
            "changed": changed,
            "skipped": skipped,
            "left_alone": json.dumps(at.left_alone),
        },
    )


def _advance_run(
    cursor: CursorWrapper, lease: Lease, number: int, size: int, seconds: float
) -> None:
    cursor.execute(
        statements.ADVANCE_RUN,
        {"run": lease.run_id, "batch": number, "size": size, "seconds": seconds},
    )
