"""What a run did and found, bounded for a page: its spellings, its unknown values and its last batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, assert_never

from django.db import connection

from normalization import decision_store
from normalization.stages import (
    BUILTIN,
    LONGEST,
    Known,
    Meaning,
    Outside,
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
class Pair:
    """Rows that went from `raw` to `stage`, and of how many in the plan (None: the plan does not tell)."""

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
        """What became of it for a page: after an undo, that is a client's text."""
        return visible(self.stage)


@dataclass(frozen=True, slots=True)
class UnknownValue:
    """A value that stays as it is. `now`: the stage that an alias decided since; `may_be_alias`: whether one can be."""

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
    def may_be_alias(self) -> bool:
        """Whether the form of aliases can take it."""
        return not self.now and len(self.raw) <= LONGEST and not BUILTIN.holds(fold(self.raw))


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch in one column, as the log has it."""

    number: int
    table: str
    column: str
    spellings: int
    rows: int
    written_at: Any


@dataclass(frozen=True, slots=True)
class Cut:
    """The first of a list, and how many there are more."""

    shown: list[Any]
    more: int


def pairs(run: BackfillRun) -> Cut:
    """What was written by value, the most frequent first; before the first batch, what is planned."""
    planned = _planned(run)
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN, {"run": run.pk, "shown": PAIRS_SHOWN})
        rows = cursor.fetchall()
    found = [
        Pair(raw, stage, int(written), planned.pop((raw, stage), None))
        for raw, stage, written, _ in rows
    ]
    distinct = rows[0][3] if rows else 0
    if distinct <= len(
        found
    ):  # else those that are planned only may have been written further down
        found += [Pair(raw, stage, 0, total) for (raw, stage), total in planned.items()]
        distinct = len(found)
    return Cut(found[:PAIRS_SHOWN], distinct - len(found[:PAIRS_SHOWN]))


def unknown(run: BackfillRun) -> Cut:
    """The values that it left, as counted at its end, or as planned; the most frequent first."""
    values = run.unknown or [
        {**value, "table": column["table"], "column": column["column"]}
        for column in run.plan.get("columns", [])
        for value in column["unknown"]
    ]
    values = sorted(values, key=lambda value: -value["rows"])
    table = decision_store.current()
    first = [
        UnknownValue(
            value["raw"],
            f"{value['table']}.{value['column']}",
            value["rows"],
            list(value["suggestions"]),
            _decided(normalize(value["raw"], table)),
        )
        for value in islice(values, UNKNOWN_SHOWN)
    ]
    return Cut(first, len(values) - len(first))


def _decided(meaning: Meaning) -> str:
    """Return what was decided since, or "" for a value that is still undecided."""
    match meaning:
        case Known():
            return meaning.stage.value
        case Outside():
            return "outside"
        case Unknown():
            return ""
        case _:
            assert_never(meaning)


def batches(run: BackfillRun) -> list[Batch]:
    """The last batches that wrote something, newest first."""
    with connection.cursor() as cursor:
        cursor.execute(BATCHES, {"run": run.pk, "last": run.batch, "shown": BATCHES_SHOWN})
        return [Batch(*row) for row in cursor.fetchall()]


def _planned(run: BackfillRun) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for raw, stage, rows in _of_plan(run):
        found[raw, stage] = found.get((raw, stage), 0) + rows
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _of_plan(run: BackfillRun) -> Iterator[tuple[str, str, int]]:
    for column in run.plan.get("columns", []):
        for pair in column["pairs"]:
            yield pair["raw"], pair["stage"], pair["rows"]
