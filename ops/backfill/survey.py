"""What a column holds: each distinct text with its rows, and what today's decisions make of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection, transaction

from normalization import decision_store
from normalization.stages import Meaning, SpellingTable, Unknown, normalize, stage_name
from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn


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
    without a text has no stage to derive. The rows come one by one without a server-side cursor,
    because PostgreSQL scans in parallel only for a statement that runs to its end. The connection
    serves no other statement until the last row.
    """
    with transaction.atomic(), connection.cursor() as cursor, connection.wrap_database_errors:
        rows_of_texts = cursor.cursor.stream(column.sql(statements.SURVEY))
        for raw, held, unfilled, rows, first, last in rows_of_texts:
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
