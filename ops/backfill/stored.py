"""How the stored stages stand against today's decisions: the facts of `stored_stages_clean`.

The gate is asked on every page of the rollout, so the facts must be cheap for millions of rows.
With an index on (source, stage) they are found text by text. A column without that index, without
a source or with more than DISTINCT_LIMIT texts is surveyed instead, which reads the table once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from django.db import connection

from normalization import decision_store
from normalization.stages import SpellingTable, Unknown, normalize
from ops.backfill import columns
from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn
from ops.backfill.survey import derive, survey
from ops.gates.stored_rule import NOT_DERIVED_COUNTED_TO, StoredStages

DISTINCT_LIMIT: Final = 20_000
SPELLINGS_NAMED: Final = 5


def stored_stages() -> StoredStages:
    """Return the facts about all columns together, judged by the decisions in force now.

    Of the rows that are not derived it counts at most NOT_DERIVED_COUNTED_TO of a column.
    """
    table = decision_store.newest()
    rows = not_derived = 0
    undecided: Counter[str] = Counter()
    for column in columns.find():
        each = _by_text(column, table) or _by_survey(column, table)
        rows += each[0]
        not_derived += each[1]
        undecided += each[2]
    return StoredStages(
        rows=rows,
        not_derived=not_derived,
        undecided=undecided.total(),
        spellings=tuple(raw for raw, _ in undecided.most_common(SPELLINGS_NAMED)),
    )


ColumnFacts = tuple[int, int, Counter[str]]
"""Rows, rows that are not derived, and rows by undecided text."""


def _by_survey(column: StageColumn, table: SpellingTable) -> ColumnFacts:
    rows = not_derived = 0
    undecided: Counter[str] = Counter()
    for found in survey(column, table):
        rows += found.rows
        not_derived += found.rows if found.changes else 0
        if isinstance(found.meaning, Unknown):
            undecided[found.raw] += found.rows
    return rows, not_derived, undecided


def _by_text(column: StageColumn, table: SpellingTable) -> ColumnFacts | None:
    """Return the facts by the index, or None if the column has none or too many texts."""
    if not _has_index(column):
        return None
    filled = {"text": column.sql("{source}"), "condition": "true"}
    unfilled = {"text": column.sql("{column}"), "condition": column.sql("t.{unfilled}")}
    places = [filled, unfilled] if column.fillable else [filled]
    texts = [_distinct(column, place) for place in places]
    if any(len(each) > DISTINCT_LIMIT for each in texts):
        return None
    undecided: Counter[str] = Counter()
    for place, raws in zip(places, texts, strict=True):
        unknown = [raw for raw in raws if isinstance(normalize(raw, table), Unknown)]
        undecided.update(_rows_of(column, place, unknown))
    rows, not_derived = _counts(column, texts[0], table)
    return rows, not_derived, undecided


def _has_index(column: StageColumn) -> bool:
    if not column.derived:
        return False
    names = {"table": column.regclass, "source": column.source, "column": column.column}
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.TEXT_INDEX), names)
        return bool(cursor.fetchone()[0])


def _distinct(column: StageColumn, place: dict[str, str]) -> list[str]:
    limit = {"limit": DISTINCT_LIMIT + 1}
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.DISTINCT_TEXTS, **place), limit)
        return [raw for (raw,) in cursor.fetchall()]


def _rows_of(column: StageColumn, place: dict[str, str], raws: list[str]) -> dict[str, int]:
    if not raws:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.ROWS_OF_TEXTS, **place), {"raws": raws})
        return dict(cursor.fetchall())


def _counts(column: StageColumn, raws: Iterable[str], table: SpellingTable) -> tuple[int, int]:
    """Return the rows, and those that do not hold what their text gives or have no source yet."""
    stages = {raw: derive(column, raw, normalize(raw, table)) for raw in raws}
    parameters: dict[str, Any] = {
        "raws": list(stages),
        "stages": list(stages.values()),
        "limit": NOT_DERIVED_COUNTED_TO,
    }
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.COUNTS), parameters)
        rows, wrong, waiting = cursor.fetchone()
    return int(rows), int(wrong) + int(waiting)
