"""What a database holds, as a few figures that a restored copy must reproduce: rows, digests, stages, schema.

Counted in the very snapshot that the dump is taken from. Counts taken before or after it differ from the dump as soon
as somebody writes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, TypedDict

from psycopg import sql

from normalization import columns as normalization_columns
from ops.backups.schema import schema_facts
from ops.backups.source import Link, one

MOST_SPELLINGS: Final = 1_000

# Text forms of values depend on these; the same on both sides, or equal rows would differ.
TEXT_FORMS: Final = (
    "SET search_path = pg_catalog",
    "SET datestyle = 'ISO, YMD'",
    "SET intervalstyle = 'postgres'",
    "SET timezone = 'UTC'",
    "SET bytea_output = 'hex'",
    "SET extra_float_digits = 1",
    "SET lc_monetary = 'C'",
    "SET row_security = off",  # a policy that hides rows is an error, not a smaller count
)

TABLES: Final = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

# Order does not matter, and two equal rows do not cancel out as they would under XOR.
DIGEST: Final = """
SELECT count(*), coalesce(sum(hashtextextended((t.*)::text COLLATE "C", 0)), 0)::text FROM ONLY {table} t
"""

STAGES: Final = """
SELECT {column}, count(*) FROM ONLY {table} WHERE {column} IS NOT NULL
GROUP BY 1 ORDER BY 2 DESC, {column} COLLATE "C" LIMIT {limit}
"""

LARGE_OBJECTS: Final = "SELECT count(*) FROM pg_largeobject_metadata"


class TableFacts(TypedDict):
    """Rows of one table and the digest over all their values."""

    rows: int
    digest: str


class Facts(TypedDict):
    """What a snapshot holds.

    `stages`: "table.column" → spelling → rows, the 1,000 most frequent. `schema`: object → digest.
    """

    tables: dict[str, TableFacts]
    stages: dict[str, dict[str, int]]
    schema: dict[str, str]
    schema_digest: str
    large_objects: int


def collect(link: Link, *, hold: bool = False) -> Facts:
    """Return the facts of what `link` sees; for a snapshot, `link` is inside its transaction.

    `hold` keeps the tables as they are until that transaction ends, as pg_dump does for itself: a TRUNCATE or a rewrite
    would otherwise reach into the snapshot.
    """
    columns = stage_columns(link)
    for statement in TEXT_FORMS:
        link.execute(statement.encode())
    tables = [(space, name) for space, name in link.execute(TABLES)]
    if hold and tables:
        names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
        link.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(names))
    schema = schema_facts(link)
    return Facts(
        tables={_shown(table): _table_facts(link, table) for table in tables},
        stages={
            f"{_shown(table)}.{column}": _stages(link, table, column)
            for table, column in columns
            if table in tables
        },
        schema=schema,
        schema_digest=hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest(),
        large_objects=one(link.execute(LARGE_OBJECTS))[0],
    )


def stage_columns(link: Link) -> list[tuple[tuple[str, str], str]]:
    """Return ((schema, table), column) for each column that holds stages.

    A table of the same name in another schema is not the application's and holds none.
    """
    columns = normalization_columns.stage_columns()
    link.execute("RESET search_path")
    found = link.execute(normalization_columns.SCHEMAS, [[each.table for each in columns]])
    schemas: dict[str, str] = dict(found.fetchall())
    return [
        ((schemas[each.table], each.table), each.column)
        for each in columns
        if each.table in schemas
    ]


def _table_facts(link: Link, table: tuple[str, str]) -> TableFacts:
    rows, digest = one(link.execute(sql.SQL(DIGEST).format(table=sql.Identifier(*table))))
    return TableFacts(rows=rows, digest=digest)


def _stages(link: Link, table: tuple[str, str], column: str) -> dict[str, int]:
    query = sql.SQL(STAGES).format(
        table=sql.Identifier(*table),
        column=sql.Identifier(column),
        limit=sql.Literal(MOST_SPELLINGS),
    )
    return dict(link.execute(query).fetchall())


def _shown(table: tuple[str, str]) -> str:
    return ".".join(table)
