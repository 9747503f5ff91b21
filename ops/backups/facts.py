"""The facts of a snapshot that its restored copy must reproduce: rows, digests, stages, schema.

They are counted in the snapshot that the dump is taken from; the database may change before and
after it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NotRequired, TypedDict

from psycopg import sql

from normalization import columns as normalization_columns
from ops.backups.source import SourceConnection, one

MOST_SPELLINGS: Final = 1_000

# Text forms of values depend on these settings, so both sides use the same ones.
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

# A sum does not depend on the order, and two equal rows do not cancel out as they would under XOR.
DIGEST: Final = """
SELECT count(*), coalesce(sum(hashtextextended((t.*)::text COLLATE "C", 0)), 0)::text
FROM ONLY {table} t
"""

STAGES: Final = """
SELECT {column}, count(*) FROM ONLY {table} WHERE {column} IS NOT NULL
GROUP BY 1 ORDER BY 2 DESC, {column} COLLATE "C" LIMIT {limit}
"""

# Each object is read in pieces of 1 MiB: a value of the server has at most 1 GB. The nested
# subqueries open, measure and close one object after the other (262144 is INV_READ, 2 SEEK_END).
LARGE_OBJECTS: Final = """
SELECT count(DISTINCT oid), coalesce(sum(hashtextextended(
    concat_ws(' ', oid, piece, md5(lo_get(oid, piece * 1048576, 1048576))), 0)), 0)::text
FROM (
    SELECT oid, size, lo_close(descriptor) AS closed
    FROM (
        SELECT oid, descriptor, lo_lseek64(descriptor, 0, 2) AS size
        FROM (
            SELECT oid, lo_open(oid, 262144) AS descriptor
            FROM pg_largeobject_metadata OFFSET 0
        ) AS open_object OFFSET 0
    ) AS measured OFFSET 0
) AS large_object, generate_series(0, size / 1048576) AS piece
"""


class TableFacts(TypedDict):
    """The number of rows of one table, and the digest of all their values."""

    rows: int
    digest: str


class SnapshotFacts(TypedDict):
    """The content of a snapshot.

    `stages`: "table.column" → spelling → rows, the 1,000 most frequent.
    `schema`: object → digest.
    `objects`: object → "catalog oid" of itself and of what it belongs to, as in a dump's list.
    `privileged`: "catalog oid" of functions and casts that only a superuser creates.
    The records of older releases lack the last three.
    """

    tables: dict[str, TableFacts]
    stages: dict[str, dict[str, int]]
    schema: dict[str, str]
    large_objects: int
    large_object_digest: NotRequired[str]
    objects: NotRequired[dict[str, list[str]]]
    privileged: NotRequired[list[str]]


def collect(link: SourceConnection, *, hold: bool = False) -> SnapshotFacts:
    """Return the facts of the database as `link` sees it, for a snapshot inside its transaction.

    `hold` locks the tables until that transaction ends, as pg_dump does: a TRUNCATE or a rewrite
    would otherwise change the content of the snapshot.
    """
    columns = stage_columns(link)
    for statement in TEXT_FORMS:
        link.execute(statement.encode())
    tables = [(space, name) for space, name in link.execute(TABLES)]
    if hold and tables:
        names = sql.SQL(", ").join(sql.Identifier(*table) for table in tables)
        link.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(names))
    schema, objects = schema_facts(link)
    large_objects, large_object_digest = one(link.execute(LARGE_OBJECTS))
    return SnapshotFacts(
        tables={_shown(table): _table_facts(link, table) for table in tables},
        stages={
            f"{_shown(table)}.{column}": _stages(link, table, column)
            for table, column in columns
            if table in tables
        },
        schema=schema,
        large_objects=large_objects,
        large_object_digest=large_object_digest,
        objects=objects,
        privileged=[key for (key,) in link.execute(PRIVILEGED)],
    )


def stage_columns(link: SourceConnection) -> list[tuple[tuple[str, str], str]]:
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


def _table_facts(link: SourceConnection, table: tuple[str, str]) -> TableFacts:
    rows, digest = one(link.execute(sql.SQL(DIGEST).format(table=sql.Identifier(*table))))
    return TableFacts(rows=rows, digest=digest)


def _stages(link: SourceConnection, table: tuple[str, str], column: str) -> dict[str, int]:
    query = sql.SQL(STAGES).format(
        table=sql.Identifier(*table),
        column=sql.Identifier(column),
        limit=sql.Literal(MOST_SPELLINGS),
    )
    return dict(link.execute(query).fetchall())


def _shown(table: tuple[str, str]) -> str:
    return ".".join(table)


# PostgreSQL writes an expression differently once it has been dumped and restored
# (`('a'::varchar)::text` for `'a'::text`), so casts, parentheses and white space are removed
# before the digest. A missing or different column, index, constraint, trigger, view, function,
# type, sequence or policy still changes it. Owners, grants, comments and tablespaces are not
# compared: a drill restores without them. An object without a definition is only named.
#
# The last column has the keys of the object and of what it belongs to: an oid after the oid of
# its catalog (1247 pg_type, 1255 pg_proc, 1259 pg_class, 1417 pg_foreign_server, 2328
# pg_foreign_data_wrapper, 2606 pg_constraint, 2612 pg_language, 2615 pg_namespace, 2620
# pg_trigger, 3079 pg_extension, 3256 pg_policy, 3381 pg_statistic_ext, 3466 pg_event_trigger).
OBJECTS: Final = """
WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), owned_by_extension AS (
    SELECT classid, objid, refobjid FROM pg_depend WHERE deptype = 'e'
), relations AS (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name
    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
    WHERE ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM owned_by_extension)
), columns AS (
    SELECT a.attrelid, string_agg(concat_ws(' ', quote_ident(a.attname),
               format_type(a.atttypid, a.atttypmod),
               a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid),
               CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation::text END),
               ', ' ORDER BY a.attnum) AS text
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
)
SELECT 'schema', quote_ident(nspname), '',
       ARRAY['2615 ' || oid] || ARRAY(SELECT '3079 ' || refobjid FROM owned_by_extension
                                      WHERE (classid, objid) = ('pg_namespace'::regclass, oid))
FROM spaces WHERE nspname <> 'public'
UNION ALL
SELECT CASE r.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'type' END,
       r.name,
       concat_ws(' ', r.relpersistence, r.relrowsecurity, r.relforcerowsecurity, c.text,
                 CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END),
       ARRAY[CASE r.relkind WHEN 'c' THEN '1247 ' || r.reltype ELSE '1259 ' || r.oid END]
FROM relations r LEFT JOIN columns c ON c.attrelid = r.oid
WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT 'sequence', r.name,
       concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
                 s.seqcache, s.seqcycle),
       ARRAY['1259 ' || r.oid]
FROM relations r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL
SELECT 'index', i.name, pg_get_indexdef(i.oid),
       ARRAY['1259 ' || i.oid, '1259 ' || x.indrelid]
           || ARRAY(SELECT '2606 ' || oid FROM pg_constraint WHERE conindid = i.oid)
FROM relations i JOIN pg_index x ON x.indexrelid = i.oid WHERE x.indisvalid
UNION ALL
SELECT 'constraint', r.name || '.' || quote_ident(k.conname), pg_get_constraintdef(k.oid),
       ARRAY['2606 ' || k.oid, '1259 ' || r.oid]
FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid WHERE k.contype NOT IN ('n', 't')
UNION ALL
SELECT 'trigger', r.name || '.' || quote_ident(t.tgname),
       concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid)),
       ARRAY['2620 ' || t.oid, '1259 ' || r.oid]
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'policy', r.name || '.' || quote_ident(p.polname),
       concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid)),
       ARRAY['3256 ' || p.oid, '1259 ' || r.oid]
FROM pg_policy p JOIN relations r ON r.oid = p.polrelid
UNION ALL
SELECT 'statistics', format('%I.%I', s.nspname, e.stxname), pg_get_statisticsobjdef(e.oid),
       ARRAY['3381 ' || e.oid, '1259 ' || e.stxrelid]
FROM pg_statistic_ext e JOIN spaces s ON s.oid = e.stxnamespace
UNION ALL
SELECT 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid), ARRAY['1255 ' || p.oid]
FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
WHERE p.prokind IN ('f', 'p', 'w')
  AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM owned_by_extension)
UNION ALL
SELECT 'type', format('%I.%I', s.nspname, t.typname),
       concat_ws(' ', (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder)
                       FROM pg_enum WHERE enumtypid = t.oid),
                 CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
                 (SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY conname)
                  FROM pg_constraint WHERE contypid = t.oid)),
       ARRAY['1247 ' || t.oid]
FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd')
  AND ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM owned_by_extension)
UNION ALL
SELECT 'extension', quote_ident(extname), '', ARRAY['3079 ' || oid] FROM pg_extension
UNION ALL
SELECT 'event trigger', quote_ident(evtname), NULL, ARRAY['3466 ' || oid] FROM pg_event_trigger
UNION ALL
SELECT 'foreign-data wrapper', quote_ident(fdwname), NULL, ARRAY['2328 ' || oid]
FROM pg_foreign_data_wrapper
UNION ALL
SELECT 'server', quote_ident(srvname), NULL, ARRAY['1417 ' || oid] FROM pg_foreign_server
UNION ALL
SELECT 'language', quote_ident(lanname), NULL, ARRAY['2612 ' || oid] FROM pg_language
"""

# A function needs a superuser if its language is not trusted, if it is leakproof, or if it sets a
# parameter of superusers; a cast, if it reinterprets the bytes of a value.
PRIVILEGED: Final = """
SELECT '1255 ' || p.oid
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND (
    NOT l.lanpltrusted OR p.proleakproof
    OR EXISTS (SELECT FROM unnest(p.proconfig) AS own (line) JOIN pg_settings s
               ON s.name = split_part(own.line, '=', 1) WHERE s.context = 'superuser'))
UNION ALL
SELECT '2605 ' || oid FROM pg_cast WHERE castmethod = 'b' AND oid >= 16384
"""

_CAST: Final = re.compile(
    r"::(?:\"[^\"]+\"|[a-z_][\w.]*(?: varying| precision| with(?:out)? time zone)?)"
    r"(?:\(\d+(?:,\d+)?\))?(?:\[\])*"
)
_NOISE: Final = re.compile(r"[\s()]+")


def schema_facts(link: SourceConnection) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return "kind name" → digest and "kind name" → keys, for the objects of the schema.

    Extensions are compared by name; objects without a definition have keys only.
    """
    digests: dict[str, str] = {}
    keys: dict[str, list[str]] = {}
    for kind, name, text, found in link.execute(OBJECTS):
        keys[f"{kind} {name}"] = found
        if text is not None:
            digests[f"{kind} {name}"] = _digest(text)
    return digests, keys


def _digest(definition: str) -> str:
    plain = _NOISE.sub("", _CAST.sub("", definition))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


# In a smaller table, losing half of the rows is a day's work and not a disaster.
FLOOR_FROM_ROWS: Final = 10


def differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], left_out: Collection[str] = ()
) -> list[str]:
    """Return how `found` (of a restored copy) differs from `expected` (of its snapshot).

    The objects of the schema named in `left_out` were not restored, and are not compared.
    """
    compared = {
        name: digest for name, digest in expected["schema"].items() if name not in left_out
    }
    return [
        *_schema_differences(compared, found["schema"]),
        *_table_differences(expected["tables"], found["tables"]),
        *(
            f"stages of {name} differ"
            # A column that is not a StageField any more is covered by the digest of its table.
            for name in sorted(expected["stages"].keys() & found["stages"].keys())
            if expected["stages"][name] != found["stages"][name]
        ),
        *_large_object_differences(expected, found),
    ]


def _large_object_differences(
    expected: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[str]:
    recorded = expected.get("large_object_digest")  # records of older releases have none
    if expected["large_objects"] != found["large_objects"]:
        yield "the number of large objects differs"
    elif recorded not in (None, found["large_object_digest"]):
        yield "large objects have other content"


def _schema_differences(expected: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in expected:
            yield f"{name} is not in the snapshot"
        elif expected[name] != found[name]:
            yield f"{name} has another definition"


def _table_differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for name, facts in expected.items():
        restored = found.get(name)
        if restored is None:
            continue  # reported by the schema
        if facts["rows"] != restored["rows"]:
            yield f"{name} has {restored['rows']:,} rows instead of {facts['rows']:,}"
        elif facts["digest"] != restored["digest"]:
            yield f"{name} has other values in its {facts['rows']:,} rows"


def fallen_below_floor(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return which tables with stages lost half of their rows or more since `before`."""
    return [
        f"{name} has {_rows(now, name):,} rows, the last valid backup had {_rows(before, name):,}"
        for name in sorted({column.rpartition(".")[0] for column in before["stages"]})
        if _rows(before, name) >= FLOOR_FROM_ROWS and 2 * _rows(now, name) <= _rows(before, name)
    ]


def _rows(facts: Mapping[str, Any], table: str) -> int:
    found = facts["tables"].get(table)
    return found["rows"] if found else 0
