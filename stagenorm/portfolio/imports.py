"""Companies from a CSV file, their stages held to the rules of the API.

One transaction holds the whole file: whatever ends an import early, a fault in the last line or a kill, nothing of it
stays. Lines that are refused are left out of it, or end it when all or nothing is wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from django.db import reset_queries, transaction

from normalization import decision_store, observations, rollout_store
from normalization.observations import OTHER, printable
from normalization.rollout import Mode
from normalization.stages import Known, Outside, SpellingTable, Unknown, normalize
from stagenorm.portfolio.imports_csv import CsvFormat, FileRefused, Record, read_records
from stagenorm.portfolio.imports_report import Rejection, Report
from stagenorm.portfolio.imports_rows import Columns, LineRefused, find_columns
from stagenorm.portfolio.models import Fund, PortfolioCompany

# The endpoint and the client under which rollout lists (overrides, pilots, holdouts) can name imports.
ENDPOINT: Final = "import-companies"
BATCH: Final = 2_000
# Unknown spellings of one import that the operator sees, the most frequent ones. The clients of the API share the day's
# 1,000 with it, and a file of free text must not use them up.
SHOWN_SPELLINGS: Final = 100
COUNTED_SPELLINGS: Final = 10_000


@dataclass(slots=True)
class Summary:
    """What an import did, in lines.

    `normalized`, `unknown` and `outside` count among the imported ones.
    """

    fund: int
    mode: str
    lines: int = 0
    imported: int = 0
    rejected: int = 0
    normalized: int = 0
    unknown: int = 0
    outside: int = 0


@dataclass(slots=True)
class Import:
    """One import: where the file is, how it is written, and who is told of refused lines and of bytes read."""

    path: Path
    fund: Fund
    form: CsvFormat = field(default_factory=CsvFormat)
    mapping: dict[str, str] = field(default_factory=dict)
    atomic: bool = False
    report: Report = lambda rejection: None
    progress: Callable[[int], None] = lambda count: None

    def run(self) -> Summary:
        """Import the file; raise `FileRefused` when it cannot be read, with nothing imported."""
        mode = rollout_store.current().rollout.mode_for(ENDPOINT, ENDPOINT)
        summary = Summary(self.fund.pk, mode.value)
        rows = _Rows(self, summary, mode, decision_store.current())
        with transaction.atomic():
            for batch in _batches(rows.companies()):
                PortfolioCompany.objects.bulk_create(batch)
                summary.imported += len(batch)
                reset_queries()  # with debug on, Django keeps the text of each statement
            if self.atomic and summary.rejected:
                transaction.set_rollback(True)
                summary.imported = summary.normalized = summary.unknown = summary.outside = 0
        # Only the spellings: the tallies count requests, and the gates and alerts go by those.
        observations.record_spellings(ENDPOINT, ENDPOINT, rows.observed())
        observations.flush()
        return summary


@dataclass(slots=True)
class _Rows:
    of: Import
    summary: Summary
    mode: Mode
    table: SpellingTable
    spellings: Counter[str] = field(default_factory=Counter)

    def observed(self) -> Counter[tuple[str, str]]:
        """Count the unknown spellings of all lines, refused ones too, in the form of the observations."""
        shown = Counter(
            {(raw, ""): count for raw, count in self.spellings.most_common(SHOWN_SPELLINGS)}
        )
        shown[OTHER, ""] += self.spellings.total() - shown.total()
        return +shown

    def companies(self) -> Iterator[PortfolioCompany]:
        """Yield the companies of the lines that are not refused."""
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
        result = normalize(company["stage"], self.table)
        if isinstance(result, Known):
            self.summary.normalized += not result.canonical
            company["stage"] = result.stage.value
            return PortfolioCompany(fund=self.of.fund, **company)
        self._count(company["stage"])
        if self.mode is Mode.ENFORCE:
            raise LineRefused(columns.names[columns.places["stage"]], _refusal(result))
        if isinstance(result, Outside):
            self.summary.outside += 1
        else:
            self.summary.unknown += 1
        return PortfolioCompany(fund=self.of.fund, **company)

    def _count(self, raw: str) -> None:
        new = raw not in self.spellings
        self.spellings[OTHER if new and len(self.spellings) >= COUNTED_SPELLINGS else raw] += 1


def _refusal(result: Unknown | Outside) -> str:
    if isinstance(result, Outside):
        note = f": {result.note}" if result.note else ""
        return f"The stage {printable(result.raw)!r} is outside the six stages{note}."
    meant = " or ".join(result.suggestions)
    return f"The stage {printable(str(result.raw))!r} is not known." + (
        f" Did you mean {meant}?" if meant else ""
    )


def _batches(companies: Iterable[PortfolioCompany]) -> Iterator[list[PortfolioCompany]]:
    companies = iter(companies)
    while batch := list(islice(companies, BATCH)):
        yield batch
