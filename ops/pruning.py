"""Deletes stored rows that are older than their limit, in the tables of `settings.KEPT_DAYS` only.

Each batch is a transaction of its own. A run that ends early has deleted the batches before; the
next run continues.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.db import connection
from psycopg import sql

from stagenorm.terminal import ReportProgress, no_progress

BATCH: Final = 1_000

# Whole days: a row that is dated by its midnight stays as long as one that is dated to the second.
# The newest row always stays: it shows when something happened last.
UNTIL: Final = """
SELECT least(date_trunc('day', clock_timestamp()) - make_interval(days => %(days)s), max({moment}))
FROM {table}
"""

COUNT: Final = "SELECT count(*) FROM {table} WHERE {moment} < %(until)s"

# A batch starts at the newest moment of the last one, so that it does not scan the deleted entries
# of the index again. SKIP LOCKED: two runs share the work, and a locked row waits for the next
# run. An array of keys instead of a join: for a join the planner may scan the whole table in each
# batch.
DELETE_BATCH: Final = """
WITH deleted AS (
    DELETE FROM {table} WHERE {key} = ANY (ARRAY(
        SELECT {key} FROM {table} WHERE {moment} >= %(since)s AND {moment} < %(until)s
        ORDER BY {moment} LIMIT %(batch)s FOR UPDATE SKIP LOCKED))
    RETURNING {moment} AS moment
)
SELECT count(*), max(moment) FROM deleted
"""


@dataclass(frozen=True, slots=True)
class PrunedTable:
    """The result for one table: rows older than `until`, and how many of them were deleted.

    `days` is the table's limit; with 0 all rows stay.
    """

    table: str
    days: int
    until: datetime | None = None
    old: int = 0
    deleted: int = 0

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "until": self.until.isoformat() if self.until else None}


@dataclass(frozen=True, slots=True)
class _KeptTable:
    """A table with a limit.

    `moment` is the column that dates its rows; an index begins with it.
    """

    table: str
    key: str
    moment: str
    days: int

    def ask(self, statement: str, **values: Any) -> tuple[Any, ...]:
        names = {name: sql.Identifier(getattr(self, name)) for name in ("table", "key", "moment")}
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(**names), values)
            row: tuple[Any, ...] = cursor.fetchone()
            return row


def prune(*, dry_run: bool = False, progress: ReportProgress = no_progress) -> list[PrunedTable]:
    """Delete the rows that are too old; with `dry_run` only count them.

    Raises `django.db.Error`; finished batches stay deleted.
    """
    return [_prune(kept, dry_run, progress) for kept in _tables()]


def _tables() -> Iterator[_KeptTable]:
    for place, days in settings.KEPT_DAYS.items():
        name, _, moment = place.rpartition(".")
        model = apps.get_model(name)
        fields = model._meta
        yield _KeptTable(
            fields.db_table, str(fields.pk.column), str(fields.get_field(moment).column), days
        )


def _prune(kept: _KeptTable, dry_run: bool, progress: ReportProgress) -> PrunedTable:
    if not kept.days:
        return PrunedTable(kept.table, 0)
    (until,) = kept.ask(UNTIL, days=kept.days)
    (old,) = kept.ask(COUNT, until=until)
    deleted = 0
    since = "-infinity"
    while old and not dry_run:
        progress(kept.table, deleted, old)
        count, newest = kept.ask(DELETE_BATCH, since=since, until=until, batch=BATCH)
        if not count:
            break
        deleted += count
        since = newest
    return PrunedTable(kept.table, kept.days, until, old, deleted)
