"""CSV files of any size and any quality.

`read_records` yields records with their line numbers, or raises one error that names the line. The
source is read once, from front to end, so a pipe and standard input serve as well as a file.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TextIO, cast

STANDARD_INPUT: Final = Path("-")
# Memory holds one record at a time; this is a hundred times the longest company.
LONGEST_RECORD: Final = 1_048_576

_LINE_END = re.compile(r"\r\n|\r|\n")


class FileRefused(ValueError):
    """The file cannot be read; the message names the place and the fix. Nothing was imported."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record and the number of its first line, from 1 (a quoted field may span lines)."""

    line: int
    fields: list[str]


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """Encoding and delimiter of a file. Raises `FileRefused` for values that cannot be used."""

    encoding: str = "utf-8-sig"
    delimiter: str = ","

    def __post_init__(self) -> None:
        try:
            text = codecs.lookup(self.encoding)._is_text_encoding  # the check that open() makes
        except LookupError:
            text = False
        if not text:
            raise FileRefused(
                f"Unknown text encoding {self.encoding!r}: try utf-8-sig, cp1252 or utf-16."
            )
        if len(self.delimiter) != 1 or self.delimiter in '\r\n" \0':
            raise FileRefused("The delimiter is one character, such as , or ; (\\t for a tab).")


def read_records(path: Path, form: CsvFormat, progress: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records without empty lines; call `progress` with the bytes read so far.

    `STANDARD_INPUT` reads standard input. Memory grows neither with the file nor with a line.
    Raises `FileRefused` if the file cannot be opened or decoded, contains NUL characters, has
    malformed quoting, or has a record of more than LONGEST_RECORD characters.
    """
    try:
        with _open(path) as file:
            source = _CountedBytes(file)
            text = io.TextIOWrapper(cast("BinaryIO", source), encoding=form.encoding, newline="")
            lines = _RecordLines(text)
            try:
                yield from _records(lines, form.delimiter, lambda: progress(source.count))
            except UnicodeDecodeError as error:
                raise _undecodable(error, form.encoding, lines.number, source.count) from error
    except UnicodeError as error:
        raise FileRefused(f"The file is not {form.encoding} text: {error}.") from error
    except OSError as error:
        raise FileRefused(f"Cannot read {path}: {error.strerror}.") from error


def _open(path: Path) -> AbstractContextManager[BinaryIO]:
    if path == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)
    return path.open("rb")


def _records(
    lines: _RecordLines, delimiter: str, progress: Callable[[], None]
) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    begin = 1
    try:
        for fields in reader:
            if fields:
                progress()
                yield Record(begin, fields)
            begin, lines.record = reader.line_num + 1, 0
    except csv.Error as error:
        raise FileRefused(f"Line {begin}: the CSV is malformed: {error}.") from error


class _CountedBytes(io.BufferedIOBase):
    """The bytes of a file and how many were read: a pipe has no position to ask for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1, /) -> bytes:
        chunk = self._file.read1(size)  # type: ignore[attr-defined]  # both kinds are buffered
        self.count += len(chunk)
        return bytes(chunk)


class _RecordLines:
    """The lines of a text. Refuses NUL characters, and a record too long to hold in memory."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self.number = 0
        self.record = 0  # characters of the current record

    def __iter__(self) -> _RecordLines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST_RECORD + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.record += len(line)
        if "\0" in line:
            raise FileRefused(
                f"Line {self.number}: the file contains a NUL character. "
                "Check the encoding, and name it with --encoding."
            )
        if self.record > LONGEST_RECORD:
            raise FileRefused(
                f"Line {self.number}: the record exceeds {LONGEST_RECORD} characters. "
                "Check for a missing quote."
            )
        return line


def _undecodable(error: UnicodeDecodeError, encoding: str, lines: int, read: int) -> FileRefused:
    # The decoder failed on the last bytes read, after the lines that were complete before them.
    before = error.object[: error.start].decode(encoding, errors="ignore")
    line = lines + 1 + len(_LINE_END.findall(before))
    offset = read - len(error.object) + error.start
    return FileRefused(
        f"Line {line}: byte {offset} is not {encoding} text. "
        "Name the file's encoding with --encoding."
    )
