"""The file of refused lines: CSV that is corrected in a spreadsheet and imported again.

It has the original columns and cells, then `_line`, `_column`, `_reason`, `_raw` (the text of a
line that could not be parsed) and `_key` (which keeps equal lines apart). Its delimiter is the
imported file's, so the same options read it. Cells are escaped as in a file of decisions, so that
no spreadsheet runs them; the importer unescapes them.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from normalization.decision_file import escape
from stagenorm.portfolio.imports.columns import REPORT_COLUMNS
from stagenorm.portfolio.imports.imported_file import FileRefused
from stagenorm.portfolio.imports.lines import Rejection


class RejectedFile:
    """Writes refused lines. Without a file it only counts them."""

    def __init__(self, file: TextIO | None = None, *, as_json: bool = False) -> None:
        self._file, self._as_json = file, as_json
        self._kept: list[int] = []
        self._width = 0
        self._delimiter = ","

    def begin(self, names: Sequence[str], delimiter: str) -> None:
        """Write the header: the columns of the imported file and those of the report."""
        self._kept = [place for place, name in enumerate(names) if name not in REPORT_COLUMNS]
        self._width, self._delimiter = len(names), delimiter
        self._write([*(names[place] for place in self._kept), *REPORT_COLUMNS])

    def add(self, refused: Rejection) -> None:
        """Write one refused line."""
        if self._as_json:
            line = {"line": refused.line, "column": refused.column, "reason": refused.reason}
            if self._file:
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            return
        cells = [
            refused.cells[place] if place < len(refused.cells) else "" for place in self._kept
        ]
        raw = refused.raw or self._delimiter.join(refused.cells[self._width :])
        own = [str(refused.line), refused.column, refused.reason, raw, refused.key]
        self._write([*cells, *own])

    def end(self, nth: Mapping[int, int]) -> None:
        """Add to the keys the ordinals of lines that equal earlier ones: line → ordinal."""
        if not nth or self._as_json or self._file is None:
            return
        self._file.seek(0)
        header, *lines = csv.reader(self._file, delimiter=self._delimiter)
        self._file.seek(0)
        self._file.truncate()
        place = header.index(REPORT_COLUMNS[0])
        writer = csv.writer(self._file, delimiter=self._delimiter)
        writer.writerow(header)
        for cells in lines:
            ordinal = nth.get(int(cells[place]))
            if ordinal:
                cells[-1] = f"{cells[-1]}.{ordinal}"
            writer.writerow(cells)

    def _write(self, cells: Sequence[str]) -> None:
        if self._file and not self._as_json:
            writer = csv.writer(self._file, delimiter=self._delimiter)
            writer.writerow([escape(cell) for cell in cells])


@contextmanager
def open_rejected(path: Path | None) -> Iterator[RejectedFile]:
    """Yield a file of refused lines: as CSV to a path that ends in `.csv`, else as JSON lines.

    The file replaces the one at `path` at the end; a failed import leaves that one. Raises
    FileRefused if it cannot be written.
    """
    if path is None:
        yield RejectedFile()
        return
    part = path.with_name(path.name + ".part")
    as_csv = path.suffix.lower() == ".csv"
    try:
        with part.open("w+", encoding="utf-8-sig" if as_csv else "utf-8", newline="") as file:
            yield RejectedFile(file, as_json=not as_csv)
        os.replace(part, path)
    except OSError as error:
        raise FileRefused(f"Cannot write the report {path}: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
