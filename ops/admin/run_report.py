"""What a run did and left, for its page: its spellings, its unknown values and its last batches.

Each list is bounded: a run may meet as many spellings as there are rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never

from django.db import connection

from normalization import decision_store
from normalization.stages import (
    BUILTIN,
    LONGEST,
    Known,
    Meaning,
    Outside,
    SpellingTable,
    Unknown,
    fold,
    normalize,
)
from ops.admin_ui.characters import Visible, visible
from ops.backfill.models import BackfillRun

PAIRS_SHOWN: Final = 50
UNKNOWN_SHOWN: Final = 50
BATCHES_SHOWN: Final = 15

WRITTEN = """
SELECT before, after, sum(rows), count(*) OVER ()
FROM stage_normalization_log WHERE run_id = %(run)s
GROUP BY before, after ORDER BY 3 DESC, 1, 2 LIMIT %(shown)s
"""

BATCHES = """
SELECT batch, table_name, column_name, count(*), sum(rows), max(written_at)
FROM stage_normalization_log WHERE run_id = %(run)s AND batch > %(last)s - %(shown)s
GROUP BY batch, table_name, column_name ORDER BY batch DESC, table_name, column_name
"""


@dataclass(frozen=True, slots=True)
class WrittenPair:
    """Rows that changed from `raw` to `stage`; `planned`: how many the plan had, None if unknown."""

    raw: str
    stage: str
    rows: int
    planned: int | None

    @property
    def before(self) -> Visible:
        """The raw value for a page."""
        return visible(self.raw)

    @property
    def after(self) -> Visible:
        """The value written, for a page; an undo writes a client's text."""
        return visible(self.stage)


@dataclass(frozen=True, slots=True)
class UnknownValue:
    """A value that stays as it is; `now`: what was decided since, or ""."""

    raw: str
    column: str
    rows: int
    suggestions: list[str]
    now: str

    @property
    def shown(self) -> Visible:
        """The value for a page."""
        return visible(self.raw)

    @property
    def only_suggestion(self) -> str:
        """The suggestion, if there is exactly one; else ""."""
        return self.suggestions[0] if len(self.suggestions) == 1 else ""

    @property
    def may_be_alias(self) -> bool:
        """Whether the form of decisions accepts the value."""
        return not self.now and len(self.raw) <= LONGEST and not BUILTIN.holds(fold(self.raw))


@dataclass(frozen=True, slots=True)
class LoggedBatch:
    """One batch in one column, as the log has it."""

    number: int
    table: str
    column: str
    spellings: int
    rows: int
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The first items of a list, and how many more it has."""

    shown: list[Any]
    more: int


def pairs(run: BackfillRun) -> Excerpt:
    """Return what was written by value, the most frequent first; before a batch, what is planned."""
    planned = _planned(run)
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN, {"run": run.pk, "shown": PAIRS_SHOWN})
        rows = cursor.fetchall()
    found = [
        WrittenPair(raw, stage, int(written), planned.pop((raw, stage), None))
        for raw, stage, written, _ in rows
    ]
    distinct = rows[0][3] if rows else 0
    if distinct <= len(found):
        # The list of written values is complete, so what is left of the plan was not written.
        found += [WrittenPair(raw, stage, 0, rows) for (raw, stage), rows in planned.items()]
        distinct = len(found)
    shown = found[:PAIRS_SHOWN]
    return Excerpt(shown, distinct - len(shown))


def unknown(run: BackfillRun) -> Excerpt:
    """Return the values that the run left, or that its plan leaves; the most frequent first."""
    values = sorted(run.unknown or _unknown_of_plan(run), key=lambda value: -value["rows"])
    table = decision_store.current()
    shown = [_unknown_value(value, table) for value in values[:UNKNOWN_SHOWN]]
    return Excerpt(shown, len(values) - len(shown))


def batches(run: BackfillRun) -> list[LoggedBatch]:
    """Return the last batches that wrote something, newest first."""
    with connection.cursor() as cursor:
        cursor.execute(BATCHES, {"run": run.pk, "last": run.batch, "shown": BATCHES_SHOWN})
        return [LoggedBatch(*row) for row in cursor.fetchall()]


def _unknown_value(value: dict[str, Any], table: SpellingTable) -> UnknownValue:
    meaning = normalize(value["raw"], table)
    return UnknownValue(
        raw=value["raw"],
        column=f"{value['table']}.{value['column']}",
        rows=value["rows"],
        suggestions=list(value["suggestions"]),
        now=_decided(meaning),
    )


def _decided(meaning: Meaning) -> str:
    match meaning:
        case Known():
            return meaning.stage.value
        case Outside():
            return "outside"
        case Unknown():
            return ""
        case _:
            assert_never(meaning)


def _unknown_of_plan(run: BackfillRun) -> Iterator[dict[str, Any]]:
    for column in run.plan.get("columns", []):
        for value in column["unknown"]:
            yield {**value, "table": column["table"], "column": column["column"]}


def _planned(run: BackfillRun) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for column in run.plan.get("columns", []):
        for pair in column["pairs"]:
            key = pair["raw"], pair["stage"]
            found[key] = found.get(key, 0) + pair["rows"]
    return dict(sorted(found.items(), key=lambda each: -each[1]))
