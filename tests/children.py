"""Processes that tests start. Whatever a failed test leaves of them ends with it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_started: list[subprocess.Popen[Any]] = []


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that does not outlive the test."""
    process = subprocess.Popen(command, **options)
    _started.append(process)
    return process


def end_all() -> None:
    """SIGKILL what still runs, or was stopped, and wait until it is gone: it may hold rows that the next test needs."""
    while _started:
        process = _started.pop()
        process.kill()
        process.wait(60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
