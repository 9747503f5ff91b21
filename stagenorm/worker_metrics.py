"""Metrics that the worker processes share through the files of one directory.

prometheus_client writes a file per process and kind of metric, and a scrape adds up all files.
This module adds what a long-running service needs:

- A scrape folds the files of ended processes into one file per kind, so that its cost does not
  grow with the number of workers that have ended.
- A worker that cannot write its file, for example on a full disk, keeps its metrics in memory.
  The memory map of prometheus_client would kill the worker by SIGBUS.
- Management commands keep their metrics in memory: they do not serve a scrape.

Every process holds a shared lock on its own files while it lives; the kernel releases the lock
even after SIGKILL. The lock on the directory serializes opening, folding and reading. The commit
of a fold is the renaming of one directory: see ``_fold``.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import shutil
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
FIRST_SIZE: Final = 1 << 16  # bytes; each growth doubles the size
FOLDED: Final = "folded"  # in the name of a file, in the place of the process id
# The kinds of metrics that outlive their process.
KEPT: Final = frozenset({"counter", "histogram", "summary", "gauge_mostrecent"})

_log = logging.getLogger(__name__)


def keep_in_memory() -> None:
    """Ignore the directory in this process. Call this before a metric is defined."""
    for name in (VARIABLE, VARIABLE.lower()):
        os.environ.pop(name, None)
    values.ValueClass = values.MutexValue


def share() -> None:
    """Keep the metrics of this process in the directory, if the environment names one.

    Creates the directory if it does not exist. Call this before a metric is defined.
    """
    directory = shared_directory()
    if directory is None:
        keep_in_memory()
        return
    with contextlib.suppress(OSError):  # each file that cannot be opened is reported below
        directory.mkdir(parents=True, exist_ok=True)
    values.MmapedDict = WorkerFile  # type: ignore[attr-defined] # the class of new files
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


def shared_directory() -> Path | None:
    """Return the directory of the workers' files, or None if each process has its own metrics."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


@contextlib.contextmanager
def folded(directory: Path) -> Iterator[None]:
    """Hold the files of `directory` still, those of ended processes folded into one per kind.

    Raises OSError if the directory cannot be read. If it cannot be written, nothing is folded,
    and the files still add up.
    """
    with _locked(directory):
        try:
            _finish_fold(directory)
            _fold(directory)
        except OSError as error:
            _log.warning("The metrics of ended workers were not folded: %s", error)
        yield


def serving_files(directory: Path) -> list[str]:
    """Return the files of `directory` without the gauges of processes that serve nothing.

    The master of gunicorn --preload, and a worker that has served nothing yet, define the gauges,
    so their files hold zeros. A minimum over all processes would be 0 for ever.
    """
    return [
        str(place)
        for place in directory.glob("*.db")
        if not (place.name.startswith("gauge_livemin_") and _holds_only_zeros(place))
    ]


def _holds_only_zeros(place: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # the process has ended meanwhile
        entries = MmapedDict.read_all_values_from_file(place)  # type: ignore[no-untyped-call]
        return not any(value for _, value, _, _ in entries)
    return True


class WorkerFile(MmapedDict):
    """The values of one process: in a file, or in memory if the file cannot be written."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        try:
            with _locked(Path(filename).parent):
                _finish_fold(Path(filename).parent)
                _allocate(filename)
                super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
                fcntl.flock(self._f.fileno(), fcntl.LOCK_SH)
        except OSError as error:
            _log.warning("This worker's metrics are not exported: %s", error)
            self._f = None  # type: ignore[assignment] # as after close()
            self._capacity = FIRST_SIZE
            self._m = mmap.mmap(-1, FIRST_SIZE)
            self._positions: dict[str, int] = {}
            self._used = 8

    def _init_value(self, key: str) -> None:
        # A number of 4 bytes, the key padded to a multiple of 8, and two doubles
        size = len(key.encode()) + 28
        while self._used + size > self._capacity:
            self._grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self) -> None:
        capacity = 2 * self._capacity
        if self._f is not None:
            try:
                os.posix_fallocate(self._f.fileno(), 0, capacity)
                self._m = mmap.mmap(self._f.fileno(), capacity)
                self._capacity = capacity
                return
            except OSError as error:
                _log.warning("This worker's metrics are no longer exported: %s", error)
        memory = mmap.mmap(-1, capacity)
        memory[: self._used] = self._m[: self._used]
        self._m = memory
        self._capacity = capacity


def _allocate(filename: str) -> None:
    """Reserve the file's blocks, so that no write through the memory map can fail.

    Raises OSError, and leaves no new file behind, if the disk is full.
    """
    with open(filename, "ab") as place:
        size = os.fstat(place.fileno()).st_size
        try:
            os.posix_fallocate(place.fileno(), 0, max(size, FIRST_SIZE))
        except OSError:
            if not size:
                os.unlink(filename)
            raise


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    # The directory itself is locked: a lock file could not be created on a full disk.
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fold(directory: Path) -> None:
    """Replace the files of ended processes by one file per kind.

    The new files and the names of the old ones are written into ``fold.building``. Renaming it to
    ``fold.committed`` is the commit: before, the old files are valid and the next fold begins
    again; afterwards ``_finish_fold`` completes it, if need be in another process.
    """
    ended = defaultdict(list)
    for place in sorted(directory.glob("*.db")):
        kind, _, process = place.stem.rpartition("_")
        if process == FOLDED or not _is_abandoned(place):
            continue
        if kind.startswith("gauge_live"):
            place.unlink(missing_ok=True)
        elif kind in KEPT:
            ended[kind].append(place)
    if not ended:
        return
    building = directory / "fold.building"
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed before the commit
    building.mkdir()
    for kind, places in ended.items():
        total = directory / f"{kind}_{FOLDED}.db"
        earlier = [total] if total.exists() else []
        (building / total.name).write_bytes(_sum(kind, [*earlier, *places]))
    names = [place.name for places in ended.values() for place in places]
    (building / "absorbed").write_text("\n".join(names))
    building.rename(directory / "fold.committed")
    _finish_fold(directory)


def _finish_fold(directory: Path) -> None:
    """Complete a committed fold. Each step can be repeated after a crash."""
    committed = directory / "fold.committed"
    if not committed.exists():
        return
    absorbed = committed / "absorbed"
    if absorbed.exists():  # the last file that a completed fold deletes
        for name in absorbed.read_text().splitlines():
            (directory / name).unlink(missing_ok=True)
        for place in committed.glob("*.db"):
            place.replace(directory / place.name)
        absorbed.unlink()
    committed.rmdir()


def _is_abandoned(place: Path) -> bool:
    """Return whether no living process has the file open. The directory must be locked."""
    with place.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _sum(kind: str, places: Iterable[Path]) -> bytes:
    """Return a file with the sums of all values, or the latest ones of gauges."""
    merged: dict[str, tuple[float, float]] = {}
    for place in places:
        entries = MmapedDict.read_all_values_from_file(place)  # type: ignore[no-untyped-call]
        for key, value, timestamp, _ in entries:
            total, latest = merged.get(key, (0.0, 0.0))
            if kind.startswith("gauge"):
                newer = key not in merged or timestamp >= latest
                merged[key] = (value, timestamp) if newer else (total, latest)
            else:
                merged[key] = (total + value, 0.0)
    return _encoded(merged)


def _encoded(merged: dict[str, tuple[float, float]]) -> bytes:
    """Return the values in the file format of prometheus_client's ``MmapedDict``."""
    data = bytearray(8)
    for key, (value, timestamp) in merged.items():
        name = key.encode()
        padded = name + b" " * (8 - (len(name) + 4) % 8)
        data += struct.pack(f"i{len(padded)}sdd", len(name), padded, value, timestamp)
    data[:4] = struct.pack("i", len(data))
    return bytes(data)
