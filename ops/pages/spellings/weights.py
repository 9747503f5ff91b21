"""How many stored rows hold each spelling, counted apart from the pages that show it.

`count` reads every stage column once and sorts each new spelling into its unit. That takes seconds
with many rows, so a thread does it when the last count is old; these texts change slowly.
`catch_up` brings in what changes often, the spellings that clients just sent and new decisions,
and touches only their units. Both leave one row for each unit, which a page can read in order.
"""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import Error as StoreError
from django.db import connection, transaction

from normalization import decisions
from normalization.decision_warnings import DecisionVerdict, resembled_stage
from normalization.models import StageDecision
from normalization.observations import OTHER
from normalization.spelling_groups import group_of
from normalization.stages import BUILTIN, fold
from ops.backfill import columns
from ops.pages.spellings.models import SpellingCount
from stagenorm.locks import SPELLING_COUNT, SPELLING_UNITS

log = structlog.get_logger(__name__)

STALE_AFTER: Final = timedelta(minutes=10)
OBSERVED_DAYS: Final = 7
SORTED_AT_ONCE: Final = 5_000
GROWN: Final = 10
"""A spelling that was left open returns when its weight is this many times what it was then."""

RULES: Final = 1
"""The version of the rules in `_sorted`. With a new one, every spelling is sorted again."""

SINGLE: Final = "="
"""Begins the unit of a spelling that no group takes. The folded key follows."""

COUNT_COLUMN: Final = """
SELECT {raw}::text COLLATE "C" AS spelling, count(*) AS rows
FROM {table} WHERE {raw} IS NOT NULL GROUP BY 1
"""

COUNTED: Final = """
CREATE TEMPORARY TABLE stage_spelling_counted AS
SELECT spelling, sum(rows)::bigint AS rows FROM ({columns}) AS each GROUP BY spelling
"""

NEW_STORED: Final = """
SELECT spelling FROM stage_spelling_counted AS counted
WHERE NOT EXISTS (SELECT FROM ops_spellingweight AS held WHERE held.spelling = counted.spelling)
"""

# Collations differ: the tables of the inbox compare bytes, the others as the database does.
NEW_OBSERVED: Final = """
SELECT DISTINCT spelling COLLATE "C" FROM normalization_observedspelling AS observed
WHERE day > current_date - %(days)s AND spelling <> %(other)s AND NOT EXISTS (
    SELECT FROM ops_spellingweight AS held WHERE held.spelling = observed.spelling COLLATE "C")
"""

INSERT: Final = """
INSERT INTO ops_spellingweight (spelling, key, unit, verdict, looks_like, rows, seen_at)
SELECT new.spelling, new.key, new.unit,
       CASE WHEN built_in THEN 'built in' ELSE coalesce(decision.verdict, '') END,
       looks_like, 0, clock_timestamp()
FROM unnest(%s::text[], %s::text[], %s::text[], %s::boolean[], %s::text[])
     AS new (spelling, key, unit, built_in, looks_like)
LEFT JOIN normalization_stagedecision AS decision
     ON decision.key = new.key AND decision.superseded_at IS NULL
ON CONFLICT (spelling) DO NOTHING
"""

WRITE_COUNTS: Final = """
UPDATE ops_spellingweight AS held SET rows = coalesce(counted.rows, 0)
FROM ops_spellingweight AS each
LEFT JOIN stage_spelling_counted AS counted USING (spelling)
WHERE held.spelling = each.spelling AND held.rows <> coalesce(counted.rows, 0)
"""

# What stands in no row and came in no request for a week is of no interest to the inbox.
FORGET: Final = """
DELETE FROM ops_spellingweight AS held WHERE rows = 0 AND NOT EXISTS (
    SELECT FROM normalization_observedspelling AS observed
    WHERE observed.spelling COLLATE "C" = held.spelling AND day > current_date - %(days)s)
"""

DECIDE_SINCE: Final = """
WITH touched AS (
    SELECT DISTINCT key COLLATE "C" AS key FROM normalization_stagedecision
    WHERE batch_id > %(version)s OR superseded_by_id > %(version)s
), decided AS (
    SELECT touched.key, coalesce(decision.verdict, '') AS verdict
    FROM touched LEFT JOIN normalization_stagedecision AS decision
         ON decision.key COLLATE "C" = touched.key AND decision.superseded_at IS NULL
)
UPDATE ops_spellingweight AS held SET verdict = decided.verdict
FROM decided
WHERE held.key = decided.key AND held.verdict NOT IN ('built in', decided.verdict)
RETURNING held.unit
"""

# Weight of the keys that were left open: those of new decisions are recorded, those that have
# grown since are undecided again.
OPENED: Final = """
WITH sent AS MATERIALIZED (
    SELECT spelling COLLATE "C" AS spelling, sum(count)::bigint AS requests
    FROM normalization_observedspelling WHERE day > current_date - %(days)s GROUP BY 1
), decision AS (
    SELECT id, key COLLATE "C" AS key FROM normalization_stagedecision
    WHERE superseded_at IS NULL AND verdict = 'open'
), weighed AS (
    SELECT decision.id, sum(held.rows + coalesce(sent.requests, 0))::bigint AS weight
    FROM decision JOIN ops_spellingweight AS held USING (key) LEFT JOIN sent USING (spelling)
    GROUP BY decision.id
)"""

NOTE_OPENED: Final = f"""{OPENED}
INSERT INTO ops_openedspelling (decision_id, weight) SELECT id, weight FROM weighed
ON CONFLICT (decision_id) DO NOTHING
"""  # noqa: S608 (constants of this module)

RETURN_GROWN: Final = f"""{OPENED}, grown AS (
    SELECT key FROM weighed JOIN decision USING (id)
    JOIN ops_openedspelling AS opened ON opened.decision_id = weighed.id
    WHERE weighed.weight >= %(grown)s * greatest(opened.weight, 1)
)
UPDATE ops_spellingweight AS held SET verdict = ''
FROM grown WHERE held.key = grown.key AND held.verdict = 'open'
RETURNING held.unit
"""  # noqa: S608 (constants of this module)

DELETE_UNITS: Final = """
DELETE FROM ops_spellingunit WHERE %(units)s::text[] IS NULL OR unit = ANY(%(units)s)
"""

ADD_UNITS: Final = """
INSERT INTO ops_spellingunit (unit, opened, rows, size, looks_like, seen_at)
SELECT unit, verdict = 'open', sum(rows), count(*), max(looks_like), min(seen_at)
FROM ops_spellingweight
WHERE verdict IN ('', 'open') AND (%(units)s::text[] IS NULL OR unit = ANY(%(units)s))
GROUP BY 1, 2
"""

RECORD: Final = """
INSERT INTO ops_spellingcount (id, counted_at, seconds, rules, decisions_version, units, shares)
VALUES (1, now(), %(seconds)s, %(rules)s, %(version)s, 0, '{}')
ON CONFLICT (id) DO UPDATE
SET counted_at = excluded.counted_at, seconds = excluded.seconds, rules = excluded.rules
"""

SUM_UP: Final = """
UPDATE ops_spellingcount SET decisions_version = %(version)s,
    units = (SELECT count(*) FROM ops_spellingunit WHERE NOT opened),
    shares = (
        SELECT coalesce(jsonb_object_agg(verdict, jsonb_build_array(spellings, rows)), '{}')
        FROM (SELECT verdict, count(*) AS spellings, sum(rows) AS rows
              FROM ops_spellingweight GROUP BY verdict) AS share)
"""


def ensure_fresh(now: datetime) -> SpellingCount | None:
    """Return what was counted, and begin a new count if it is old; None before the first one.

    A serving process counts in a thread, so that no page waits; any other process counts at once.
    """
    last = SpellingCount.objects.filter(rules=RULES).first()
    if last is None or now - last.counted_at >= STALE_AFTER:
        if settings.SERVES_REQUESTS:
            _count_beside()
        else:
            count()
    if last is not None or not settings.SERVES_REQUESTS:
        catch_up()
    return SpellingCount.objects.filter(rules=RULES).first()


def count() -> bool:
    """Count the stored rows of every spelling. Return False if another process is counting."""
    start = perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        if not _is_free(SPELLING_COUNT):
            return False
        if not SpellingCount.objects.filter(rules=RULES).exists():
            cursor.execute("DELETE FROM ops_spellingweight")
        each = [column.sql(COUNT_COLUMN) for column in columns.find()]
        cursor.execute(COUNTED.format(columns=" UNION ALL ".join(each)))
        _sort_new(NEW_STORED)
        _sort_new(NEW_OBSERVED)
        _wait_for(SPELLING_UNITS)
        version = decisions.version()
        cursor.execute(WRITE_COUNTS)
        cursor.execute(FORGET, _PARAMETERS)
        cursor.execute(DECIDE_SINCE, {"version": 0})
        cursor.execute(RECORD, {**_PARAMETERS, "seconds": perf_counter() - start, "version": 0})
        _add_up(None, version)
        cursor.execute("DROP TABLE stage_spelling_counted")
    log.info("stage_spellings_counted", seconds=round(perf_counter() - start, 3))
    return True


def catch_up() -> None:
    """Bring in the spellings that clients sent since the count, and the decisions made since.

    Does nothing about new spellings while another process counts, which sorts them itself.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        new = _sort_new(NEW_OBSERVED) if _is_free(SPELLING_COUNT) else set()
        _wait_for(SPELLING_UNITS)
        version, known = decisions.version(), _known_version()
        if new or version != known or _has_open():
            cursor.execute(NOTE_OPENED, _PARAMETERS)
            decided = _units(DECIDE_SINCE, {"version": min(known, version)})
            grown = _units(RETURN_GROWN, _PARAMETERS)
            if touched := new | decided | grown:
                _add_up(list(touched), version)
            elif version != known:
                SpellingCount.objects.update(decisions_version=version)


def _add_up(units: list[str] | None, version: int) -> None:
    """Make the rows of `units` (None: of all) anew, and the totals of all."""
    with connection.cursor() as cursor:
        for statement in (DELETE_UNITS, ADD_UNITS):
            cursor.execute(statement, {"units": units})
        cursor.execute(SUM_UP, {"version": version})


def _sort_new(statement: str) -> set[str]:
    """Insert the spellings that `statement` selects, and return their units."""
    units: set[str] = set()
    with connection.chunked_cursor() as selected, connection.cursor() as cursor:
        selected.execute(statement, _PARAMETERS)
        while found := selected.fetchmany(SORTED_AT_ONCE):
            rows = [_sorted(spelling) for (spelling,) in found]
            cursor.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])
            units |= {unit for _, _, unit, *_ in rows}
    return units


def _sorted(spelling: str) -> tuple[str, str, str, bool, str]:
    """Return the spelling, its key, its unit, whether it is built in, and what it is like."""
    key, group = fold(spelling), group_of(spelling)
    unit = group.code if group else f"{SINGLE}{key}"
    return spelling, key, unit, BUILTIN.holds(key), resembled_stage(spelling) or ""


def _units(statement: str, parameters: dict[str, Any]) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return {unit for (unit,) in cursor.fetchall()}


def _known_version() -> int:
    return SpellingCount.objects.values_list("decisions_version", flat=True).first() or 0


def _has_open() -> bool:
    return StageDecision.objects.filter(
        superseded_at__isnull=True, verdict=DecisionVerdict.OPEN
    ).exists()


def _is_free(lock: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock])
        return bool(cursor.fetchone()[0])


def _wait_for(lock: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock])


def _count_beside() -> None:
    if not any(thread.name == _THREAD for thread in threading.enumerate()):
        threading.Thread(target=_count_in_thread, name=_THREAD, daemon=True).start()


def _count_in_thread() -> None:
    try:
        count()
    except StoreError as error:  # the next page tries again
        log.warning("stage_spellings_not_counted", error=type(error).__name__)
    finally:
        connection.close()


_THREAD: Final = "stage-spelling-count"
_PARAMETERS: Final[dict[str, Any]] = {
    "days": OBSERVED_DAYS,
    "other": OTHER,
    "grown": GROWN,
    "rules": RULES,
}
