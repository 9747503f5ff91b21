"""Whether every stored stage is canonical."""

from collections.abc import Iterable

from django.db import connection

from ops.backfill import columns, constraint
from ops.backfill import sql as statements
from ops.backfill.plan import ColumnPlan, make_plan
from ops.backfill.survey import CANONICAL

UNCLEAN_LIMIT = 10_000


def verify(only: Iterable[str] = ()) -> list[ColumnPlan]:
    """The distinct values of each column with their rows; `clean` says whether all of them are canonical."""
    return make_plan(columns.find(only), sample=False).columns


def clean(found: ColumnPlan) -> bool:
    """Whether the column holds canonical stages only."""
    return not found.to_change and not found.unknown_rows


def unclean_rows() -> dict[str, dict[str, int]]:
    """{table: {raw: rows}} for what is not canonical; {} when every stored stage is.

    Bounded: it stops after UNCLEAN_LIMIT such rows of a column (so the counts say "at least"), looks at nothing where
    a validated constraint holds the column, and otherwise reads the table once.
    """
    found: dict[str, dict[str, int]] = {}
    for column in columns.find():
        if not constraint.holds(column):
            with connection.cursor() as cursor:
                cursor.execute(
                    column.sql(statements.UNCLEAN),
                    {"canonical": CANONICAL, "limit": UNCLEAN_LIMIT},
                )
                for raw, rows in cursor:
                    values = found.setdefault(column.table, {})
                    values[raw] = values.get(raw, 0) + rows
    return found
