"""What a column holds: each distinct value with its rows; and the map from spellings to stages."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from normalization import decision_store
from normalization.stages import Meaning, SpellingTable, Unknown, normalize, stage_name
from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn

MAP_SIZE = 4096


@dataclass(frozen=True, slots=True)
class StoredSpelling:
    """The rows of one text that hold one stage, with the lowest and highest of their keys.

    `raw` is the text, `held` what the column of the stage has, `becomes` what a run writes there.
    `unfilled`: the text is not in the source yet. `first` and `last` are None where the table's
    key is not an integer.
    """

    meaning: Meaning
    raw: str
    held: str | None
    becomes: str | None
    unfilled: bool
    rows: int
    first: int | None
    last: int | None

    @property
    def changes(self) -> bool:
        """Whether a run would rewrite these rows."""
        return self.unfilled or self.held != self.becomes

    @property
    def stage(self) -> str:
        """The stage that the text means; "" for one that means none."""
        return stage_name(self.meaning) or ""

    @property
    def suggestions(self) -> list[str]:
        """The stages that an unknown value probably means."""
        return list(self.meaning.suggestions) if isinstance(self.meaning, Unknown) else []


def survey(column: StageColumn, table: SpellingTable) -> Iterator[StoredSpelling]:
    """Yield the distinct texts of `column` in byte order, streamed: there may be as many as rows.

    One sequential scan with a hash of the distinct texts. It blocks no other session. A row
    without a text has no stage to derive.
    """
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(column.sql(statements.SURVEY))
        for raw, held, unfilled, rows, first, last in cursor:
            meaning = normalize(raw, table)
            becomes = derive(column, raw, meaning)
            yield StoredSpelling(meaning, raw, held, becomes, unfilled, rows, first, last)


def derive(column: StageColumn, raw: str, meaning: Meaning) -> str | None:
    """Return what the column holds for a text: its stage; without one NULL, or else the text."""
    return stage_name(meaning) or (None if column.derived else raw)


def has_unfilled(column: StageColumn) -> bool:
    """Return whether rows of an earlier release wait for their source."""
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.UNFILLED))
        return bool(cursor.fetchone()[0])


def fresh_table() -> SpellingTable:
    """Return the spelling table as the database has it now, past this process's snapshot."""
    decision_store.forget()
    return decision_store.current()


class SpellingMap:
    """The texts that a batch sends to the database with what they become: the newest `limit`.

    The map need not be complete: a batch that meets a new text passes it to `learn`.
    """

    def __init__(
        self,
        column: StageColumn,
        table: SpellingTable,
        pairs: Iterable[tuple[str, str | None]] = (),
        limit: int | None = MAP_SIZE,
    ) -> None:
        self.column = column
        self.table = table
        self._limit = limit
        self._stages: dict[str, str | None] = {}
        self._add(pairs)

    def __len__(self) -> int:
        return len(self._stages)

    def __contains__(self, raw: object) -> bool:
        return raw in self._stages

    def arrays(self) -> dict[str, list[Any]]:
        """Return the parameters `raws` and `stages` of a statement."""
        return {"raws": list(self._stages), "stages": list(self._stages.values())}

    def becomes(self, raw: str) -> str | None:
        """Return what the column is to hold for a text."""
        return derive(self.column, raw, normalize(raw, self.table))

    def learn(self, raws: Iterable[str]) -> "SpellingMap":
        """Add `raws`; returns a map of these alone."""
        learned = [(raw, self.becomes(raw)) for raw in raws]
        self._add(learned)
        return SpellingMap(self.column, self.table, learned, limit=None)

    def _add(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        self._stages.update(pairs)
        while self._limit is not None and len(self._stages) > self._limit:
            del self._stages[next(iter(self._stages))]
