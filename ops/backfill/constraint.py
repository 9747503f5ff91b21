"""The CHECK constraint that keeps a clean column clean: added NOT VALID, then validated; and the way to drop it."""

from collections.abc import Iterable

from django.db import connection, transaction
from psycopg import sql

from normalization.fields import CANONICAL_CONSTRAINT
from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn, quote, regclass
from ops.backfill.survey import CANONICAL

# ADD CONSTRAINT locks the table against everybody for a moment; it must not queue up behind a long transaction, for
# then everybody else queues up behind it.
LOCK_TIMEOUT = "2s"


class NotClean(ValueError):
    """The column holds something that is no canonical stage."""


def name(table: str, column: str) -> str:
    """The constraint's name; at most 63 characters, as PostgreSQL has it."""
    return f"{table[:30]}_{column[:21]}{CANONICAL_CONSTRAINT}"


def validate(column: StageColumn) -> None:
    """Hold the column to canonical stages from now on. Already held: nothing happens.

    The caller has verified the column; a row that slipped in since makes PostgreSQL refuse (IntegrityError), and the
    constraint is taken back. VALIDATE lets reads and writes go on.
    """
    state = _state(column.table, column.column)
    if state is None:
        _execute(column, statements.ADD_CONSTRAINT)
    if not state:
        try:
            _execute(column, statements.VALIDATE_CONSTRAINT)
        except Exception:
            drop(column)
            raise


def drop(column: StageColumn) -> None:
    """Let the column hold any text again."""
    _execute(column, statements.DROP_CONSTRAINT)


def holds(column: StageColumn) -> bool:
    """Whether a validated constraint keeps the column canonical."""
    return bool(_state(column.table, column.column))


def constrained(columns: Iterable[tuple[str, str]]) -> list[str]:
    """Those of the (table, column) that have the constraint, validated or not."""
    return [f"{table}.{column}" for table, column in columns if _state(table, column) is not None]


def _state(table: str, column: str) -> bool | None:
    with connection.cursor() as cursor:
        cursor.execute(
            statements.CONSTRAINT_STATE,
            {"table_name": regclass(table), "constraint": name(table, column)},
        )
        row = cursor.fetchone()
    return row and bool(row[0])


def _execute(column: StageColumn, template: str) -> None:
    stages = ", ".join(sql.quote(stage) for stage in CANONICAL)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        cursor.execute(
            column.sql(
                template, constraint=quote(name(column.table, column.column)), stages=stages
            )
        )
