"""The plan: what a run would do to each column, value by value, with a hash to approve it by.

Making a plan changes nothing. The estimate rewrites a sample in a temporary table with the same
indexes.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import structlog
from django.db import Error, connection, transaction

from normalization.stages import Outside, SpellingTable, Unknown
from ops.backfill import retry
from ops.backfill import sql as statements
from ops.backfill.columns import CANONICAL, StageColumn
from ops.backfill.survey import StoredSpelling, fresh_table, survey

log = structlog.get_logger(__name__)

PAIRS_SHOWN = 4096
UNKNOWN_SHOWN = 1000
HASH_LENGTH = 16

SAMPLE_ROWS = 2000
# A run does more than the sample: it locks, joins and logs each row, writes WAL (a temporary table
# has none), and reads each page three times. Measured on 1,000,000 rows: 17.6 µs a changed row,
# where the sample took 8.7.
WRITE_FACTOR = 2.0
READS = 3
NO_SAMPLE = {
    "42501": "this role may not create temporary tables",
    "25006": "the server is read-only",
}


class PlanChanged(ValueError):
    """The approved plan is no longer what a run would do."""


@dataclass
class ColumnPlan:
    """What becomes of each value of one column.

    `known_rows`, `unknown_rows` and `outside_rows` count all rows by what their text means.
    `to_change` of the rows would be written, `to_fill` of these to get their text into the source;
    `canonical` counts the others that hold a stage. `pairs` are the most frequent values that
    change (at most PAIRS_SHOWN), `unknown` and `outside` the most frequent of these (at most
    UNKNOWN_SHOWN).
    `first` and `last` bound the keys of the rows to change. `seconds`: the estimate; None where no
    sample could be taken.
    """

    column: StageColumn
    canonical: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CANONICAL, 0))
    pairs: list[StoredSpelling] = field(default_factory=list)
    unknown: list[StoredSpelling] = field(default_factory=list)
    outside: list[StoredSpelling] = field(default_factory=list)
    rows: int = 0
    to_change: int = 0
    to_fill: int = 0
    known_rows: int = 0
    unknown_rows: int = 0
    unknown_values: int = 0
    outside_rows: int = 0
    outside_values: int = 0
    first: int | None = None
    last: int | None = None
    survey_seconds: float = 0.0
    seconds: float | None = None

    @property
    def clean(self) -> bool:
        """Whether the column holds what today's decisions give.

        A column without a source holds canonical stages only.
        """
        return not self.to_change and (
            self.column.derived or not (self.unknown_rows or self.outside_rows)
        )

    def add(self, found: StoredSpelling) -> None:
        """Count one distinct value."""
        self.rows += found.rows
        self._count_verdict(found)
        if found.changes:
            self.to_change += found.rows
            self.to_fill += found.rows if found.unfilled else 0
            self.first = _extreme(min, self.first, found.first)
            self.last = _extreme(max, self.last, found.last)
            _keep(self.pairs, found, PAIRS_SHOWN)
        elif found.stage:
            self.canonical[found.stage] += found.rows

    def _count_verdict(self, found: StoredSpelling) -> None:
        if isinstance(found.meaning, Unknown):
            self.unknown_rows += found.rows
            self.unknown_values += 1
            _keep(self.unknown, found, UNKNOWN_SHOWN)
        elif isinstance(found.meaning, Outside):
            self.outside_rows += found.rows
            self.outside_values += 1
            _keep(self.outside, found, UNKNOWN_SHOWN)
        else:
            self.known_rows += found.rows

    def mapping(self) -> list[tuple[str, str | None]]:
        """Return what the most frequent values to change become, the most frequent last."""
        return [(each.raw, each.becomes) for each in reversed(self.pairs)]

    def to_json(self) -> dict[str, Any]:
        """Return the column as plain data, for `--json` and for the run's row."""
        return {
            "table": self.column.table,
            "column": self.column.column,
            "rows": self.rows,
            "to_change": self.to_change,
            "to_fill": self.to_fill,
            "known_rows": self.known_rows,
            "unknown_rows": self.unknown_rows,
            "unknown_values": self.unknown_values,
            "outside_rows": self.outside_rows,
            "outside_values": self.outside_values,
            "first": self.first,
            "last": self.last,
            "seconds": self.seconds,
            "canonical": self.canonical,
            "pairs": [
                {"raw": each.raw, "stage": each.becomes, "rows": each.rows} for each in self.pairs
            ],
            "unknown": unknown_json(self.unknown),
            "outside": [{"raw": each.raw, "rows": each.rows} for each in self.outside],
        }


@dataclass(frozen=True)
class BackfillPlan:
    """What `--apply` would do now.

    Equal hashes mean the same rows of the same values changed to the same stages.
    """

    columns: list[ColumnPlan]
    alias_version: int
    hash: str

    @property
    def seconds(self) -> float | None:
        """Estimated duration without back-off; None where no sample could be taken."""
        known = [each.seconds for each in self.columns if each.seconds is not None]
        return sum(known) if len(known) == len(self.columns) else None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {
            "hash": self.hash,
            "alias_version": self.alias_version,
            "seconds": self.seconds,
            "columns": [each.to_json() for each in self.columns],
        }


def make_plan(
    columns: Iterable[StageColumn], table: SpellingTable | None = None, sample: bool = True
) -> BackfillPlan:
    """Survey `columns` with the spellings of `table`; default: those in the database now.

    Without `sample` the plan has no estimate.
    """
    table = table or fresh_table()
    digest = hashlib.sha256()
    planned = [_plan_column(column, table, digest) for column in columns]
    if sample:
        for each in planned:
            each.seconds = _estimate(each)
    return BackfillPlan(planned, table.version, digest.hexdigest()[:HASH_LENGTH])


def refuse_if_changed(plan: BackfillPlan, approved: str) -> None:
    """Raise PlanChanged unless `approved` is the plan's hash."""
    if plan.hash != approved:
        raise PlanChanged(
            f"The rows or the decisions have changed: plan {approved} was approved, "
            f"the plan is now {plan.hash}. Nothing was written. "
            "Check the new plan and approve the new hash."
        )


def unknown_json(unknown: Iterable[StoredSpelling]) -> list[dict[str, Any]]:
    """Return unknown values with their rows and suggestions."""
    return [
        {"raw": each.raw, "rows": each.rows, "suggestions": each.suggestions} for each in unknown
    ]


def _plan_column(column: StageColumn, table: SpellingTable, digest: "hashlib._Hash") -> ColumnPlan:
    planned = ColumnPlan(column)
    start = perf_counter()
    for found in survey(column, table):
        planned.add(found)
        if found.changes:
            line = [column.table, column.column, found.raw, found.held, found.becomes, found.rows]
            digest.update(json.dumps(line).encode() + b"\n")
    planned.survey_seconds = perf_counter() - start
    for values in (planned.pairs, planned.unknown, planned.outside):
        values.sort(key=_by_rows)
    del planned.pairs[PAIRS_SHOWN:]
    del planned.unknown[UNKNOWN_SHOWN:], planned.outside[UNKNOWN_SHOWN:]
    return planned


def _keep(values: list[StoredSpelling], found: StoredSpelling, limit: int) -> None:
    # Cut from time to time instead of kept sorted: there may be as many distinct values as rows.
    values.append(found)
    if len(values) >= 4 * limit:
        values.sort(key=_by_rows)
        del values[limit:]


def _by_rows(found: StoredSpelling) -> tuple[int, str]:
    return -found.rows, found.raw


def _extreme(choose: Any, one: int | None, other: int | None) -> int | None:
    known = [each for each in (one, other) if each is not None]
    return choose(known) if known else None


def _estimate(planned: ColumnPlan) -> float | None:
    """Return the seconds of work for a column without back-off; None without a sample."""
    if not planned.to_change:
        return planned.survey_seconds
    try:
        for_one = _seconds_for_one_row(planned.column, planned.mapping())
    except Error as error:
        reason = NO_SAMPLE.get(retry.sqlstate(error))
        if reason is None:
            raise
        log.info("stage_backfill_no_sample", table=planned.column.table, reason=reason)
        return None
    return READS * planned.survey_seconds + WRITE_FACTOR * for_one * planned.to_change


class _RollBack(Exception):
    """Ends the sample's transaction."""


def _seconds_for_one_row(column: StageColumn, mapping: Sequence[tuple[str, str | None]]) -> float:
    parameters: dict[str, Any] = {
        "raws": [raw for raw, _ in mapping],
        "stages": [stage for _, stage in mapping],
        "size": SAMPLE_ROWS,
    }
    filling = column.sql(statements.SAMPLE_FILLING) if column.fillable else ""
    measured = 0.0
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(column.sql(statements.SAMPLE_TABLE))
            cursor.execute(column.sql(statements.SAMPLE_ROWS), parameters)
            cursor.execute("ANALYZE pg_temp.stage_sample")
            start = perf_counter()
            cursor.execute(column.sql(statements.SAMPLE_UPDATE, filling=filling), parameters)
            measured = (perf_counter() - start) / max(cursor.rowcount, 1)
            raise _RollBack
    except _RollBack:
        return measured
