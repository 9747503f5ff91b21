"""The lines of an imported file as rows for `COPY`, checked and counted.

A plan and an import read the lines with the same code. Stages are decided as the API decides them:
by the table of today's decisions and the mode of the rollout. No decision is made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import getitem, itemgetter
from typing import Final

from normalization.boundary import StagePolicy, refusal_sentence
from normalization.observations import OTHER
from normalization.stages import Known, Meaning, Outside, normalize, stage_name
from stagenorm.portfolio.imports.columns import FIELDS, ImportColumns, LineRefused
from stagenorm.portfolio.imports.imported_file import FileRefused
from stagenorm.portfolio.imports.options import ImportOptions
from stagenorm.portfolio.imports.records import BrokenLine, ReadRecord
from stagenorm.portfolio.imports.values import (
    LONGEST_NAME,
    LONGEST_SECTOR,
    LONGEST_STAGE,
    NULL,
    AmountReader,
    CellReader,
    DateReader,
    SectorReader,
    StatusReader,
    ValueFault,
    copy_text,
)

COUNTED_SPELLINGS: Final = 10_000
"""The most distinct stages of a file that are counted one by one."""

CANONICAL, NORMALIZED, OUTSIDE, UNKNOWN, REFUSED = "c", "n", "o", "u", "r"
"""What a row of the temporary table is, in its column `kind`."""

_CELL_END: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused line: its number, the column (empty for the whole line) and the reason.

    `cells` are the original cells, `raw` the text of a line that could not be parsed, `key` the
    fingerprint of a line that was refused for its stage alone.
    """

    line: int
    column: str
    reason: str
    cells: Sequence[str] = ()
    raw: str = ""
    key: str = ""


Report = Callable[[Rejection], None]


@dataclass(slots=True)
class StageCount:
    """How many lines have a stage text, and what it means today."""

    meaning: Meaning
    kind: str
    refused: bool
    columns: str
    lines: int = 0


@dataclass(slots=True)
class LineCounts:
    """The lines of a file, counted. `faults` is (field, kind of fault) → cells without a value."""

    lines: int = 0
    blank: int = 0
    rejected: int = 0
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    stages: dict[str, StageCount] = field(default_factory=dict)
    other_stages: dict[str, StageCount] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        """Lines that are not refused."""
        return self.lines - self.rejected

    def without_stage(self) -> Counter[str]:
        """Count the texts that have no stage; those not counted one by one are `(other)`."""
        found = Counter(
            {text: each.lines for text, each in self.stages.items() if _stageless(each)}
        )
        found[OTHER] += sum(each.lines for each in self.other_stages.values() if _stageless(each))
        return +found


class LineReader:
    """Makes rows of records, and hands refused lines to `report`.

    `columns` of the rows: see `copied_columns`.
    """

    def __init__(
        self,
        columns: ImportColumns,
        options: ImportOptions,
        policy: StagePolicy,
        dates: DateReader,
        report: Report,
    ) -> None:
        self.counts = LineCounts()
        self._columns, self._options, self._policy = columns, options, policy
        self._report = report
        self._optional = [name for name in FIELDS[2:] if name in columns.places]
        self._dates = dates
        readers = {**_readers(options), "invested_at": dates}
        self._readers = [readers[name] for name in self._optional]
        self._keyed = columns.key is not None or columns.given_keys is not None
        self._picked = _picker(columns, self._optional, options.missing_marks)
        self._plain, self._width = not columns.report, columns.width

    def copied_columns(self) -> tuple[str, ...]:
        """Return the columns of the temporary table that a row fills, in order."""
        keyed = ("nth",) if self._columns.given_keys is not None else ()
        return ("line", "key", *keyed, "kind", "stage_raw", "stage", "name", *self._optional)

    def rows(self, batches: Iterable[list[ReadRecord]]) -> Iterator[str]:
        """Yield the rows of each batch: those of accepted lines and of those refused for a stage.

        Raises FileRefused if more than `max_refused` lines are refused.
        """
        for batch in batches:
            self.counts.lines += len(batch)
            yield self._rows_by_column(batch) or "".join(self._rows(batch))

    def _rows_by_column(self, batch: Sequence[ReadRecord]) -> str:
        """Return the rows of a batch, or "" if a line needs a look of its own.

        It does what `_row` does, for a whole column at once, which takes half the time. A line
        with a fault, a stage that is refused or one seen for the first time needs that look.
        """
        numbers, records = zip(*batch, strict=True) if batch else ((), ())
        uniform = {*map(type, records)} == {list} and {*map(len, records)} == {self._width}
        if self._keyed or not self._plain or not uniform:
            return ""
        raws, *given = zip(*map(self._picked, records), strict=True)
        names, *cells = found = [[*map(str.strip, column)] for column in given]
        lines_of = Counter(raws)
        stages = {raw: self.counts.stages.get(raw) for raw in lines_of}
        known = {raw: each.columns for raw, each in stages.items() if each and not each.refused}
        if len(known) < len(stages) or not all(names) or max(map(len, names)) > LONGEST_NAME:
            return ""
        keys = map(_fingerprint, map(_CELL_END.join, zip(*found, strict=True)))
        values = [
            map(reader.__getitem__, each)
            for reader, each in zip(self._readers, cells, strict=True)
        ]
        stage_columns = map(known.__getitem__, raws)
        texts = map(copy_text, names)
        rows = zip(map(str, numbers), keys, stage_columns, texts, *values, strict=True)
        try:
            text = "\n".join(map("\t".join, rows))
        except TypeError:  # a value is a fault, not a text
            return ""
        for raw, lines in lines_of.items():
            self.counts.stages[raw].lines += lines
        return f"{text}\n"

    def _rows(self, records: Iterable[ReadRecord]) -> Iterator[str]:
        for line, cells in records:
            if cells.__class__ is BrokenLine:
                self._reject(Rejection(line, "", cells.reason, raw=cells.raw))
                continue
            try:
                yield self._row(line, cells)  # type: ignore[arg-type]  # a list, by elimination
            except LineRefused as refused:
                if not any(map(str.strip, cells)):  # type: ignore[arg-type]
                    self.counts.lines -= 1
                    self.counts.blank += 1
                    continue
                yield from self._refused(line, cells, refused)  # type: ignore[arg-type]

    def implausible(self, cells: list[str]) -> bool:
        """Return whether a record of several lines has a mapped text that is too long."""
        if len(cells) != self._columns.width:
            return False
        stage, name, *_ = self._picked(cells)
        sectors = self._columns.places.get("sector", ())
        return (
            len(stage) > LONGEST_STAGE
            or len(name) > LONGEST_NAME
            or any(len(cells[place]) > LONGEST_SECTOR for place in sectors)
        )

    def _row(self, line: int, cells: list[str]) -> str:
        if not self._plain or len(cells) != self._width:
            cells = self._columns.plain(cells)
        raw, *given = self._picked(cells)
        found = [*map(str.strip, given)]
        name = found[0]
        if not 0 < len(name) <= LONGEST_NAME:
            raise self._bad_name(name)
        stage = self.counts.stages.get(raw) or self._stage(raw)
        values = [*map(getitem, self._readers, found[1:])]
        try:
            text = "\t".join((copy_text(name), *values))  # type: ignore[arg-type]
        except TypeError:  # a value is a fault, not a text
            text = "\t".join((copy_text(name), *self._without_faults(values)))
        key = self._key(found, cells) if self._keyed else _fingerprint(_CELL_END.join(found))
        stage.lines += 1
        row = f"{line}\t{key}\t{stage.columns}\t{text}\n"
        if stage.refused:
            raise StageRefused(self._columns.name_of("stage"), stage.meaning, key, row)
        return row

    def _key(self, found: list[str], cells: list[str]) -> str:
        """Return the fingerprint of the cells without the stage, or of the key column."""
        if self._columns.key is not None:
            text = cells[self._columns.key].strip()
            if not text:
                raise LineRefused(self._options.key, "The key is empty.")
        else:
            text = _CELL_END.join(found)
        key = _fingerprint(text)
        if self._columns.given_keys is None:
            return key
        given, _, nth = cells[self._columns.given_keys].partition(".")
        same = given == key and nth.isascii() and nth.isdigit() and len(nth) < 9
        return f"{key}\t{nth if same else NULL}"

    def _stage(self, raw: str) -> StageCount:
        if len(raw) > LONGEST_STAGE:
            column = self._columns.name_of("stage")
            raise LineRefused(column, f"At most {LONGEST_STAGE} characters, not {len(raw)}.")
        meaning = normalize(raw, self._policy.table)
        refused = self._policy.refuses(meaning)
        kind = _kind(meaning)
        stage = stage_name(meaning)
        columns = f"{REFUSED if refused else kind}\t{copy_text(raw)}\t{stage or NULL}"
        if len(self.counts.stages) < COUNTED_SPELLINGS:
            return self.counts.stages.setdefault(raw, StageCount(meaning, kind, refused, columns))
        other = self.counts.other_stages
        found = other.setdefault(kind, StageCount(meaning, kind, refused, columns))
        found.columns, found.meaning = columns, meaning
        return found

    def _bad_name(self, name: str) -> LineRefused:
        column = self._columns.name_of("name")
        if not name:
            return LineRefused(column, "A company needs a name.")
        return LineRefused(column, f"At most {LONGEST_NAME} characters, not {len(name)}.")

    def _without_faults(self, values: list[str | ValueFault]) -> list[str]:
        """Replace faults by what is stored instead; raise LineRefused if they refuse the line."""
        return [
            self._fault(name, value) if isinstance(value, ValueFault) else value
            for name, value in zip(self._optional, values, strict=True)
        ]

    def _fault(self, field_name: str, fault: ValueFault) -> str:
        if self._options.refuse_values:
            raise LineRefused(self._columns.name_of(field_name), fault.reason)
        self.counts.faults[field_name, fault.kind] += 1
        return fault.instead

    def _refused(self, line: int, cells: list[str], refused: LineRefused) -> Iterator[str]:
        if "invested_at" in self._optional and len(cells) >= self._width:
            places = self._columns.places["invested_at"]
            self._dates.see(first_given(cells, places, self._dates.missing))
        key = refused.key.partition("\t")[0] if isinstance(refused, StageRefused) else ""
        shown = self._columns.unescaped(cells)
        self._reject(Rejection(line, refused.column, refused.reason, shown, key=key))
        if isinstance(refused, StageRefused):
            yield refused.row

    def _reject(self, rejection: Rejection) -> None:
        self.counts.rejected += 1
        self._report(rejection)
        if self.counts.rejected > self._options.max_refused:
            raise FileRefused(
                f"Line {rejection.line}: more than {self._options.max_refused:,} lines are "
                f"refused, this one because: {rejection.reason} "
                "Check the options, or allow more with --max-refused."
            )


class StageRefused(LineRefused):
    """The mode refuses the line's stage. Its `row` keeps the ordinal among equal lines."""

    def __init__(self, column: str, meaning: Meaning, key: str, row: str) -> None:
        super().__init__(column, refusal_sentence(meaning))
        self.key, self.row = key, row


def _fingerprint(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _readers(options: ImportOptions) -> dict[str, CellReader]:
    missing = options.missing_marks
    return {
        "status": StatusReader(missing, options.statuses),
        "sector": SectorReader(missing),
        "invested_usd": AmountReader(missing, options.decimal),
    }


def _picker(
    columns: ImportColumns, optional: Sequence[str], missing: frozenset[str]
) -> Callable[[list[str]], Sequence[str]]:
    """Return a function from a record to its stage, name and optional cells."""
    places = [columns.places[name] for name in ("stage", "name", *optional)]
    if all(len(each) == 1 for each in places):
        return itemgetter(*(place for (place,) in places))

    def first_of(cells: list[str]) -> list[str]:
        return [first_given(cells, each, missing) for each in places]

    return first_of


def first_given(cells: Sequence[str], places: Sequence[int], missing: frozenset[str]) -> str:
    """Return the first cell at these places that is not missing, else that of the first place."""
    for place in places:
        if cells[place].strip().casefold() not in missing:
            return cells[place]
    return cells[places[0]]


def _kind(meaning: Meaning) -> str:
    if isinstance(meaning, Known):
        return CANONICAL if meaning.canonical else NORMALIZED
    return OUTSIDE if isinstance(meaning, Outside) else UNKNOWN


def _stageless(each: StageCount) -> bool:
    return each.kind in (OUTSIDE, UNKNOWN)
