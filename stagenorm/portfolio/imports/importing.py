"""Plans an import of companies and carries it out, with one function for both.

`run` reads the file, checks its lines, copies them into a temporary table and finds their keys.
Without an approved hash it stops there: nothing is written, and the result is the plan. With one,
it first compares the hash, then inserts, all in one transaction. The hash covers the file, the
options, the fund, the version of the decisions, the mode, and the keys that the fund has.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from django.db import connection, transaction

from normalization import decision_store, observations, rollout_store
from normalization.boundary import StagePolicy
from normalization.observations import OTHER
from normalization.rollout import Mode
from stagenorm.locks import IMPORT_CLASS
from stagenorm.portfolio.imports.columns import ImportColumns, find_columns, wanted_names
from stagenorm.portfolio.imports.dialect import (
    SAMPLE,
    TextEncoding,
    find_delimiter,
    find_encoding,
    undecodable,
)
from stagenorm.portfolio.imports.imported_file import (
    CountedBytes,
    FileRefused,
    ImportedFile,
    Progress,
    no_steps,
)
from stagenorm.portfolio.imports.lines import (
    NORMALIZED,
    OUTSIDE,
    UNKNOWN,
    LineCounts,
    LineReader,
    Rejection,
    first_given,
)
from stagenorm.portfolio.imports.options import ImportOptions
from stagenorm.portfolio.imports.records import ReadRecord, RecordReader
from stagenorm.portfolio.imports.rejected import RejectedFile
from stagenorm.portfolio.imports.staging import FoundKeys, StagedLines
from stagenorm.portfolio.imports.values import DateFormFinder, DateReader
from stagenorm.portfolio.models import CompanyImport, Fund

# The endpoint and the client under which the rollout's lists (overrides, pilots, holdouts) name
# imports.
ENDPOINT: Final = "import-companies"
HASH_LENGTH: Final = 16
REFUSED_SHOWN: Final = 20
# The most frequent unknown spellings of one import are observed. It shares the day's 1,000 with
# the API's clients, and a file of free text must leave room for them.
SHOWN_SPELLINGS: Final = 100


class ImportHeld(FileRefused):
    """Nothing was imported, although the file can be read: a stale hash, or another import."""


@dataclass(slots=True)
class ImportForm:
    """How the file is read: encoding, delimiter, columns and form of dates.

    `separator_line` is whether its first line names the delimiter.
    """

    encoding: TextEncoding
    delimiter: str
    separator_line: bool
    dates: str
    columns: ImportColumns = field(default_factory=lambda: ImportColumns((), {}, ()))


@dataclass(slots=True)
class ImportResult:
    """What a plan found, or an import did. `record` is the import's row in the table of imports.

    `refused` are the first refused lines.
    """

    fund: Fund
    file: str
    mode: Mode
    decisions: int
    hash: str
    form: ImportForm
    options: ImportOptions
    counts: LineCounts
    keys: FoundKeys
    refused: list[Rejection]
    record: CompanyImport | None = None

    @property
    def new(self) -> int:
        """Lines that become companies."""
        return sum(self.keys.new.values())

    @property
    def held_by_atomic(self) -> bool:
        """Whether `--atomic` keeps the whole file out."""
        return self.options.atomic and self.counts.rejected > 0

    def of_kind(self, kind: str) -> int:
        """New companies whose stage is of a kind."""
        return self.keys.new.get(kind, 0)


@dataclass(slots=True)
class ImportRequest:
    """A file, its fund and options, and where refused lines and progress are reported."""

    file: ImportedFile
    fund: Fund
    options: ImportOptions = field(default_factory=ImportOptions)
    rejected: RejectedFile = field(default_factory=RejectedFile)
    progress: Progress = no_steps


def run(request: ImportRequest, *, approved: str = "", actor: str = "") -> ImportResult:
    """Plan the import, or carry out the plan whose hash is `approved`.

    Raises FileRefused if the file cannot be imported, and ImportHeld if the hash is stale or
    another import into the fund is running. Nothing is written then.
    """
    with transaction.atomic():
        if approved:
            lock_imports(request.fund.pk)
        result = _Import(request, approved).read()
        if not approved:
            transaction.set_rollback(True)  # the temporary table goes as well
            return result
        if not result.held_by_atomic:
            _store(result, request, actor)
    # Spellings only: tallies count requests, and the gates and alerts use those counts.
    observations.record_spellings(ENDPOINT, ENDPOINT, _observed(result.counts))
    observations.flush()
    return result


class _Import:
    """One reading of the file, inside the transaction."""

    def __init__(self, request: ImportRequest, approved: str) -> None:
        self._request, self._approved = request, approved
        self._options, self._file = request.options, request.file
        self._staged = StagedLines(request.fund.pk)
        self._policy = _newest_policy()
        self._refused: list[Rejection] = []

    def read(self) -> ImportResult:
        digest = self._file.digest(self._request.progress)
        hashed = self._hash(digest)
        if self._approved and self._approved != hashed:
            raise ImportHeld(
                f"Nothing was imported: the plan is now {hashed}, not {self._approved}. The file, "
                "an option, the decisions, the mode or the fund's companies have changed. "
                "Make the plan again, look at it and approve its hash."
            )
        form = self._form()
        self._request.rejected.begin(form.columns.names, form.delimiter)
        finder = self._find_dates(form)
        dates = DateReader(self._options.missing_marks, form.dates or "y-m-d", finder)
        lines = LineReader(form.columns, self._options, self._policy, dates, self._reject)
        source = self._file.read_again()
        batches = self._batches(form, source, "checking", lines.implausible)
        self._staged.copy(lines.copied_columns(), lines.rows(batches))
        if finder:
            finder.form(form.columns.name_of("invested_at"))  # raises if it fits not all dates
        if source.hexdigest() != digest:
            raise ImportHeld("Nothing was imported: the file changed while it was read.")
        self._request.progress("storing", 0, 1)
        keys = self._staged.find_keys(named=bool(self._options.key))
        self._request.rejected.end(self._staged.ordinals_of_refused())
        return ImportResult(
            fund=self._request.fund,
            file=self._file.name,
            mode=self._policy.mode,
            decisions=self._policy.table.version,
            hash=hashed,
            form=form,
            options=self._options,
            counts=lines.counts,
            keys=keys,
            refused=self._refused,
        )

    def _hash(self, digest: str) -> str:
        content = {
            "file": digest,
            "options": self._options.as_json(),
            "fund": self._request.fund.pk,
            "decisions": self._policy.table.version,
            "mode": self._policy.mode.value,
            "keys": self._staged.existing_keys(),
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]

    def _form(self) -> ImportForm:
        options = self._options
        encoding = find_encoding(self._file, options.encoding)
        delimiter, separator_line = self._delimiter(encoding)
        form = ImportForm(encoding, delimiter, separator_line, dates=options.dates)
        header = next(chain.from_iterable(self._batches(form, self._file.read_again(), "")), None)
        if header is None:
            raise FileRefused("The file is empty: its first line names the columns.")
        form.columns = find_columns(header, options.mapping, options.key)
        return form

    def _delimiter(self, encoding: TextEncoding) -> tuple[str, bool]:
        try:
            sample = encoding.open(self._file.read_again()).read(SAMPLE)
        except UnicodeError:
            sample = ""  # the first pass names the line
        wanted = wanted_names(self._options.mapping, self._options.key)
        found, separator_line = find_delimiter(sample, wanted)
        return self._options.delimiter or found, separator_line

    def _find_dates(self, form: ImportForm) -> DateFormFinder | None:
        """Find the form of the dates, if no option names it.

        Most columns settle it within their first lines. The finder is returned then: the other
        lines, which the import reads anyway, can only show that no form fits them all.
        """
        places = form.columns.places.get("invested_at")
        if form.dates or not places:
            return None
        finder = DateFormFinder(self._options.missing_marks)
        for batch in self._batches(form, self._file.read_again(), "reading dates"):
            for _, cells in batch:
                if isinstance(cells, list) and len(cells) >= form.columns.width:
                    finder.see(first_given(cells, places, self._options.missing_marks))
            if finder.settled:
                break
        form.dates = finder.form(form.columns.name_of("invested_at"))
        return finder if finder.settled else None

    def _batches(
        self,
        form: ImportForm,
        source: CountedBytes,
        step: str,
        implausible: Callable[[list[str]], bool] = lambda cells: False,
    ) -> Iterator[list[ReadRecord]]:
        """Yield the records, without the header once the columns are found."""
        reader = RecordReader(form.encoding.open(source), form.delimiter, implausible)
        try:
            if form.separator_line:
                reader.skip_line()
            width = form.columns.width
            header = 1 if width else 0
            for batch in reader.batches(width):
                if step:
                    self._request.progress(step, source.count, self._file.size)
                yield batch[header:]
                header -= min(header, len(batch))
            if step:
                self._request.progress(step, source.count, self._file.size)
        except UnicodeError as error:
            raise undecodable(error, form.encoding, self._file, source.count) from error

    def _reject(self, rejection: Rejection) -> None:
        self._request.rejected.add(rejection)
        if len(self._refused) < REFUSED_SHOWN:
            self._refused.append(rejection)


def _store(result: ImportResult, request: ImportRequest, actor: str) -> None:
    """Insert the companies and the row of the import; raise nothing but database errors."""
    staged = StagedLines(request.fund.pk)
    counts = result.counts
    record = CompanyImport.objects.create(
        fund=request.fund,
        plan_hash=result.hash,
        file_name=result.file[-255:],
        file_sha256=request.file.sha256,
        options=result.options.as_json(),
        mode=result.mode.value,
        decisions_version=result.decisions,
        actor=actor[:150],
    )
    # The ordinals of a report may repeat those of its other lines.
    all_new = not result.keys.existing and not result.form.columns.report
    inserted = staged.insert(record.pk, all_new=all_new)
    record.updated = staged.update_stages() if result.options.update_stage else 0
    record.imported, record.rejected = inserted.rows, counts.rejected
    record.first_company, record.last_company = inserted.first, inserted.last
    record.lines, record.skipped = counts.lines, counts.accepted - inserted.rows
    record.normalized = result.of_kind(NORMALIZED)
    record.unknown, record.outside = result.of_kind(UNKNOWN), result.of_kind(OUTSIDE)
    record.save()
    result.record = record


def _observed(counts: LineCounts) -> Counter[tuple[str, str]]:
    """Count the texts without a stage of all lines, refused ones included, as (text, "")."""
    found = counts.without_stage()
    shown = Counter({(text, ""): lines for text, lines in found.most_common(SHOWN_SPELLINGS)})
    shown[OTHER, ""] += found.total() - shown.total()
    return +shown


def lock_imports(fund: int) -> None:
    """Hold the imports and undos of a fund until the transaction ends; raise ImportHeld."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, hashint8(%s))", [IMPORT_CLASS, fund])
        [held] = cursor.fetchone()
    if not held:
        raise ImportHeld(f"Nothing was changed: another import or undo in fund {fund} is running.")


def _newest_policy() -> StagePolicy:
    """Return the policy in force, read from the database: the hash must not miss a change."""
    rollout = rollout_store.newest()
    mode = rollout.rollout.mode_for(ENDPOINT, ENDPOINT)
    return StagePolicy(mode, rollout.rollout, rollout.version, decision_store.newest())
