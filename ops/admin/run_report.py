"""What a run did and left, for its page: its spellings, its unknown values and its last batches.

Each list is bounded: a run may meet as many spellings as there are rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, assert_never
from urllib.parse import quote, urlencode

from django.db import connection
from django.urls import reverse

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
SELECT coalesce(raw, before), after, sum(rows), raw IS NOT NULL, count(*) OVER ()
FROM stage_normalization_log WHERE run_id = %(run)s
GROUP BY 1, 2, 4 ORDER BY 3 DESC, 1, 2 LIMIT %(shown)s
"""

BATCHES = """
SELECT batch, table_name, column_name, count(*), sum(rows), max(written_at)
FROM stage_normalization_log WHERE run_id = %(run)s AND batch > %(last)s - %(shown)s
GROUP BY batch, table_name, column_name ORDER BY batch DESC, table_name, column_name
"""


@dataclass(frozen=True, slots=True)
class WrittenPair:
    """Rows whose text `raw` became `stage`; `planned`: rows in the plan, None if unknown.

    `stage` is None where a derived column holds no stage. `derived`: the column has a source.
    """

    raw: str
    stage: str | None
    rows: int
    planned: int | None
    derived: bool = False

    @property
    def logged_as(self) -> str:
        """The field of the log that has the text."""
        return "raw" if self.derived else "before"

    @property
    def before(self) -> Visible:
        """The text for a page."""
        return visible(self.raw)

    @property
    def after(self) -> Visible | None:
        """The value written, for a page; an undo writes a client's text."""
        return None if self.stage is None else visible(self.stage)


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
    def decision_address(self) -> str:
        """The address of the decision form with the value and its only suggestion filled in."""
        filled = {"spelling": self.raw}
        if len(self.suggestions) == 1:
            filled["stage"] = self.suggestions[0]
        form = reverse("admin:normalization_stagedecision_add")
        return f"{form}?{urlencode(filled, quote_via=quote)}"

    @property
    def may_be_decided(self) -> bool:
        """Whether the decision form accepts the value."""
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
    """Return what was written by value, most frequent first; before a batch, the plan."""
    planned = _planned(run)
    with connection.cursor() as cursor:
        cursor.execute(WRITTEN, {"run": run.pk, "shown": PAIRS_SHOWN})
        rows = cursor.fetchall()
    found = [
        WrittenPair(raw, stage, int(written), planned.pop((raw, stage), None), derived)
        for raw, stage, written, derived, _ in rows
    ]
    distinct = rows[0][-1] if rows else 0
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


def _planned(run: BackfillRun) -> dict[tuple[str, str | None], int]:
    found: dict[tuple[str, str | None], int] = {}
    for column in run.plan.get("columns", []):
        for pair in column["pairs"]:
            key = pair["raw"], pair["stage"]
            found[key] = found.get(key, 0) + pair["rows"]
    return dict(sorted(found.items(), key=lambda each: -each[1]))
