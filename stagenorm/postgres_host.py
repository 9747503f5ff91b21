"""Host support for the embedded PostgreSQL: its account's directories, and the state of processes.

`postgres` builds on this module.
"""

import contextlib
import os
import pwd
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_SECONDS = 60


class PostgresError(RuntimeError):
    """The embedded server cannot be found, created, started or stopped.

    The message is a sentence for the operator that names the remedy.
    """


def private_directory(place: Path, account: pwd.struct_passwd | None) -> None:
    """Make ``place`` a directory (0700) of ``account``, or of this process when that is None.

    Raises PostgresError if the directory belongs to another account.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    owner = account.pw_uid if account else os.geteuid()
    status = place.lstat()
    # The short socket directory lies in /tmp, where another account could have created it.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in {owner, os.geteuid()}:
        raise PostgresError(f"{place} belongs to another account: remove it, or set DATABASE_URL.")
    if account and status.st_uid != owner:
        os.chown(place, account.pw_uid, account.pw_gid)
    if stat.S_IMODE(status.st_mode) != 0o700:
        place.chmod(0o700)


def let_pass(place: Path) -> None:
    """Give other accounts the search bit on ``place`` and its parents; print each change."""
    for directory in (place, *place.parents):
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            print(
                f"PostgreSQL runs as nobody: adding the search bit (o+x) to {directory}",
                file=sys.stderr,
            )
            directory.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def let_read(tree: Path) -> None:
    """Let other accounts read a tree that was installed with a strict umask."""
    if (tree / "bin" / "postgres").stat().st_mode & stat.S_IROTH and (
        tree / "lib"
    ).stat().st_mode & stat.S_IROTH:
        return  # the usual umask
    for place in (tree, *tree.rglob("*")):
        if not place.is_symlink():
            mode = stat.S_IMODE(place.stat().st_mode)
            place.chmod(mode | (0o005 if mode & stat.S_IXUSR else 0o004))


def children(parent: int) -> list[int]:
    """Return the ids of the processes whose parent is ``parent``."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Fields after the command name in parentheses: state, parent.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until ``condition`` holds; raise PostgresError naming ``what`` on timeout.

    The timeout is PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise PostgresError(f"Waited {PATIENCE_SECONDS} s for {what}.")
        time.sleep(0.01)


def alive(process: int, serving: Path | None = None) -> bool:
    """Return whether ``process`` runs, and serves the cluster ``serving`` when that is given.

    A zombie does not run.
    """
    # Signal 0 is not enough: a container whose first process does not reap children keeps dead
    # servers as zombies, and process ids are reused after a restart. /proc/…/cmdline is readable
    # for every account; the working directory is not.
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return state != "Z" and (serving is None or os.fsencode(serving) in command)


def attached(segment: str) -> bool:
    """Return whether a process has the System V shared memory segment ``segment`` attached."""
    try:
        rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    except OSError:
        return False
    return any(row[1] == segment and row[6] != "0" for row in rows)
