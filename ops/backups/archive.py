"""The dump as a file: opened once without following a symlink, hashed as a stream, known again by its stamp."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ops.backups.outcomes import Bad
from stagenorm.terminal import ReportProgress, no_progress

CHUNK: Final = 1 << 20  # two of them in memory; larger ones take longer to get than they save
MAGIC: Final = b"PGDMP"
LARGEST_SIDECAR: Final = 64 << 20


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of the regular file at `path`; raise `Bad` if there is none (a symlink is none)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise Bad(f"{path.name} is not in {path.parent}") from error
    except OSError as error:
        if path.is_symlink():
            raise Bad(f"{path} is a symbolic link, not a backup") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Bad(f"{path} is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def read_sidecar(path: Path) -> bytes:
    """Return the content of a small file beside the dump; raise `Bad` if it is missing or absurdly large."""
    with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        content = file.read(LARGEST_SIDECAR + 1)
    if len(content) > LARGEST_SIDECAR:
        raise Bad(f"{path.name} is larger than any record of a backup")
    return content


def sha256_of(descriptor: int, progress: ReportProgress = no_progress) -> str:
    """Return the SHA-256 of all bytes of the open file, read from its beginning in constant memory.

    The next chunk is read while one is hashed: a disk and a processor work side by side.
    """
    digest, done, total = hashlib.sha256(), 0, os.fstat(descriptor).st_size
    buffer, ahead = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))
    os.lseek(descriptor, 0, os.SEEK_SET)
    with ThreadPoolExecutor(1, "stagenorm-reading") as reader:
        reading = reader.submit(os.readv, descriptor, [ahead])
        while count := reading.result():
            buffer, ahead = ahead, buffer
            reading = reader.submit(os.readv, descriptor, [ahead])
            digest.update(buffer[:count])
            done += count
            progress("reading", done, total)
    return digest.hexdigest()


@contextlib.contextmanager
def hashing(descriptor: int, progress: ReportProgress = no_progress) -> Iterator[Future[str]]:
    """Yield the future `sha256_of` the open file, computed while the block does something else.

    Hashing and reading let other threads run. A block that raises does not wait for the rest of the file.
    """
    given_up = threading.Event()

    def reported(task: str, done: int, total: int | None = None, /, note: str = "") -> None:
        if given_up.is_set():
            raise CancelledError
        progress(task, done, total, note)

    with ThreadPoolExecutor(1, "stagenorm-hashing") as pool:
        try:
            yield pool.submit(sha256_of, descriptor, reported)
        except BaseException:
            given_up.set()
            raise


def stamp(descriptor: int) -> str:
    """Return what changes whenever somebody writes, replaces or touches the file: device, inode, size, both times.

    The change time cannot be set by a program, so an equal stamp means that nobody wrote through the file system.
    """
    found = os.fstat(descriptor)
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def publish(draft: Path, target: Path) -> None:
    """Give a finished draft its name, durably: the file must have been synced before."""
    draft.rename(target)
    sync_directory(target.parent)


def write_durably(target: Path, content: bytes) -> None:
    """Write a small file (0600) under a draft name, sync it and publish it."""
    draft = target.with_name(f"{target.name}.part")
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        publish(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
