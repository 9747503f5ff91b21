"""The files of backups: opening without following symlinks, hashing, durable writing, sweeping."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import structlog

from ops.backups.outcomes import BackupFileMissing, BackupInvalid
from stagenorm.terminal import ReportProgress, no_progress

log = structlog.get_logger(__name__)

CHUNK: Final = 1 << 20  # two are in memory; larger ones cost more to allocate than they save
MAGIC: Final = b"PGDMP"
LARGEST_SIDECAR: Final = 64 << 20


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of the regular file at `path`.

    Raises `BackupFileMissing` if there is none, `BackupInvalid` for a symlink or a special file,
    and OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise BackupFileMissing(f"{path.name} is not in {path.parent}") from error
    except OSError as error:
        if path.is_symlink():
            raise BackupInvalid(f"{path} is a symbolic link, not a backup") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BackupInvalid(f"{path} is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def read_sidecar(path: Path) -> bytes:
    """Return the content of a small file beside the dump.

    Raises as `opened`, also if it is too large.
    """
    with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        content = file.read(LARGEST_SIDECAR + 1)
    if len(content) > LARGEST_SIDECAR:
        raise BackupInvalid(f"{path.name} is larger than any record of a backup")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return the members of the JSON object in a small file.

    Raises as `read_sidecar`, and `BackupInvalid` for other content.
    """
    try:
        found = json.loads(read_sidecar(path))
    except (ValueError, RecursionError) as error:
        raise BackupInvalid(f"{path.name} is malformed: not a JSON document") from error
    if not isinstance(found, dict):
        raise BackupInvalid(f"{path.name} is malformed: not a JSON object")
    return found


def unreadable(error: OSError, path: Path) -> str:
    """Return which user may not read which file, or the operating system's reason."""
    place = error.filename or path
    if isinstance(error, PermissionError):
        return f"the user {_user()} may not read {place}"
    return f"{place} cannot be read ({error.strerror or error})"


def forbidden(error: PermissionError) -> str:
    """Return which user may not access which file."""
    return f"The user {_user()} may not access {error.filename or 'a file of the backups'}"


def sha256_of(descriptor: int, progress: ReportProgress = no_progress) -> str:
    """Return the SHA-256 of the whole open file; the memory it takes is constant.

    A thread reads the next chunk while this one is hashed, so that disk and processor work in
    parallel.
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
    """Yield the future `sha256_of` the open file, computed while the block runs.

    Hashing and reading release the interpreter's lock. If the block raises, the rest of the file
    is not read.
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
    """Return device, inode, size and both times of the open file.

    Writing, replacing or touching the file changes its stamp. A program cannot set the change
    time, so an equal stamp means that nothing was written through the file system.
    """
    found = os.fstat(descriptor)
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


def publish(draft: Path, target: Path) -> None:
    """Give a finished draft its name, durably. The file must have been synced before."""
    draft.rename(target)
    sync_directory(target.parent)


def write_durably(target: Path, content: bytes) -> None:
    """Write a small file (0600) under a draft name, sync it and publish it."""
    draft = target.with_name(f"{target.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        publish(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_drafts(directory: Path) -> list[str]:
    """Remove the drafts of killed creators; return their names.

    A live creator holds a lock on its draft. A draft of another user is left to that user.
    """
    removed = []
    for draft in sorted(directory.glob("*.part")):
        with contextlib.suppress(FileNotFoundError, BlockingIOError, PermissionError):
            _remove_unlocked(draft)
            removed.append(draft.name)
            log.warning("stage_backup_draft_swept", name=draft.name)
    return removed


def _remove_unlocked(draft: Path) -> None:
    descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()
    finally:
        os.close(descriptor)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
