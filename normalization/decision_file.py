"""Decisions as a CSV file: one line each, sorted by key, so that it can be reviewed and kept
in a repository.

The columns are `spelling,verdict,stage,kind,note,source`. A spelling may hold anything that a
client sent, so its line breaks, tabs and invisible characters are written as escapes. So is a
first `=`, `+`, `-` or `@`, which a spreadsheet would run as a formula. Reading what `write`
wrote gives the same rows back, to the letter.

`read` refuses a file as a whole and names every fault with its line. Starter packs are files
of the same form with one verdict more: `choose` marks a spelling that the operator has to
decide. Pure: no Django, no clock, no settings.
"""

import csv
import io
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from normalization.decision_warnings import DecisionVerdict
from normalization.stages import BUILTIN, LONGEST, Known, Stage, fold, normalize

COLUMNS: Final = ("spelling", "verdict", "stage", "kind", "note", "source")
REQUIRED_COLUMNS: Final = ("spelling", "verdict")

CONFIRMED: Final = "confirmed"
"""The word in a note or source with which a file confirms the hard warnings of its line."""

_FORMULA_STARTS = ("=", "+", "-", "@")
_SHORT_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SHORT_CHARACTERS = {escaped[1]: char for char, escaped in _SHORT_ESCAPES.items()}
_ESCAPE = re.compile(
    r"\\(?:(?P<short>[\\nrt])|u(?P<code>[0-9a-fA-F]{4})|U(?P<long_code>[0-9a-fA-F]{8})|.?)",
    re.DOTALL,
)
# Control, format, surrogate and private-use characters, and every space but the usual one.
_INVISIBLE_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp"))
# Letters and marks without a shape of their own: fillers, joiners, variation selectors, the
# empty braille pattern.
_INVISIBLE_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0").union(
    map(chr, range(0xFE00, 0xFE10)), map(chr, range(0xE0100, 0xE01F0))
)
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
"""What PostgreSQL cannot store in a text: NUL and half of a surrogate pair."""


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One line of a file: a spelling as the client sent it, and what is decided about it.

    `stage` is None unless the verdict is `stage`. `line` is where the row begins in its file;
    it does not count when rows are compared.
    """

    spelling: str
    verdict: DecisionVerdict
    stage: Stage | None = None
    kind: str = ""
    note: str = ""
    source: str = ""
    line: int = field(default=0, compare=False)
    key: str = field(init=False, compare=False, repr=False)
    """The folded form, under which the spelling is looked up."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", fold(self.spelling))

    @property
    def is_confirmed(self) -> bool:
        """Whether the note or the source confirms the hard warnings of this row."""
        return CONFIRMED in re.findall(r"\w+", f"{self.note} {self.source}".casefold())


@dataclass(frozen=True, slots=True)
class LineFault:
    """Why a line cannot be used. Line 1 is the header."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class DecisionFileRefused(ValueError):
    """A file that cannot be used. `faults` has every reason, in the order of the lines."""

    def __init__(self, faults: Iterable[LineFault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        super().__init__("; ".join(map(str, self.faults)))


def write(rows: Iterable[DecisionRow]) -> str:
    """Return the rows as CSV text, sorted by key: two exports differ only where decisions do."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda row: (row.key, row.spelling)):
        cells = (row.spelling, row.verdict.value, row.stage or "", row.kind, row.note, row.source)
        writer.writerow([escape(cell) for cell in cells])
    return text.getvalue()


def read(data: bytes | str, *, pack: bool = False) -> tuple[DecisionRow, ...]:
    """Return the rows of a file, in its order.

    `pack` reads a starter pack: it may hold the verdict `choose`. Warnings are not judged here:
    see `decision_plan`.

    Raises `DecisionFileRefused` with every fault: text that is not UTF-8 or holds NUL, an
    unknown column, verdict or stage, a bad escape, a spelling that is over-long, built in or
    given twice.
    """
    faults: list[LineFault] = []
    rows: list[DecisionRow] = []
    for line, cells in _records(data, faults):
        try:
            rows.append(_row(line, cells, pack))
        except ValueError as fault:
            faults.append(LineFault(line, str(fault)))
    faults += _repeated(rows)
    if faults:
        raise DecisionFileRefused(faults)
    return tuple(rows)


def escape(text: str) -> str:
    """Return a text on one visible line that no spreadsheet runs; `unescape` restores it."""
    is_plain = text.isascii() and text.isprintable() and "\\" not in text
    shown = text if is_plain else "".join(map(_escaped, text))
    return f"\\u{ord(shown[0]):04x}{shown[1:]}" if shown.startswith(_FORMULA_STARTS) else shown


def unescape(cell: str) -> str:
    """Return the text that a cell stands for. Raises ValueError for an unknown escape."""
    return _ESCAPE.sub(_unescaped, cell) if "\\" in cell else cell


def _escaped(char: str) -> str:
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    category = unicodedata.category(char)
    if char == " " or (category not in _INVISIBLE_CATEGORIES and char not in _INVISIBLE_LETTERS):
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _unescaped(found: re.Match[str]) -> str:
    if found["short"]:
        return _SHORT_CHARACTERS[found["short"]]
    code = found["code"] or found["long_code"]
    if code is None or int(code, 16) > sys.maxunicode:
        raise ValueError(f"“{found[0]}” is not an escape; write a backslash itself twice")
    return chr(int(code, 16))


def _records(data: bytes | str, faults: list[LineFault]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each record with the line on which it begins. What is no record is added to `faults`."""
    text = _decoded(data, faults)
    if text is None:
        return
    lines = _lines(text, faults)
    first, header = next(lines, (1, []))
    if reason := _header_fault(header):
        faults.append(LineFault(first, reason))
        return
    for line, cells in lines:
        if len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif cells:
            reason = f"{len(cells)} cells, where the header has {len(header)}"
            faults.append(LineFault(line, reason))


def _decoded(data: bytes | str, faults: list[LineFault]) -> str | None:
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        faults.append(LineFault(line, "the file is not UTF-8"))
        return None


def _lines(text: str, faults: list[LineFault]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as fault:
        faults.append(LineFault(line, f"the line is not CSV: {fault}"))


def _header_fault(header: list[str]) -> str:
    if unknown := [name for name in header if name not in COLUMNS]:
        return f"unknown column “{escape(unknown[0])}”; the columns are {', '.join(COLUMNS)}"
    if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
        return f"the column {missing[0]} is missing"
    if len(set(header)) < len(header):
        return "a column stands twice in the header"
    return ""


def _row(line: int, cells: dict[str, str], pack: bool) -> DecisionRow:
    """The row of one record. Raises ValueError with the first reason why it cannot be used."""
    texts = {column: unescape(cells.get(column, "")) for column in COLUMNS}
    spelling, verdict, stage, kind, note, source = texts.values()
    for column, text in texts.items():
        if _NOT_STORABLE.search(text):
            raise ValueError(f"the {column} holds NUL or half a surrogate pair")
    if len(spelling) > LONGEST:
        raise ValueError(f"the spelling is longer than {LONGEST} characters")
    if reason := _verdict_fault(verdict, stage, pack) or _built_in_fault(spelling):
        raise ValueError(reason)
    named_stage = Stage(stage) if stage else None
    return DecisionRow(spelling, DecisionVerdict(verdict), named_stage, kind, note, source, line)


def _verdict_fault(verdict: str, stage: str, pack: bool) -> str:
    allowed = [
        each.value for each in DecisionVerdict if pack or each is not DecisionVerdict.CHOOSE
    ]
    if verdict not in allowed:
        return f"unknown verdict {_quoted(verdict)}; the verdicts are {', '.join(allowed)}"
    if verdict != DecisionVerdict.STAGE:
        return f"the verdict {verdict} has no stage" if stage else ""
    if stage not in list(Stage):
        return f"unknown stage {_quoted(stage)}; the stages are {', '.join(Stage)}"
    return ""


def _built_in_fault(spelling: str) -> str:
    answer = normalize(spelling, BUILTIN)
    return (
        f"{_quoted(spelling)} is built in as {answer.stage}" if isinstance(answer, Known) else ""
    )


def _repeated(rows: Iterable[DecisionRow]) -> Iterator[LineFault]:
    first: dict[str, DecisionRow] = {}
    for row in rows:
        earlier = first.setdefault(row.key, row)
        if earlier is not row:
            reason = f"{_quoted(row.spelling)} is the same spelling as line {earlier.line}"
            yield LineFault(row.line, reason)


def _quoted(text: str) -> str:
    return f"“{escape(text)}”"
