"""The report of refused lines: JSON lines, or CSV when the file is named so."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TextIO

from stagenorm.portfolio.imports_csv import FileRefused


@dataclass(frozen=True, slots=True)
class Rejection:
    """A line that was not imported: its number, the column (empty: the whole line) and the reason."""

    line: int
    column: str
    reason: str


Report = Callable[[Rejection], None]


@contextmanager
def open_report(path: Path) -> Iterator[Report]:
    """Open a report that takes its place at `path` when it is complete; a failed import leaves the old one alone."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield _csv(file) if path.suffix.lower() == ".csv" else _json_lines(file)
        os.replace(part, path)
    except OSError as error:
        raise FileRefused(f"Cannot write the report {path}: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)


def _json_lines(file: TextIO) -> Report:
    def write(rejection: Rejection) -> None:
        file.write(json.dumps(asdict(rejection), ensure_ascii=False) + "\n")

    return write


def _csv(file: TextIO) -> Report:
    writer = csv.writer(file)
    writer.writerow(field.name for field in fields(Rejection))

    def write(rejection: Rejection) -> None:
        writer.writerow(astuple(rejection))

    return write
