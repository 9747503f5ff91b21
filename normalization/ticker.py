"""The one thread of a serving process that works without being asked: once a second it runs its
tasks.

Tasks register themselves: the guard judges, the observations are written. The thread starts with
the first load of the rollout, so after any fork, and only in a process that serves requests. At an
orderly end the tasks for the end run once more, after the last request was answered.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from multiprocessing import util as multiprocessing_util
from typing import Final

import structlog
from django.conf import settings
from django.db import connection

from normalization import metrics

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 1.0
LEAST_PAUSE: Final = 0.1  # seconds between two ticks, of which the first took very long

Task = Callable[[], None]


class Ticker:
    """Runs tasks once a second, each by itself: one that fails is logged and tried again."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._at_end: list[Task] = []
        self._failing: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._ends_in = 0

    def add(self, name: str, task: Task) -> None:
        """Run `task` at each tick. Its failures are counted from zero."""
        self._tasks[name] = task
        metrics.TASK_FAILURES.labels(task=name)

    def at_end(self, task: Task) -> None:
        """Run `task` when a process that served requests ends in order."""
        self._at_end.append(task)

    def ensure_running(self) -> None:
        """Start the thread in a process that serves requests; it does not survive a fork."""
        if self._thread is not None and self._thread.is_alive():
            return
        if not settings.SERVES_REQUESTS:
            return
        self._run_at_end()
        self._stopped = threading.Event()
        thread = threading.Thread(
            target=self._run, args=[self._stopped], name="stage-ticker", daemon=True
        )
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:  # out of threads, or about to end: the next load tries again
            self._thread = None
            log.warning("stage_ticker_not_started", error=str(error))

    def stop(self) -> None:
        """End the thread and wait for it."""
        thread, self._thread = self._thread, None
        self._stopped.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def tick(self) -> None:
        """Run every task once; never raises."""
        for name, task in self._tasks.items():
            self._attempt(name, task)

    def _run(self, stopped: threading.Event) -> None:
        pid, pause = os.getpid(), TICK_SECONDS
        while not stopped.wait(pause) and pid == os.getpid():
            started = time.monotonic()
            self.tick()
            # Ticks begin a second apart, so that a slow one does not lengthen the period.
            pause = max(LEAST_PAUSE, started + TICK_SECONDS - time.monotonic())
        connection.close()

    def _attempt(self, name: str, task: Task) -> None:
        try:
            task()
        except Exception as error:
            metrics.TASK_FAILURES.labels(task=name).inc()
            if name not in self._failing:
                log.warning("stage_task_failed", task=name, error=type(error).__name__)
            self._failing.add(name)
            connection.close()
        else:
            if name in self._failing:
                log.info("stage_task_recovered", task=name)
            self._failing.discard(name)

    def _run_at_end(self) -> None:
        """Register the end of this process, once in each process."""
        pid = os.getpid()
        if self._ends_in == pid:
            return
        self._ends_in = pid
        # A forked worker of multiprocessing ends without atexit, by its finalizers.
        atexit.register(self._end, pid)
        multiprocessing_util.Finalize(None, self._end, args=(pid,), exitpriority=0)

    def _end(self, pid: int) -> None:
        if pid != os.getpid():
            return  # inherited by a fork
        self.stop()
        for number, task in enumerate(self._at_end):
            self._attempt(f"end {number}", task)


ticker: Final = Ticker()
