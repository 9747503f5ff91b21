"""The schema as a list of objects with a digest each, equal before a dump and after its restore.

PostgreSQL writes an expression differently once it has been dumped and restored (`('a'::varchar)::text` for
`'a'::text`), so casts, parentheses and white space are left out before the digest: what stays finds a missing or
another column, index, constraint, trigger, view, function, type, sequence or policy. Owners, grants and comments are
not compared: a drill restores without them.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import psycopg
from psycopg.rows import TupleRow

OBJECTS: Final = """
WITH spaces AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), owned_by_extension AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relations AS (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name
    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
    WHERE ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM owned_by_extension)
), columns AS (
    SELECT a.attrelid, string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
               a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid),
               CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation::text END),
               ', ' ORDER BY a.attnum) AS text
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped GROUP BY a.attrelid
)
SELECT 'schema', quote_ident(nspname), '' FROM spaces WHERE nspname <> 'public'
UNION ALL
SELECT CASE r.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'type' END, r.name,
       concat_ws(' ', r.relpersistence, r.relrowsecurity, r.relforcerowsecurity, c.text,
                 CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) END)
FROM relations r LEFT JOIN columns c ON c.attrelid = r.oid WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT 'sequence', r.name, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
                                     s.seqcache, s.seqcycle)
FROM relations r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL
SELECT 'index', i.name, pg_get_indexdef(i.oid)
FROM relations i JOIN pg_index x ON x.indexrelid = i.oid WHERE x.indisvalid
UNION ALL
SELECT 'constraint', r.name || '.' || quote_ident(k.conname), pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid WHERE k.contype NOT IN ('n', 't')
UNION ALL
SELECT 'trigger', r.name || '.' || quote_ident(t.tgname), concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'policy', r.name || '.' || quote_ident(p.polname),
       concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
                 pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p JOIN relations r ON r.oid = p.polrelid
UNION ALL
SELECT 'statistics', format('%I.%I', s.nspname, e.stxname), pg_get_statisticsobjdef(e.oid)
FROM pg_statistic_ext e JOIN spaces s ON s.oid = e.stxnamespace
UNION ALL
SELECT 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
WHERE p.prokind IN ('f', 'p', 'w')
  AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM owned_by_extension)
UNION ALL
SELECT 'type', format('%I.%I', s.nspname, t.typname),
       concat_ws(' ', (SELECT string_agg(quote_literal(enumlabel), ',' ORDER BY enumsortorder) FROM pg_enum
                       WHERE enumtypid = t.oid),
                 CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
                 (SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY conname) FROM pg_constraint
                  WHERE contypid = t.oid))
FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd') AND ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM owned_by_extension)
UNION ALL
SELECT 'extension', quote_ident(extname), '' FROM pg_extension
"""

_CAST: Final = re.compile(
    r"::(?:\"[^\"]+\"|[a-z_][\w.]*(?: varying| precision| with(?:out)? time zone)?)(?:\(\d+(?:,\d+)?\))?(?:\[\])*"
)
_NOISE: Final = re.compile(r"[\s()]+")


def schema_facts(link: psycopg.Connection[TupleRow]) -> dict[str, str]:
    """Return "kind name" → digest for every object of the application's schemas; extensions by name."""
    return {f"{kind} {name}": _digest(text) for kind, name, text in link.execute(OBJECTS)}


def _digest(definition: str) -> str:
    plain = _NOISE.sub("", _CAST.sub("", definition))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]
