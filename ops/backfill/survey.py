"""What a column holds: each distinct value once, with its rows; and the mapping from raw values to stages."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.db import connection, transaction

from normalization.stages import Known, Meaning, SpellingTable, Stage, normalize
from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn

MAPPING_SIZE = 4096
CANONICAL = [stage.value for stage in Stage]


@dataclass(frozen=True, slots=True)
class Spelled:
    """A distinct value: what it means, how many rows hold it, and the least and greatest of their keys."""

    meaning: Meaning
    raw: str
    rows: int
    first: int
    last: int

    @property
    def changes(self) -> bool:
        """Whether a run would rewrite these rows."""
        return isinstance(self.meaning, Known) and not self.meaning.canonical


def survey(column: StageColumn, aliases: SpellingTable) -> Iterator[Spelled]:
    """The distinct values of `column`, in byte order; streamed, for there may be as many as rows.

    One sequential scan with a hash of the distinct values; locks nothing that anybody waits for. NULLs are no stages.
    """
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(column.sql(statements.SURVEY))
        for raw, rows, first, last in cursor:
            yield Spelled(normalize(raw, aliases), raw, rows, first, last)


class Mapping:
    """The spellings that travel to the database as two arrays; at most `limit`, the newest ones.

    It need not be complete: a batch that meets a spelling that is not in it brings it back to `learn`.
    """

    def __init__(
        self,
        aliases: SpellingTable,
        pairs: Iterable[tuple[str, str]] = (),
        limit: int | None = MAPPING_SIZE,
    ) -> None:
        self.aliases = aliases
        self._limit = limit
        self._stages: dict[str, str] = {}
        self._add(pairs)

    def __len__(self) -> int:
        return len(self._stages)

    def __contains__(self, raw: object) -> bool:
        return raw in self._stages

    def arrays(self) -> dict[str, list[str]]:
        """The parameters `raws` and `stages` of a statement."""
        return {"raws": list(self._stages), "stages": list(self._stages.values())}

    def learn(self, raws: Iterable[str | None]) -> "Mapping":
        """Add those of `raws` that are other spellings of a stage; returns them alone, all of them."""
        meanings = [normalize(raw, self.aliases) for raw in raws]
        learned = [
            (known.raw, known.stage.value) for known in meanings if isinstance(known, Known)
        ]
        self._add(learned)
        return Mapping(self.aliases, learned, limit=None)

    def _add(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._stages.update(pairs)
        while self._limit is not None and len(self._stages) > self._limit:
            del self._stages[next(iter(self._stages))]
