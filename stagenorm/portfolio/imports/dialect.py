"""The encoding and the delimiter of a file: named by an option, or found in its bytes.

Nothing is guessed. A byte-order mark decides the encoding; without one the file has to be UTF-8 to
its last byte, or the import stops and shows the odd lines in three encodings. The delimiter is the
one that splits the first 64 KB into the most records as wide as the header.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from normalization.observations import printable
from stagenorm.portfolio.imports.imported_file import FileRefused, ImportedFile

DELIMITERS: Final = (",", ";", "\t", "|")
DELIMITER_NAMES: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
SAMPLE: Final = 65_536
ODD_LINES: Final = 3
ODD_ENCODINGS: Final = ("cp1252", "mac_roman", "latin-1")
MIXED: Final = "+"

_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Codecs of text that turn plain ASCII into something else, or run an interpreter of escapes.
_UNSAFE: Final = frozenset(("unicode-escape", "raw-unicode-escape", "utf-7", "idna", "punycode"))
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_SEPARATOR_LINE: Final = re.compile(r"""\A"?sep=(.)"?\s*\Z""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OddLine:
    """A line that is not UTF-8, and the text that it would be in other encodings."""

    line: int
    readings: dict[str, str]


class OddBytes(FileRefused):
    """The file is not UTF-8 and names no encoding. `lines` are its first odd lines."""

    def __init__(self, offset: int, lines: Sequence[OddLine]) -> None:
        super().__init__(
            f"Line {lines[0].line}: byte {offset} is not UTF-8 text. Name the encoding that "
            f"reads the line correctly: --encoding {', '.join(ODD_ENCODINGS)} or utf-8+cp1252."
        )
        self.lines = lines


@dataclass(slots=True)
class TextEncoding:
    """How bytes become text. `fallback` reads the bytes that are not `codec`, and counts them."""

    codec: str
    source: str
    fallback: str = ""
    fallen_back: int = 0
    errors: str = field(init=False, default="strict")

    def __post_init__(self) -> None:
        if self.fallback:
            self.errors = f"stagenorm-{self.fallback}-{id(self)}"
            codecs.register_error(self.errors, self._fall_back)

    @property
    def name(self) -> str:
        """The encoding in words, as in the plan."""
        return f"{self.codec}{MIXED}{self.fallback}" if self.fallback else self.codec

    def open(self, file: io.BufferedIOBase) -> io.TextIOWrapper:
        """Return the text; its line ends stay as they are."""
        self.fallen_back = 0
        return io.TextIOWrapper(
            cast("BinaryIO", file), encoding=self.codec, errors=self.errors, newline=""
        )

    def _fall_back(self, error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        odd = error.object[error.start : error.end]
        try:
            text = odd.decode(self.fallback)
        except UnicodeDecodeError:
            raise error from None  # it names the place in the file
        self.fallen_back += len(odd)
        return text, error.end


def find_encoding(file: ImportedFile, named: str = "") -> TextEncoding:
    """Return the encoding of a file: its byte-order mark, else the named one, else UTF-8.

    Raises FileRefused for an encoding that cannot be used, and OddBytes for a file without a
    named encoding that is not UTF-8.
    """
    start = file.part(0, 4)
    for mark, codec in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return TextEncoding(codec, "byte-order mark")
    if named:
        codec, _, fallback = named.partition(MIXED)
        for each in (codec, fallback) if fallback else (codec,):
            _check_codec(each)
        return TextEncoding(codec, "--encoding", fallback)
    offset = _first_odd_byte(file)
    if offset is not None:
        raise OddBytes(offset, list(_odd_lines(file, offset)))
    return TextEncoding("utf-8", "every byte is UTF-8")


def find_delimiter(sample: str, wanted: Sequence[str]) -> tuple[str, bool]:
    """Return the delimiter of a file, and whether its first line names it (`sep=;`).

    `sample` begins with the file's first character. `wanted` are the names of columns that the
    header should have: the delimiter that finds more of them wins.
    """
    first, _, rest = sample.partition("\n" if "\n" in sample else "\r")
    named = _SEPARATOR_LINE.match(first)
    if named:
        return named[1], True
    names = {name.casefold() for name in wanted}
    best = max(DELIMITERS, key=lambda each: _fit(sample, each, names, cut=bool(rest)))
    return best, False


def check_delimiter(delimiter: str) -> str:
    r"""Return the delimiter of an option, `\t` as a tab. Raises FileRefused."""
    given = delimiter.replace("\\t", "\t")
    if len(given) != 1 or given in '\r\n" \0':
        raise FileRefused("The delimiter is one character, such as , or ; (\\t for a tab).")
    return given


def undecodable(
    error: UnicodeError, encoding: TextEncoding, file: ImportedFile, read: int
) -> FileRefused:
    """Return the refusal of bytes that are not text, after `read` bytes of the file."""
    if not isinstance(error, UnicodeDecodeError):
        return FileRefused(f"The file is not {encoding.name} text: {error}.")
    offset = read - len(error.object) + error.start  # the decoder failed on the last bytes read
    line = 1 + _line_ends(file, offset, encoding.codec)
    return FileRefused(
        f"Line {line}: byte {offset} is not {encoding.name} text. "
        "Name the file's encoding with --encoding."
    )


def _check_codec(name: str) -> None:
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        found = None
    # `open()` makes the same check for codecs that do not produce text, such as base64.
    usable = found is not None and found._is_text_encoding and found.name not in _UNSAFE
    if not usable:
        raise FileRefused(
            f"Unknown or unsafe text encoding {printable(name)!r}: "
            "try utf-8, cp1252, utf-16 or utf-8+cp1252."
        )


def _fit(sample: str, delimiter: str, names: set[str], *, cut: bool) -> tuple[int, int, int]:
    """Return how well a delimiter fits: wanted columns, records as wide as the header, width."""
    records = list(_trial(sample, delimiter))
    if cut and len(records) > 1:
        records.pop()  # the sample may end within it
    if not records or len(records[0]) < 2:
        return 0, 0, 0
    found = names & {cell.strip().casefold() for cell in records[0]}
    width = len(records[0])
    return len(found), sum(len(record) == width for record in records), width


def _trial(sample: str, delimiter: str) -> Iterator[list[str]]:
    lines = io.StringIO(sample, newline="")
    while True:
        try:
            yield from filter(None, csv.reader(lines, delimiter=delimiter, strict=True))
            return
        except csv.Error:
            continue


def _first_odd_byte(file: ImportedFile) -> int | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    for chunk in file.chunks():
        kept = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            return read - kept + error.start
        read += len(chunk)
    waiting = len(decoder.getstate()[0])  # the file ends within a character
    return read - waiting if waiting else None


def _odd_lines(file: ImportedFile, offset: int) -> Iterator[OddLine]:
    """Yield the first odd lines, or what surrounds their first odd byte if they are long."""
    start = max(0, offset - 200)
    line = 1 + _line_ends(file, offset, "latin-1")
    window = file.part(start, SAMPLE)
    before = _LINE_END.split(window[: offset - start])[-1]
    shown = 0
    rest = before + window[offset - start :]
    for number, text in enumerate(_LINE_END.split(rest), start=line):
        if shown == ODD_LINES:
            return
        odd = _odd_part(text)
        if odd:
            shown += 1
            readings = {each: odd.decode(each, errors="replace") for each in ODD_ENCODINGS}
            yield OddLine(number, readings)


def _odd_part(line: bytes) -> bytes:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return line[max(0, error.start - 40) : error.start + 40]
    return b""


def _line_ends(file: ImportedFile, offset: int, codec: str) -> int:
    """Count the line ends before an offset; CR, LF and CR LF each are one."""
    decoder = codecs.getincrementaldecoder(codec)("ignore")
    found, read, after_return = 0, 0, False
    for chunk in file.chunks():
        text = decoder.decode(chunk[: offset - read])
        found += text.count("\n") + text.count("\r") - text.count("\r\n")
        found -= after_return and text.startswith("\n")
        after_return = text.endswith("\r") or (after_return and not text)
        read += len(chunk)
        if read >= offset:
            break
    return found
