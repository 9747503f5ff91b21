"""Processes that must not outlive their parent, not even when it is killed: the kernel ends them (Linux)."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # prctl(2)

_libc = ctypes.CDLL(None)


def end_with(parent: int) -> None:
    """Have the kernel kill this process once its parent (that process id) is gone; does nothing elsewhere."""
    if not hasattr(_libc, "prctl"):
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def end_worker_with_server() -> None:
    """In a worker process of granian: be killed when the server that started it is.

    The worker of a killed server would go on listening, seen by nobody, and share the port with the next one. SIGTERM
    would not do: a worker that has just been forked still has the server's handler for it, which ends nothing.
    """
    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        end_with(server.pid)
