"""Companies from a CSV file, their stages decided as the API decides them.

One transaction holds the whole file: an import that ends early leaves nothing, whether a line is
malformed or the process is killed. Refused lines are skipped and reported, or, if `atomic`, refuse
the file.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

from django.db import reset_queries, transaction

from normalization import observations
from normalization.boundary import StagePolicy, policy_for, refusal_sentence
from normalization.observations import OTHER
from normalization.stages import Known, Outside, normalize, stage_name
from stagenorm.portfolio.imports_csv import CsvFormat, FileRefused, Record, read_records
from stagenorm.portfolio.imports_rows import Columns, LineRefused, find_columns
from stagenorm.portfolio.models import Fund, PortfolioCompany

# The endpoint and the client under which the rollout's lists (overrides, pilots, holdouts) name
# imports.
ENDPOINT: Final = "import-companies"
BATCH: Final = 2_000
# The most frequent unknown spellings of one import are observed. It shares the day's 1,000 with
# the API's clients, and a file of free text must leave room for them.
SHOWN_SPELLINGS: Final = 100
COUNTED_SPELLINGS: Final = 10_000


@dataclass(slots=True)
class ImportSummary:
    """The lines of an import, counted.

    `normalized`, `unknown` and `outside` count imported lines only.
    """

    fund: int
    mode: str
    lines: int = 0
    imported: int = 0
    rejected: int = 0
    normalized: int = 0
    unknown: int = 0
    outside: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused line: its number, the column (empty for the whole line) and the reason."""

    line: int
    column: str
    reason: str


Report = Callable[[Rejection], None]


@dataclass(slots=True)
class CompanyImport:
    """One import: the file, its format, and where refused lines and bytes read are reported."""

    path: Path
    fund: Fund
    form: CsvFormat = field(default_factory=CsvFormat)
    mapping: dict[str, str] = field(default_factory=dict)
    atomic: bool = False
    report: Report = lambda rejection: None
    progress: Callable[[int], None] = lambda count: None

    def run(self) -> ImportSummary:
        """Import the file; raise `FileRefused`, with nothing imported, if it cannot be read."""
        policy = policy_for(ENDPOINT, ENDPOINT)
        summary = ImportSummary(self.fund.pk, policy.mode.value)
        rows = _ImportedRows(self, summary, policy)
        with transaction.atomic():
            for batch in _batches(rows.companies()):
                PortfolioCompany.objects.bulk_create(batch)
                summary.imported += len(batch)
                reset_queries()  # in debug mode Django keeps the text of each statement
            if self.atomic and summary.rejected:
                transaction.set_rollback(True)
                summary.imported = summary.normalized = summary.unknown = summary.outside = 0
        # Spellings only: tallies count requests, and the gates and alerts use those counts.
        observations.record_spellings(ENDPOINT, ENDPOINT, rows.observed())
        observations.flush()
        return summary


@dataclass(slots=True)
class _ImportedRows:
    of: CompanyImport
    summary: ImportSummary
    policy: StagePolicy
    spellings: Counter[str] = field(default_factory=Counter)

    def observed(self) -> Counter[tuple[str, str]]:
        """Count the unknown spellings of all lines, refused ones included, as (spelling, "")."""
        shown = Counter(
            {(raw, ""): count for raw, count in self.spellings.most_common(SHOWN_SPELLINGS)}
        )
        shown[OTHER, ""] += self.spellings.total() - shown.total()
        return +shown

    def companies(self) -> Iterator[PortfolioCompany]:
        """Yield the companies of the accepted lines."""
        records = read_records(self.of.path, self.of.form, self.of.progress)
        header = next(records, None)
        if header is None:
            raise FileRefused("The file is empty: its first line names the columns.")
        columns = find_columns(header, self.of.mapping)
        for record in records:
            self.summary.lines += 1
            try:
                yield self._company(columns, record)
            except LineRefused as refused:
                self.summary.rejected += 1
                self.of.report(Rejection(record.line, refused.column, refused.reason))

    def _company(self, columns: Columns, record: Record) -> PortfolioCompany:
        company: dict[str, Any] = columns.company(record)
        raw = company.pop("stage")
        result = normalize(raw, self.policy.table)
        company |= {"stage_raw": raw, "stage": stage_name(result)}
        if isinstance(result, Known):
            self.summary.normalized += not result.canonical
            return PortfolioCompany(fund=self.of.fund, **company)
        self._count(raw)
        if self.policy.refuses(result):
            raise LineRefused(columns.names[columns.places["stage"]], refusal_sentence(result))
        if isinstance(result, Outside):
            self.summary.outside += 1
        else:
            self.summary.unknown += 1
        return PortfolioCompany(fund=self.of.fund, **company)

    def _count(self, raw: str) -> None:
        new = raw not in self.spellings
        self.spellings[OTHER if new and len(self.spellings) >= COUNTED_SPELLINGS else raw] += 1


def _batches(companies: Iterable[PortfolioCompany]) -> Iterator[list[PortfolioCompany]]:
    companies = iter(companies)
    while batch := list(islice(companies, BATCH)):
        yield batch


@contextmanager
def open_report(path: Path) -> Iterator[Report]:
    """Yield a function that writes refused lines: as CSV to a file named `.csv`, else JSON lines.

    The file replaces the one at `path` when the import has ended; a failed import leaves that one.
    Raises `FileRefused` if it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield _csv_report(file) if path.suffix.lower() == ".csv" else _json_report(file)
        os.replace(part, path)
    except OSError as error:
        raise FileRefused(f"Cannot write the report {path}: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def _json_report(file: TextIO) -> Report:
    def write(rejection: Rejection) -> None:
        file.write(json.dumps(asdict(rejection), ensure_ascii=False) + "\n")

    return write


def _csv_report(file: TextIO) -> Report:
    writer = csv.writer(file)
    writer.writerow(field.name for field in fields(Rejection))

    def write(rejection: Rejection) -> None:
        writer.writerow(astuple(rejection))

    return write
