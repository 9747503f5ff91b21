"""Every process that a test starts. What a failed test leaves of them ends with it."""

import atexit
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_started: list[subprocess.Popen[Any]] = []


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that does not outlive the test; `options` are those of `Popen`."""
    process = subprocess.Popen(command, **options)
    _started.append(process)
    return process


def start_shared(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that several tests share.

    The fixture that starts it has to end it. It is killed at the latest when this process ends.
    """
    process = subprocess.Popen(command, **options)
    atexit.register(process.kill)
    return process


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    seconds: float = 240,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end and return its status and output as text.

    Raises `subprocess.TimeoutExpired` after `seconds` and kills the process. With `check`, raises
    `subprocess.CalledProcessError` for a status other than 0.
    """
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
    process = start(command, stdin=source, text=True, **options)
    try:
        output, errors = process.communicate(stdin, seconds)
    finally:
        process.kill()
        process.wait(60)
        _started.remove(process)
    done = subprocess.CompletedProcess(process.args, process.returncode, output, errors)
    if check:
        done.check_returncode()
    return done


def end_all() -> None:
    """SIGKILL the processes that still run or are stopped, and wait until each is gone.

    A process that lives on may hold rows that the next test needs.
    """
    while _started:
        process = _started.pop()
        process.kill()
        process.wait(60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
