"""The bytes of an imported file, which is read several times.

A pipe or standard input is first copied into a temporary file. A regular file stays open:
replacing it has no effect on an import, and a change of its bytes is found by their digest.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

STANDARD_INPUT: Final = Path("-")
CHUNK: Final = 262_144
MOST_SPOOLED: Final = 8 * 1024**3
"""The most bytes that are copied from a pipe. A larger file is imported by its name."""

Progress = Callable[[str, int, int], None]
"""Called with a step, the bytes done and all bytes."""


class FileRefused(ValueError):
    """The file cannot be imported; the message names the place and the fix."""


def no_steps(step: str, done: int, total: int) -> None:
    """Report no progress."""


class ImportedFile:
    """An open file of known size. `read_again` starts at its first byte."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.size = os.fstat(file.fileno()).st_size
        self.sha256 = ""

    def read_again(self) -> CountedBytes:
        """Return the bytes from the start, counted and hashed as they are read."""
        self._file.seek(0)
        return CountedBytes(self._file)

    def digest(self, progress: Progress) -> str:
        """Return the SHA-256 of all bytes, and keep it as `sha256`."""
        source = self.read_again()
        while source.read1():
            progress("reading", source.count, self.size)
        self.sha256 = source.hexdigest()
        return self.sha256

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes in pieces of CHUNK."""
        self._file.seek(0)
        while True:
            chunk = self._file.read(CHUNK)
            if not chunk:
                return
            yield chunk

    def part(self, start: int, size: int) -> bytes:
        """Return at most `size` bytes from the offset `start`."""
        self._file.seek(max(0, start))
        return self._file.read(size)


class CountedBytes(io.BufferedIOBase):
    """A stream that counts and hashes the bytes that a text wrapper reads from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def read1(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        chunk = self._file.read(CHUNK if size < 0 else size)
        self.count += len(chunk)
        self._hash.update(chunk)
        return chunk

    def hexdigest(self) -> str:
        """Return the SHA-256 of the bytes read so far."""
        return self._hash.hexdigest()


@contextmanager
def open_file(path: Path, *, most_spooled: int = MOST_SPOOLED) -> Iterator[ImportedFile]:
    """Open a file, a pipe or standard input (`-`).

    Raises FileRefused if it cannot be read, or if a pipe has more than `most_spooled` bytes.
    """
    try:
        if path != STANDARD_INPUT and not path.is_fifo():
            with path.open("rb") as file:
                yield ImportedFile(file, path.name)
            return
        with tempfile.TemporaryFile(prefix="stagenorm-import-") as spool:
            _spool(path, spool, most_spooled)
            yield ImportedFile(spool, "standard input" if path == STANDARD_INPUT else path.name)
    except OSError as error:
        raise FileRefused(f"Cannot read {path}: {error.strerror}.") from error


def _spool(path: Path, spool: BinaryIO, most: int) -> None:
    source = sys.stdin.buffer if path == STANDARD_INPUT else path.open("rb")
    try:
        copied = 0
        while True:
            chunk = source.read(CHUNK)
            if not chunk:
                break
            copied += len(chunk)
            if copied > most:
                raise FileRefused(
                    f"The pipe has more than {most:,} bytes: store it in a file and import that."
                )
            spool.write(chunk)
    finally:
        if path != STANDARD_INPUT:
            source.close()
    spool.flush()
