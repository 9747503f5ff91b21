"""Client programs as child processes that cannot outlive this one, nor their time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Final

from stagenorm.parent_death import end_with

KEPT_OUTPUT: Final = 4_000


class TimeLimit(Exception):
    """The child was still at work when its time was over; it was killed."""


class Child:
    """A started program. `stdout` is its output, if asked for; `complaint()` the end of what it said."""

    def __init__(
        self, process: subprocess.Popen[bytes], errors: IO[bytes], secret: str, deadline: float
    ) -> None:
        self.process, self.deadline = process, deadline
        self._errors, self._secret = errors, secret

    def wait(self, tick: Callable[[], None] = lambda: None) -> int:
        """Wait for the end, calling `tick` ten times a second; return the exit status. Raises `TimeLimit`."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(0.1)
            tick()
            self.check_time()

    def check_time(self) -> None:
        """Raise `TimeLimit` when the time is over."""
        if time.monotonic() > self.deadline:
            raise TimeLimit

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
) -> Iterator[Child]:
    """Run `command` in a process group of its own; whatever ends the block ends the group too.

    Should this process be killed, the kernel kills the child (Linux).
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
            yield Child(process, errors, secret, time.monotonic() + time_limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()
