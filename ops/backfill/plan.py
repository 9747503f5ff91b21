"""The plan: what a run would do to each column, value by value, with a hash to approve it by. Changes nothing."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from normalization import decision_store
from normalization.stages import Known, Outside, SpellingTable, Unknown
from ops.backfill import estimate
from ops.backfill.columns import StageColumn
from ops.backfill.survey import CANONICAL, MAPPING_SIZE, Spelled, survey

UNKNOWN_SHOWN = 1000
HASH_LENGTH = 16


class PlanChanged(ValueError):
    """The approved plan is no longer what a run would do."""


@dataclass
class ColumnPlan:
    """One column: rows in all, and what becomes of each value.

    `pairs`, `unknown` and `outside` hold the most frequent values (MAPPING_SIZE, UNKNOWN_SHOWN and
    UNKNOWN_SHOWN of them); `to_change`, `unknown_rows` and `outside_rows` count all rows. `first` and `last` bound the keys of the rows to change.
    """

    column: StageColumn
    canonical: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CANONICAL, 0))
    pairs: list[Spelled] = field(default_factory=list)
    unknown: list[Spelled] = field(default_factory=list)
    outside: list[Spelled] = field(default_factory=list)
    rows: int = 0
    to_change: int = 0
    unknown_rows: int = 0
    unknown_values: int = 0
    outside_rows: int = 0
    outside_values: int = 0
    first: int | None = None
    last: int | None = None
    survey_seconds: float = 0.0
    seconds: float | None = None

    def add(self, found: Spelled) -> None:
        """Count one distinct value."""
        self.rows += found.rows
        if isinstance(found.meaning, Unknown):
            self.unknown_rows += found.rows
            self.unknown_values += 1
            _keep(self.unknown, found, UNKNOWN_SHOWN)
        elif isinstance(found.meaning, Outside):
            self.outside_rows += found.rows
            self.outside_values += 1
            _keep(self.outside, found, UNKNOWN_SHOWN)
        elif found.meaning.canonical:
            self.canonical[found.raw] += found.rows
        else:
            self.to_change += found.rows
            self.first = found.first if self.first is None else min(self.first, found.first)
            self.last = found.last if self.last is None else max(self.last, found.last)
            _keep(self.pairs, found, MAPPING_SIZE)

    def mapping(self) -> list[tuple[str, str]]:
        """(raw, stage) for the most frequent values to change, the most frequent last."""
        return [(each.raw, _stage(each)) for each in reversed(self.pairs)]

    def to_json(self) -> dict[str, Any]:
        """The column as plain data: for `--json`, and kept on the run."""
        return {
            "table": self.column.table,
            "column": self.column.column,
            "rows": self.rows,
            "to_change": self.to_change,
            "unknown_rows": self.unknown_rows,
            "unknown_values": self.unknown_values,
            "outside_rows": self.outside_rows,
            "outside_values": self.outside_values,
            "seconds": self.seconds,
            "canonical": self.canonical,
            "pairs": [
                {"raw": each.raw, "stage": _stage(each), "rows": each.rows} for each in self.pairs
            ],
            "unknown": unknown_json(self.unknown),
            "outside": [{"raw": each.raw, "rows": each.rows} for each in self.outside],
        }


@dataclass(frozen=True)
class Plan:
    """What `--apply` would do now. `hash` names it: same hash, same rows of the same values to the same stages."""

    columns: list[ColumnPlan]
    alias_version: int
    hash: str

    @property
    def seconds(self) -> float | None:
        """Estimated duration without back-off; None where no sample could be taken."""
        known = [each.seconds for each in self.columns if each.seconds is not None]
        return sum(known) if len(known) == len(self.columns) else None

    def to_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "hash": self.hash,
            "alias_version": self.alias_version,
            "seconds": self.seconds,
            "columns": [each.to_json() for each in self.columns],
        }


def make_plan(
    columns: Iterable[StageColumn], table: SpellingTable | None = None, sample: bool = True
) -> Plan:
    """Look at every value of `columns`, as `table` (default: the aliases in the database now) reads them."""
    table = table or fresh_aliases()
    digest = hashlib.sha256()
    planned = [_plan_column(column, table, digest) for column in columns]
    for each in planned if sample else []:
        each.seconds = estimate.seconds(
            each.column, each.mapping(), each.to_change, each.rows, each.survey_seconds
        )
    return Plan(planned, table.version, digest.hexdigest()[:HASH_LENGTH])


def fresh_aliases() -> SpellingTable:
    """The alias snapshot as the database has it now, not as this process remembers it."""
    decision_store.forget()
    return decision_store.current()


def refuse_if_changed(plan: Plan, approved: str) -> None:
    """Raise PlanChanged unless `approved` is the plan's hash."""
    if plan.hash != approved:
        raise PlanChanged(
            f"The rows or the aliases changed: plan {approved} was approved, a run would now do {plan.hash}. "
            "Nothing was written. Look at the plan again and approve the new hash."
        )


def unknown_json(unknown: Iterable[Spelled]) -> list[dict[str, Any]]:
    """Unknown values with their rows and suggestions."""
    return [
        {
            "raw": each.raw,
            "rows": each.rows,
            "suggestions": list(each.meaning.suggestions)
            if isinstance(each.meaning, Unknown)
            else [],
        }
        for each in unknown
    ]


def _plan_column(column: StageColumn, table: SpellingTable, digest: "hashlib._Hash") -> ColumnPlan:
    planned = ColumnPlan(column)
    start = perf_counter()
    for found in survey(column, table):
        planned.add(found)
        if found.changes:
            line = [column.table, column.column, found.raw, _stage(found), found.rows]
            digest.update(json.dumps(line).encode() + b"\n")
    planned.survey_seconds = perf_counter() - start
    for values in (planned.pairs, planned.unknown, planned.outside):
        values.sort(key=_by_rows)
    del planned.pairs[MAPPING_SIZE:]
    del planned.unknown[UNKNOWN_SHOWN:], planned.outside[UNKNOWN_SHOWN:]
    return planned


def _keep(values: list[Spelled], found: Spelled, limit: int) -> None:
    # Cut now and then rather than kept sorted: there may be as many distinct values as rows.
    values.append(found)
    if len(values) >= 4 * limit:
        values.sort(key=_by_rows)
        del values[limit:]


def _by_rows(found: Spelled) -> tuple[int, str]:
    return -found.rows, found.raw


def _stage(found: Spelled) -> str:
    return found.meaning.stage.value if isinstance(found.meaning, Known) else ""
