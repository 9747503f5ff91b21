"""The constraints of a clean column: add, compare and drop them.

A CHECK restricts the column to canonical stages, and a derived column to these or NULL. Once every
row has its text in the source, the source becomes NOT NULL as well: the contract step after the
first complete run. Each is added NOT VALID, which locks the table for a moment only, and validated
afterwards.
A constraint is current if it allows exactly the stages of today's `Stage`. A release with another
set of stages makes it stale: `validate` replaces it, and a system check (`ops.checks`) reports it.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from psycopg import sql

from normalization.fields import CANONICAL_CONSTRAINT
from ops.backfill import sql as statements
from ops.backfill.columns import CANONICAL, StageColumn, quote

# ADD CONSTRAINT locks the table against every other session for a moment. It must not queue behind
# a long transaction: every other session would then queue behind it.
LOCK_TIMEOUT = "2s"

# Exists only while a source becomes NOT NULL.
SOURCE_CONSTRAINT = "_present"

TABLE_PART, COLUMN_PART, DIGEST_PART = 30, 21, 8

_LITERAL = re.compile(r"'((?:[^']|'')*)'")


class NotClean(ValueError):
    """The column holds a value that is not a canonical stage."""


@dataclass(frozen=True, slots=True)
class ColumnConstraint:
    """The constraint of a column as the database has it; `stages` are the values it allows."""

    name: str
    validated: bool
    stages: frozenset[str]

    @property
    def current(self) -> bool:
        """Whether it allows exactly today's stages."""
        return self.stages == frozenset(CANONICAL)


def name(table: str, column: str, suffix: str = CANONICAL_CONSTRAINT) -> str:
    """Return the constraint's name: unique for the column, at most 63 characters.

    A name that would be too long is cut and gets a digest of the whole name.
    """
    if len(table) <= TABLE_PART and len(column) <= COLUMN_PART:
        return f"{table}_{column}{suffix}"
    digest = hashlib.sha256(f"{table}.{column}".encode()).hexdigest()[:DIGEST_PART]
    room = COLUMN_PART - DIGEST_PART - 1
    return f"{table[:TABLE_PART]}_{column[:room]}_{digest}{suffix}"


def find(column: StageColumn) -> ColumnConstraint | None:
    """Return the column's constraint, or None; also one whose name an earlier release cut."""
    parameters: dict[str, Any] = {
        "table": column.regclass,
        "column": column.column,
        "names": [name(column.table, column.column), _earlier_name(column)],
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.CONSTRAINTS, parameters)
        row = cursor.fetchone()
    if row is None:
        return None
    found, validated, definition = row
    return ColumnConstraint(found, validated, _stages_in(definition))


def validate(column: StageColumn) -> None:
    """Restrict the column to canonical stages from now on; replaces a stale constraint.

    A derived column may be NULL, and its source becomes NOT NULL. The caller has verified the
    column. VALIDATE lets reads and writes continue. A row that became unclean since makes
    PostgreSQL refuse (IntegrityError); what this call added is then removed.
    """
    found = find(column)
    if found and found.current and found.validated:
        _require_source(column)
        return
    if found is None or not found.current:
        _replace(column, found)
    try:
        _execute(column, statements.VALIDATE_CONSTRAINT, _name_in_database(column))
        _require_source(column)
    except Exception:
        _execute(column, statements.DROP_CONSTRAINT, _name_in_database(column))
        raise


def drop(column: StageColumn) -> None:
    """Let the column hold any text again, and its source be NULL."""
    _execute(column, statements.DROP_CONSTRAINT, _name_in_database(column))
    if requires_source(column):
        _execute(column, statements.RELEASE_SOURCE, "")


def requires_source(column: StageColumn) -> bool:
    """Return whether the database refuses a row without a source that the model would allow."""
    if not column.fillable:
        return False
    parameters = {"table": column.regclass, "source": column.source}
    with connection.cursor() as cursor:
        cursor.execute(statements.SOURCE_REQUIRED, parameters)
        row = cursor.fetchone()
    return bool(row and row[0])


def _require_source(column: StageColumn) -> None:
    """Make a nullable source NOT NULL: a validated CHECK saves SET NOT NULL its look at each row.

    Raises IntegrityError, with nothing changed, while a row has no source.
    """
    if not column.fillable or requires_source(column):
        return
    check = name(column.table, column.source, SOURCE_CONSTRAINT)
    _execute(column, statements.DROP_CONSTRAINT, check)
    _execute(column, statements.ADD_SOURCE_CONSTRAINT, check)
    try:
        _execute(column, statements.VALIDATE_CONSTRAINT, check)
        _execute(column, statements.REQUIRE_SOURCE, check)
    finally:
        _execute(column, statements.DROP_CONSTRAINT, check)


def holds(column: StageColumn) -> bool:
    """Return whether a validated, current constraint keeps the column canonical."""
    found = find(column)
    return found is not None and found.validated and found.current


def _replace(column: StageColumn, stale: ColumnConstraint | None) -> None:
    with transaction.atomic():
        if stale:
            _execute(column, statements.DROP_CONSTRAINT, stale.name)
        add = statements.ADD_DERIVED_CONSTRAINT if column.derived else statements.ADD_CONSTRAINT
        _execute(column, add, name(column.table, column.column))


def _name_in_database(column: StageColumn) -> str:
    found = find(column)
    return found.name if found else name(column.table, column.column)


def _earlier_name(column: StageColumn) -> str:
    # Releases before the digest cut both parts, so that two tables could share a name.
    table, part = column.table[:TABLE_PART], column.column[:COLUMN_PART]
    return f"{table}_{part}{CANONICAL_CONSTRAINT}"


def _stages_in(definition: str) -> frozenset[str]:
    """Return the string literals of the definition, as pg_get_constraintdef prints it."""
    literals = _LITERAL.findall(definition)
    return frozenset(literal.replace("''", "'") for literal in literals)


def _execute(column: StageColumn, template: str, constraint: str) -> None:
    stages = ", ".join(sql.quote(stage) for stage in CANONICAL)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
        named = quote(constraint) if constraint else ""
        cursor.execute(column.sql(template, constraint=named, stages=stages))
