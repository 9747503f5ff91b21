"""What a column holds: each distinct value with its rows; and the map from spellings to stages."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from normalization import decision_store
from normalization.stages import Known, Meaning, SpellingTable, Unknown, normalize
from ops.backfill import columns, constraint
from ops.backfill import sql as statements
from ops.backfill.columns import CANONICAL, StageColumn

MAP_SIZE = 4096
UNCLEAN_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class StoredSpelling:
    """A distinct value: its meaning, its rows, and the lowest and highest of their keys.

    `first` and `last` are None where the table's key is not an integer.
    """

    meaning: Meaning
    raw: str
    rows: int
    first: int | None
    last: int | None

    @property
    def changes(self) -> bool:
        """Whether a run would rewrite these rows."""
        return isinstance(self.meaning, Known) and not self.meaning.canonical

    @property
    def stage(self) -> str:
        """The stage that the value means; "" for one that means none."""
        return self.meaning.stage.value if isinstance(self.meaning, Known) else ""

    @property
    def suggestions(self) -> list[str]:
        """The stages that an unknown value probably means."""
        return list(self.meaning.suggestions) if isinstance(self.meaning, Unknown) else []


def survey(column: StageColumn, table: SpellingTable) -> Iterator[StoredSpelling]:
    """Yield the distinct values of `column` in byte order, streamed: there may be as many as rows.

    One sequential scan with a hash of the distinct values. It blocks no other session. NULL is not
    a stage.
    """
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(column.sql(statements.SURVEY))
        for raw, rows, first, last in cursor:
            yield StoredSpelling(normalize(raw, table), raw, rows, first, last)


def unclean_rows() -> dict[str, dict[str, int]]:
    """Return {table: {raw: rows}} for the stored stages that are not canonical.

    Bounded: counts at most UNCLEAN_LIMIT such rows of a column, so a count means "at least". Skips
    a column that a validated constraint keeps canonical, and otherwise reads the table once.
    """
    found: dict[str, dict[str, int]] = {}
    for column in columns.find():
        if constraint.holds(column):
            continue
        for raw, rows in _unclean_of(column):
            values = found.setdefault(column.table, {})
            values[raw] = values.get(raw, 0) + rows
    return found


def fresh_aliases() -> SpellingTable:
    """Return the spelling table as the database has it now, past this process's snapshot."""
    decision_store.forget()
    return decision_store.current()


class SpellingMap:
    """The spellings that a batch sends to the database, as two arrays; at most `limit`, the newest.

    The map need not be complete: a batch that meets a new spelling passes it to `learn`.
    """

    def __init__(
        self,
        table: SpellingTable,
        pairs: Iterable[tuple[str, str]] = (),
        limit: int | None = MAP_SIZE,
    ) -> None:
        self.table = table
        self._limit = limit
        self._stages: dict[str, str] = {}
        self._add(pairs)

    def __len__(self) -> int:
        return len(self._stages)

    def __contains__(self, raw: object) -> bool:
        return raw in self._stages

    def arrays(self) -> dict[str, list[str]]:
        """Return the parameters `raws` and `stages` of a statement."""
        return {"raws": list(self._stages), "stages": list(self._stages.values())}

    def learn(self, raws: Iterable[str | None]) -> "SpellingMap":
        """Add those of `raws` that are spellings of a stage; returns a map of these alone."""
        learned = []
        for raw in raws:
            meaning = normalize(raw, self.table)
            if isinstance(meaning, Known):
                learned.append((meaning.raw, meaning.stage.value))
        self._add(learned)
        return SpellingMap(self.table, learned, limit=None)

    def _add(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._stages.update(pairs)
        while self._limit is not None and len(self._stages) > self._limit:
            del self._stages[next(iter(self._stages))]


def _unclean_of(column: StageColumn) -> list[tuple[str, int]]:
    parameters: dict[str, Any] = {"canonical": CANONICAL, "limit": UNCLEAN_LIMIT}
    with connection.cursor() as cursor:
        cursor.execute(column.sql(statements.UNCLEAN), parameters)
        return list(cursor.fetchall())
