"""Takes away stored rows that have had their time: what `KEPT_DAYS` in the settings names, and nothing else.

Each batch is a transaction of its own. Whatever ends a run early, the batches before it are gone for good and the rest
is there as before; the next run goes on where this one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.db import connection
from psycopg import sql

BATCH: Final = 1_000

# Whole days, so that a row of one day, dated by its midnight, stays as long as one that is dated to the second. The
# newest row always stays: it says when something happened last, which is worth knowing however long ago that was.
UNTIL: Final = """
SELECT least(date_trunc('day', clock_timestamp()) - make_interval(days => %(days)s), max({moment})) FROM {table}
"""

COUNT: Final = "SELECT count(*) FROM {table} WHERE {moment} < %(until)s"

# From the last batch's newest moment on: the index is not walked again through what has just been deleted. SKIP LOCKED,
# so that two runs share the work and a row that somebody holds waits for the next run. An array of keys, not a join:
# for that the planner may read the whole table, and for each batch again.
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
class Pruned:
    """What became of one table: rows older than `until`, and how many of them were deleted. Without `days` all stay."""

    table: str
    days: int
    until: datetime | None = None
    old: int = 0
    deleted: int = 0


# Called with the table, its old rows, and how many of them are deleted so far.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A table with a limit. `moment` is the column that dates its rows; an index begins with it."""

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


def prune(*, dry_run: bool = False, progress: Progress = lambda *_: None) -> list[Pruned]:
    """Delete what is too old, or with `dry_run` only count it; raise `django.db.Error`, with finished batches gone."""
    return [_prune(kept, dry_run, progress) for kept in _tables()]


def _tables() -> Iterator[_Kept]:
    for place, days in settings.KEPT_DAYS.items():
        name, _, moment = place.rpartition(".")
        model = apps.get_model(name)
        fields = model._meta
        yield _Kept(
            fields.db_table, str(fields.pk.column), str(fields.get_field(moment).column), days
        )


def _prune(kept: _Kept, dry_run: bool, progress: Progress) -> Pruned:
    if not kept.days:
        return Pruned(kept.table, 0)
    (until,) = kept.ask(UNTIL, days=kept.days)
    (old,) = kept.ask(COUNT, until=until)
    deleted, since = 0, "-infinity"
    while old and not dry_run:
        progress(kept.table, old, deleted)
        count, newest = kept.ask(DELETE_BATCH, since=since, until=until, batch=BATCH)
        if not count:
            break
        deleted, since = deleted + count, newest
    return Pruned(kept.table, kept.days, until, old, deleted)
