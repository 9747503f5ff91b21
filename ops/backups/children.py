"""`pg_dump` and `pg_restore`: finding the right version, and running them as child processes.

A child process ends with this process and at its time limit.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final

from django.conf import settings

from ops.backups.outcomes import BackupRefused
from stagenorm.parent_death import end_with

KEPT_OUTPUT: Final = 4_000


class TimeLimitExceeded(Exception):
    """The child process was killed because its time was over."""


class ClientProgram:
    """A running client program; `complaint()` is the end of its standard error."""

    def __init__(
        self, process: subprocess.Popen[bytes], errors: IO[bytes], secret: str, deadline: float
    ) -> None:
        self.process, self.deadline = process, deadline
        self._errors, self._secret = errors, secret

    def wait(self, tick: Callable[[], None] = lambda: None) -> int:
        """Wait for the end, calling `tick` ten times a second; return the exit status.

        Raises `TimeLimitExceeded`.
        """
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.1)
            tick()
            self.check_time()

    def check_time(self) -> None:
        """Raise `TimeLimitExceeded` when the time is over."""
        if time.monotonic() > self.deadline:
            raise TimeLimitExceeded

    def complaint(self) -> str:
        """Return the end of its standard error, on one line, without the password."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - KEPT_OUTPUT))
        text = " ".join(self._errors.read().decode(errors="replace").split())
        return text.replace(self._secret, "[redacted]") if self._secret else text


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    environment: dict[str, str],
    time_limit: float,
    secret: str = "",
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[ClientProgram]:
    """Run `command` in its own process group, which ends with the block.

    If this process is killed, the kernel kills the child (Linux). `time_limit` is in seconds.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 (our own command line, no shell)
            [str(part) for part in command],
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=errors,
            cwd="/",
            start_new_session=True,
            preexec_fn=partial(end_with, os.getpid()),  # noqa: PLW1509 (one prctl, no lock)
        )
        try:
            yield ClientProgram(process, errors, secret, time.monotonic() + time_limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()


# A dump from a hostile server runs code in the client (CVE-2025-8714, CVE-2025-8715, fixed in
# August 2025), or the server overwrites its memory (CVE-2026-6477, fixed in May 2026). The first
# fixed minor release of each major one:
HOLES_CLOSED_SINCE: Final = {14: 23, 15: 18, 16: 14, 17: 10, 18: 4}
HOLES: Final = "CVE-2025-8714, CVE-2025-8715, CVE-2026-6477"


@dataclass(frozen=True, slots=True)
class ClientTools:
    """The client programs to use, and their version."""

    pg_dump: Path
    pg_restore: Path
    version: tuple[int, int]

    @property
    def warning(self) -> str:
        """A sentence about known vulnerabilities of this version; "" if there are none."""
        major, minor = self.version
        closed = HOLES_CLOSED_SINCE.get(major)
        if (closed is None and major > max(HOLES_CLOSED_SINCE)) or (
            closed is not None and minor >= closed
        ):
            return ""
        advice = f"{major}.{closed} closes them" if closed else "use a supported major version"
        return f"pg_restore {major}.{minor} has known holes ({HOLES}): {advice}."


def find_tools(server_version: int) -> ClientTools:
    """Return the tools for a server of `server_version_num`.

    The major versions must be equal: an older pg_dump refuses, and a newer pg_restore sets
    parameters that an older server lacks, so that a drill would fail on a good backup.
    """
    dump, restore = _program("pg_dump"), _program("pg_restore")
    versions = {program: _version(program) for program in (dump, restore)}
    server = server_version // 10000
    for program, version in versions.items():
        if version[0] != server:
            raise BackupRefused(
                f"{program} is of version {version[0]}, the server of {server}: set PG_BIN_DIR "
                f"to the programs of {server}, for example /usr/lib/postgresql/{server}/bin."
            )
    return ClientTools(dump, restore, versions[restore])


def _program(name: str) -> Path:
    chosen = settings.PG_BIN_DIR
    found = shutil.which(name, path=str(chosen) if chosen != Path() else None)
    if not found:
        raise BackupRefused(
            f"{name} was not found: "
            "install the PostgreSQL client, or set PG_BIN_DIR to its directory."
        )
    return Path(found)


def _version(program: Path) -> tuple[int, int]:
    answer = subprocess.run(  # noqa: S603 (the configured program)
        [program, "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    found = re.search(r"(\d+)(?:\.(\d+))?", answer.stdout.partition(")")[2])
    if not found:
        raise BackupRefused(
            f"{program} --version prints no version: set PG_BIN_DIR to PostgreSQL's programs."
        )
    return int(found[1]), int(found[2] or 0)
