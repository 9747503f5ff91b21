"""The records of a CSV text, with recovery by line.

A strict parser of the standard library reads the text in blocks of whole lines, which is enough
where each line is one record. Other blocks are read line by line: if the parser fails, or if a
record of several lines cannot be meant, the record's first physical line is refused, the other
lines are pushed back and reading continues with them. A missing quote therefore costs one line,
also where the next quote is far away.
"""

from __future__ import annotations

import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final, TextIO

LONGEST_RECORD: Final = 1_048_576
"""The most characters of a record. Memory holds a few records, however large the file is."""
MOST_COLUMNS: Final = 2_000
RAW_SHOWN: Final = 1_000
BLOCK: Final = 32_768
"""Characters read at once; the line in which a block ends is read to its end."""
MOST_OF_BATCH: Final = 1_000
_FAULTS: Final = {"unexpected end of data": "a quote that it opens is never closed"}
_LINE_ENDS: Final = ("\n", "\r")
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A physical line that is refused; `raw` is its text, at most RAW_SHOWN characters."""

    raw: str
    reason: str


ReadRecord = tuple[int, list[str] | BrokenLine]
"""The number of the record's first line, from 1, and its cells."""


class _RecordTooLong(Exception):
    """Ends the record that is being read."""


class RecordReader:
    """Reads the records of a text once. Lines without any character are skipped.

    `implausible` is asked about each record of several lines that has the right width.
    """

    def __init__(
        self,
        text: TextIO,
        delimiter: str,
        implausible: Callable[[list[str]], bool] = lambda cells: False,
    ) -> None:
        self._text = text
        self._delimiter = delimiter
        self._implausible = implausible
        self._held: list[str] = []  # the physical lines of the current record
        self._pushed_back: deque[str] = deque()
        self._with_nul = False
        self._number = 0  # physical lines read
        csv.field_size_limit(LONGEST_RECORD)  # the default, 131,072, is shorter

    def skip_line(self) -> None:
        """Skip the next physical line."""
        self._next_line()

    def read(self, width: int = 0) -> Iterator[ReadRecord]:
        """Yield the records. `width`: their number of cells, which decides what is broken."""
        return chain.from_iterable(self.batches(width))

    def batches(self, width: int = 0) -> Iterator[list[ReadRecord]]:
        """Yield the records of `read` in lists, which costs less for each record."""
        while block := self._next_block():
            records = self._one_for_each_line(block)
            if records is None:
                self._pushed_back.extend(_LINE.findall(block))
                recovered = self._recovered(width)
                while batch := list(islice(recovered, MOST_OF_BATCH)):
                    yield batch
            else:
                numbered = enumerate(records, self._number + 1)
                yield [(number, cells) for number, cells in numbered if cells]
                self._number += len(records)

    def _next_block(self) -> str:
        """Return the next whole lines. The rest of a line that is too long is skipped."""
        block = self._text.read(BLOCK)
        end = self._text.readline(LONGEST_RECORD + 1)
        if len(end) > LONGEST_RECORD:
            self._skip_rest(end)
        return block + end

    def _one_for_each_line(self, block: str) -> list[list[str]] | None:
        """Return the records of a block, None if a line may be broken or a part of a record."""
        if len(block) > LONGEST_RECORD or "\0" in block:
            return None
        lines = io.StringIO(block, newline="")
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        try:
            records = list(reader)
        except csv.Error:
            return None
        return records if len(records) == reader.line_num else None

    def _recovered(self, width: int) -> Iterator[ReadRecord]:
        """Yield the records of the lines pushed back, and of those that their last one needs."""
        ended = False
        while not ended:
            records = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
            try:
                yield from self._well_formed(records, width)
                ended = True
            except csv.Error as error:
                reason = str(error)
                yield self._refused(f"The line is malformed: {_FAULTS.get(reason, reason)}.")
            except _RecordTooLong:
                reason = f"The record has more than {LONGEST_RECORD:,} characters."
                yield self._refused(reason)

    def _well_formed(self, records: Iterator[list[str]], width: int) -> Iterator[ReadRecord]:
        """Yield records until one is broken; raise csv.Error then."""
        held = self._held
        for cells in records:
            if len(held) > 1 or self._with_nul:
                self._check(cells, width)
            if cells:
                yield self._number - len(held) + 1, cells
            held.clear()

    def _check(self, cells: list[str], width: int) -> None:
        """Raise csv.Error if the record holds NUL, or lines that a stray quote swallowed."""
        if self._with_nul:
            raise csv.Error("it contains a NUL character; check the encoding")
        if width and len(cells) != width:
            raise csv.Error("a quote that it opens is not closed where it should be")
        if width and self._implausible(cells):
            raise csv.Error("a quote that it opens makes a cell too long")
        inner = self._held[1:-1]
        if width and inner and all(self._is_record(line, width) for line in inner):
            raise csv.Error("a quote that it opens is closed on a later record")

    def _is_record(self, line: str, width: int) -> bool:
        try:
            [cells] = csv.reader([line], delimiter=self._delimiter, strict=True)
        except (csv.Error, ValueError):
            return False
        return len(cells) == width

    def _refused(self, reason: str) -> ReadRecord:
        """Refuse the first line of the current record and push the others back."""
        first, *others = self._held
        self._pushed_back.extendleft(reversed(others))
        self._number -= len(others)
        self._held.clear()
        self._with_nul = False
        return self._number, BrokenLine(first[:RAW_SHOWN].rstrip("\r\n"), reason)

    def _lines(self) -> Iterator[str]:
        held = self._held
        size = 0
        while held or self._pushed_back:
            line = self._next_line()
            if not line:
                return
            held.append(line)
            size = size + len(line) if len(held) > 1 else len(line)
            if size > LONGEST_RECORD:
                raise _RecordTooLong
            if "\0" in line:
                self._with_nul = True
            yield line

    def _next_line(self) -> str:
        if self._pushed_back:
            line = self._pushed_back.popleft()
        else:
            line = self._text.readline(LONGEST_RECORD + 1)
            if len(line) > LONGEST_RECORD:
                self._skip_rest(line)
        if line:
            self._number += 1
        return line

    def _skip_rest(self, line: str) -> None:
        """Skip the rest of a line that is too long to hold."""
        while line and not line.endswith(_LINE_ENDS):
            line = self._text.readline(LONGEST_RECORD)
