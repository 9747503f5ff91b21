"""Reads lines of any length from log files, plain or gzip, with flat memory.

A damaged file never ends an audit. What could be read counts, and the damage is reported.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import Final, cast

LONGEST_LINE: Final = 64 * 1024
GZIP: Final = b"\x1f\x8b"
SHOWN: Final = 5


@dataclass(slots=True)
class LogSource:
    """One file and what could not be read of it. `first_unreadable`: line numbers and reasons."""

    name: str
    lines: int = 0
    unreadable: int = 0
    first_unreadable: list[tuple[int, str]] = field(default_factory=list)
    damage: str = ""

    def refuse(self, reason: str) -> None:
        """Count the current line as unreadable."""
        self.unreadable += 1
        if len(self.first_unreadable) < SHOWN:
            self.first_unreadable.append((self.lines, reason))


def lines(path: Path, source: LogSource, read: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the lines of a file, and count them in `source`.

    A line of LONGEST_LINE bytes or more is refused. `read` gets the bytes of the file that were
    consumed, of a gzip file the compressed ones. Raises `OSError` if the file cannot be opened.
    """
    with _opened(path) as (file, position):
        try:
            for line in _bounded(file):
                source.lines += 1
                if line is None:
                    source.refuse(f"longer than {LONGEST_LINE // 1024} KiB")
                elif line.strip():
                    yield line
                if source.lines % 10_000 == 0:
                    read(position())
        except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
            source.damage = f"damaged after line {source.lines:,}: {fault}"
        read(position())


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BufferedIOBase, Callable[[], int]]]:
    with path.open("rb") as raw:
        # By its first bytes: a rotated file may have any name.
        compressed = raw.peek(len(GZIP))[: len(GZIP)] == GZIP
        file = gzip.GzipFile(fileobj=raw) if compressed else raw
        yield cast("BufferedIOBase", file), _position_of(raw)


def _position_of(raw: BufferedIOBase) -> Callable[[], int]:
    def position() -> int:
        return raw.tell() if raw.seekable() else 0

    return position


def _bounded(file: BufferedIOBase) -> Iterator[bytes | None]:
    """Yield each line, or None for one that is too long, of which only a part is in memory."""
    while line := file.readline(LONGEST_LINE):
        if len(line) < LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
            pass
        yield None
