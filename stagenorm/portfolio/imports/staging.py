"""The rows of an import in a temporary table: their keys, what is there already, the insert.

Keys are found by the database, so that the client's memory does not grow with the file. The table
ends with its transaction, which suits PgBouncer.

Note on keys: the client sends a fingerprint of each line. Equal lines of a file get an ordinal,
and from the second on a key of both. A line that was refused for its stage keeps its ordinal: its
row is of the kind `r`, takes part in numbering and is never inserted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

# The table ends with the transaction, unless that is only a savepoint of another one. A sample of
# 3,000 rows suffices for its statistics, and costs a tenth of the usual one.
CREATE: Final = """
DROP TABLE IF EXISTS pg_temp.import_line;
CREATE TEMPORARY TABLE import_line (
    line bigint NOT NULL, key uuid NOT NULL, nth integer, kind "char" NOT NULL,
    stage_raw varchar(255) NOT NULL, stage varchar(255), name varchar(200) NOT NULL,
    status varchar(20) NOT NULL DEFAULT 'active', sector varchar(100) NOT NULL DEFAULT '',
    invested_usd numeric(16, 2), invested_at date
) ON COMMIT DROP;
ALTER TABLE import_line ALTER key SET STATISTICS 10, ALTER kind SET STATISTICS 10
"""

# Autovacuum never analyzes a temporary table; without statistics the joins below go wrong.
ANALYZE: Final = "ANALYZE import_line (key, kind)"

NUMBER_EQUAL_LINES: Final = """
WITH repeated AS (
    SELECT key FROM import_line WHERE nth IS NULL GROUP BY key HAVING count(*) > 1
), numbered AS (
    SELECT line, row_number() OVER (PARTITION BY key ORDER BY line) AS n
    FROM import_line JOIN repeated USING (key) WHERE nth IS NULL
)
UPDATE import_line SET nth = n FROM numbered
WHERE import_line.line = numbered.line AND n > 1
"""

KEYS_OF_EQUAL_LINES: Final = """
UPDATE import_line SET key = md5(key::text || '.' || nth)::uuid WHERE nth > 1
"""

DROP_REPEATED_KEYS: Final = "DELETE FROM import_line WHERE nth > 1"

ORDINALS_OF_REFUSED: Final = "SELECT line, nth FROM import_line WHERE kind = 'r' AND nth > 1"

# What is there already, by what it is here; `differs` counts other stages.
COUNT: Final = """
SELECT line.kind::text, company.id IS NOT NULL, count(*),
       count(*) FILTER (
           WHERE coalesce(company.stage_raw, company.stage) COLLATE "C" <> line.stage_raw
       )
FROM import_line AS line
LEFT JOIN portfolio_companies AS company
    ON company.fund_id = %(fund)s AND company.source_key = line.key
WHERE line.kind <> 'r'
GROUP BY 1, 2
"""

INSERT: Final = """
INSERT INTO portfolio_companies
    (fund_id, name, stage_raw, stage, status, sector, invested_usd, invested_at,
     created_at, updated_at, source_key, from_import_id)
SELECT %(fund)s, name, stage_raw, stage, status, sector, invested_usd, invested_at,
       now(), now(), key, %(import)s
FROM import_line WHERE kind <> 'r' {unless_there}
"""

# Cheaper than RETURNING, which keeps each key in a temporary file.
BOUNDS: Final = """
SELECT min(id), max(id) FROM portfolio_companies
WHERE fund_id = %(fund)s AND from_import_id = %(import)s
"""

# Checking each row for a conflict costs a third of an insert, so an import without known keys
# leaves it out: nothing else inserts keys of this fund meanwhile.
UNLESS_THERE: Final = """
    ON CONFLICT (fund_id, source_key) WHERE source_key IS NOT NULL DO NOTHING
"""

UPDATE_STAGES: Final = """
UPDATE portfolio_companies AS company
SET stage_raw = line.stage_raw, stage = line.stage, updated_at = clock_timestamp()
FROM import_line AS line
WHERE company.fund_id = %(fund)s AND company.source_key = line.key AND line.kind <> 'r'
  AND coalesce(company.stage_raw, company.stage) COLLATE "C" <> line.stage_raw
"""

# Order does not matter for a sum: no sort of all keys is needed.
EXISTING_KEYS: Final = """
SELECT count(*), coalesce(sum(hashtextextended(
    source_key::text || coalesce(stage_raw, stage, ''), 0)::numeric), 0)::text
FROM portfolio_companies WHERE fund_id = %(fund)s AND source_key IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """Accepted lines by kind: new ones and those whose key is there already.

    `repeated` lines have a key of an earlier line. `differing` lines are there with another stage.
    """

    new: dict[str, int]
    existing: int
    differing: int
    repeated: int


@dataclass(frozen=True, slots=True)
class InsertedRows:
    """How many companies were inserted, and their least and greatest primary key."""

    rows: int
    first: int | None
    last: int | None


class StagedLines:
    """The temporary table of one import. It needs a transaction around it."""

    def __init__(self, fund: int) -> None:
        self._fund = fund

    def copy(self, columns: Sequence[str], blocks: Iterable[str]) -> None:
        """Fill the table from blocks of rows in the text format of COPY."""
        with closing(connection.cursor()) as cursor:
            cursor.execute(CREATE)
            statement = f"COPY import_line ({', '.join(columns)}) FROM STDIN"
            with cursor.copy(statement) as copy:
                for block in blocks:
                    copy.write(block)
            cursor.execute(ANALYZE)

    def find_keys(self, *, named: bool) -> FoundKeys:
        """Number equal lines and look for their keys among the companies of the fund.

        With `named` keys a line whose key an earlier line has is dropped.
        """
        self._run(NUMBER_EQUAL_LINES)
        repeated = self._run(DROP_REPEATED_KEYS if named else KEYS_OF_EQUAL_LINES)
        new: dict[str, int] = {}
        existing = differing = 0
        for kind, there, rows, other in self._rows(COUNT):
            if there:
                existing += rows
                differing += other
            else:
                new[kind] = rows
        return FoundKeys(new, existing, differing, repeated if named else 0)

    def ordinals_of_refused(self) -> dict[int, int]:
        """Return line → ordinal of refused lines that equal an earlier one."""
        return dict(self._rows(ORDINALS_OF_REFUSED))

    def insert(self, import_id: int, *, all_new: bool) -> InsertedRows:
        """Insert the companies that are not there yet; `all_new` if no line can be there."""
        statement = INSERT.format(unless_there="" if all_new else UNLESS_THERE)
        rows = self._run(statement, **{"import": import_id})
        [[first, last]] = self._rows(BOUNDS, **{"import": import_id})
        return InsertedRows(rows, first, last)

    def update_stages(self) -> int:
        """Give companies that are there the stage of their line; return how many changed."""
        return self._run(UPDATE_STAGES)

    def existing_keys(self) -> list[Any]:
        """Return a digest of the keys and stages of the fund's imported companies."""
        [found] = self._rows(EXISTING_KEYS)
        return list(found)

    def _run(self, statement: str, **parameters: Any) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement, {"fund": self._fund, **parameters})
            return int(cursor.rowcount)

    def _rows(self, statement: str, **parameters: Any) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, {"fund": self._fund, **parameters})
            return list(cursor.fetchall())
