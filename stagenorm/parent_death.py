"""Child processes that the kernel ends when their parent ends, even by SIGKILL (Linux only)."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # prctl(2)

_libc = ctypes.CDLL(None)


def end_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `how` to this process when the process `parent` ends.

    The setting also holds for a program that this process then executes. Does nothing on systems
    without `prctl`.
    """
    if not hasattr(_libc, "prctl"):
        return
    _libc.prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:  # the parent ended before the call above
        os.kill(os.getpid(), how)


def end_worker_with_server() -> None:
    """Call this in a worker process of granian: it is then killed together with its server.

    The orphaned worker of a killed server would keep listening and share the port with the next
    server. SIGTERM is not enough: a worker that has just been forked still has the server's
    handler, which does not end the worker.
    """
    server = multiprocessing.parent_process()
    if server is not None and server.pid is not None:
        end_with(server.pid)
