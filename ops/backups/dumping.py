"""The stream from pg_dump to disk: hashed as it passes, and written under a draft name."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from ops.backups import children
from ops.backups.archive import CHUNK
from ops.backups.children import ClientTools
from ops.backups.facts import SnapshotFacts, collect
from ops.backups.outcomes import BackupFailed
from ops.backups.records import first_line
from ops.backups.source import Source, SourceConnection
from stagenorm.terminal import ReportProgress

F_SETPIPE_SZ: Final = 1031


@dataclass(frozen=True, slots=True)
class DumpResult:
    """The figures of a dump that is on disk."""

    size: int
    sha256: str
    seconds: float


@contextlib.contextmanager
def draft(path: Path) -> Iterator[int]:
    """Yield a new file (0600); remove it unless it was renamed.

    Its lock protects it from a sweep.
    """
    try:
        descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise BackupFailed(
            f"{path.parent} cannot be written ({error.strerror}): set BACKUP_DIR."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    except OSError as error:
        raise BackupFailed(
            f"The backup could not be written to {path.parent} ({error.strerror}); "
            "nothing was published. Make room with manage.py prune_backups, or set BACKUP_DIR."
        ) from error
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def dump(
    tools: ClientTools,
    database: Source,
    exported: str,
    output: int,
    check: Callable[[], None],
    progress: ReportProgress,
    limit: float,
) -> DumpResult:
    """Run pg_dump on the exported snapshot into `output` until it is whole and on disk.

    `check` is called repeatedly and raises to stop. Raises `BackupFailed`.
    """
    options = [
        "--format=custom",
        "--compress=1",
        "--no-password",
        "--lock-wait-timeout=30s",
        f"--snapshot={exported}",
    ]
    command = [str(tools.pg_dump), *options, f"--dbname={database.argument()}"]
    environment, started = database.environment(), time.perf_counter()
    with children.running(
        command,
        environment=environment,
        time_limit=limit,
        secret=database.password,
        stdout=subprocess.PIPE,
    ) as dumper:
        try:
            size, sha256 = _stream(dumper, output, check, progress)
            status = dumper.wait()
        except children.TimeLimitExceeded as error:
            raise BackupFailed(
                f"pg_dump was stopped after {limit:g} s; nothing was published."
            ) from error
        if status != 0:
            check()  # a broken snapshot is the cause, the complaint its effect
            complaint = dumper.complaint()
            raise BackupFailed(
                f"pg_dump ended with status {status}; nothing was published. "
                f"{complaint}{_hint(complaint)}"
            )
    os.fsync(output)
    return DumpResult(size, sha256, time.perf_counter() - started)


def _stream(
    dumper: children.ClientProgram,
    output: int,
    check: Callable[[], None],
    progress: ReportProgress,
) -> tuple[int, str]:
    assert dumper.process.stdout  # noqa: S101 (a pipe was asked for)
    pipe, digest, size = dumper.process.stdout.fileno(), hashlib.sha256(), 0
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, F_SETPIPE_SZ, CHUNK)
    while True:
        dumper.check_time()
        check()
        if not select.select([pipe], [], [], 0.5)[0]:
            continue
        chunk = os.read(pipe, CHUNK)
        if not chunk:
            return size, digest.hexdigest()
        digest.update(chunk)
        _write(output, chunk)
        size += len(chunk)
        progress("dumping", size, None)


def _write(output: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(output, view) :]


def _hint(complaint: str) -> str:
    if "row-level security" in complaint:
        return (
            " A policy hides rows from this role: ALTER ROLE … BYPASSRLS, "
            "or dump with the table's owner."
        )
    return ""


class SnapshotCount:
    """The facts of a snapshot, counted in a thread while pg_dump reads the same snapshot."""

    def __init__(self, snapshot: SourceConnection) -> None:
        self._snapshot = snapshot
        self._facts: SnapshotFacts | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._count, name="snapshot facts", daemon=True)

    def __enter__(self) -> SnapshotCount:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting if the block ended early."""
        if self._thread.is_alive():
            with contextlib.suppress(psycopg.Error):
                self._snapshot.cancel_safe(timeout=5)
            self._thread.join(10)

    def check(self) -> None:
        """Raise `BackupFailed` if the counting has failed by now."""
        if self._error is not None:
            raise BackupFailed(
                f"The snapshot could not be counted: {first_line(self._error)}"
            ) from self._error

    def result(self) -> SnapshotFacts:
        """Wait for the facts; raise `BackupFailed` if they could not be counted."""
        self._thread.join()
        self.check()
        assert self._facts is not None  # noqa: S101 (either facts or an error)
        return self._facts

    def _count(self) -> None:
        try:
            self._facts = collect(self._snapshot, hold=True)
        except Exception as error:  # raised in the thread that waits
            self._error = error
