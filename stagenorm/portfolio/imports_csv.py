"""Reading a CSV file of any size and any quality: records with their line numbers, or one error that says where."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# A record is read whole; nothing that describes a company is a hundredth of this.
LONGEST_RECORD: Final = 1_048_576
CHUNK_BYTES: Final = 65_536


class FileRefused(ValueError):
    """The file as a whole cannot be read; the message says where and what to do. Nothing was imported."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record, and the number of the line it begins on (from 1; a quoted field may span lines)."""

    line: int
    fields: list[str]


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """How the file is written. Raises `FileRefused` for an encoding or a delimiter that cannot be."""

    encoding: str = "utf-8-sig"
    delimiter: str = ","

    def __post_init__(self) -> None:
        try:
            text = codecs.lookup(self.encoding)._is_text_encoding  # as open() asks
        except LookupError:
            text = False
        if not text:
            raise FileRefused(
                f"There is no text encoding {self.encoding!r}: try utf-8-sig, cp1252 or utf-16."
            )
        if len(self.delimiter) != 1 or self.delimiter in '\r\n" \0':
            raise FileRefused("The delimiter is one character, such as , or ; (\\t for a tab).")


def read_records(path: Path, form: CsvFormat, progress: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records, empty lines left out; call `progress` with the bytes read so far.

    Memory does not grow with the file, nor with a line. Raises `FileRefused` for a file that cannot be opened or
    decoded, holds NUL characters, breaks the quoting or has a record over LONGEST_RECORD characters.
    """
    try:
        with path.open("rb") as binary:
            text = io.TextIOWrapper(binary, encoding=form.encoding, newline="")
            yield from _records(text, form.delimiter, lambda: progress(binary.tell()))
    except UnicodeDecodeError as error:
        line, offset = _undecodable(path, form.encoding)
        raise FileRefused(
            f"Line {line}: byte {offset} is not {form.encoding} text. Name the file's encoding with --encoding."
        ) from error
    except UnicodeError as error:
        raise FileRefused(f"The file is not {form.encoding} text: {error}.") from error
    except OSError as error:
        raise FileRefused(f"Cannot read {path}: {error.strerror}.") from error


def _records(
    text: io.TextIOWrapper, delimiter: str, progress: Callable[[], None]
) -> Iterator[Record]:
    lines = _Lines(text)
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


class _Lines:
    """The lines of a file, none and no record longer than may be held in memory."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._number = 0
        self.record = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST_RECORD + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self.record += len(line)
        if "\0" in line:
            raise FileRefused(
                f"Line {self._number}: the file holds a NUL character. Is its encoding another one?"
            )
        if self.record > LONGEST_RECORD:
            raise FileRefused(
                f"Line {self._number}: the record exceeds {LONGEST_RECORD} characters. Is a quote missing?"
            )
        return line


def _undecodable(path: Path, encoding: str) -> tuple[int, int]:
    """Return line (from 1) and offset (from 0) of the first byte that cannot be decoded."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, begin = 1, 0
    with path.open("rb") as binary:
        while chunk := binary.read(CHUNK_BYTES):
            pending = len(decoder.getstate()[0])
            try:
                line += decoder.decode(chunk, final=len(chunk) < CHUNK_BYTES).count("\n")
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(encoding, errors="ignore")
                return line + before.count("\n"), begin - pending + error.start
            begin += len(chunk)
    return line, begin
