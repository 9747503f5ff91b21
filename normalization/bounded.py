"""Run a call with a hard deadline, even if the library never returns."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class TookTooLong(Exception):
    """The work did not end in time. If it ends later, its result is dropped."""


class Bounded:
    """Runs one call at a time, each in its own short-lived thread.

    A socket timeout limits one read. It does not limit a response that arrives byte by byte, name
    resolution or a round of Sentinels; this class does. While an abandoned call still runs, no
    other one starts: further calls fail at once.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = threading.Lock()
        self._running: threading.Thread | None = None
        _all.add(self)

    def run(self, work: Callable[[], T], seconds: float) -> T:
        """Return the result of `work` or raise its exception; `TookTooLong` after `seconds`."""
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise TookTooLong(f"{self._name}: other calls took the whole time")
        try:
            return self._run(work, deadline)
        finally:
            self._turn.release()

    def _run(self, work: Callable[[], T], deadline: float) -> T:
        if self._running is not None and self._running.is_alive():
            raise TookTooLong(f"{self._name}: an earlier call has not ended yet")
        outcome = _CallResult(work)
        thread = threading.Thread(target=outcome.fill, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # out of threads, or the process is ending
            raise TookTooLong(f"{self._name}: {error}") from error
        self._running = thread
        if not outcome.done.wait(max(0.0, deadline - time.monotonic())):
            raise TookTooLong(f"{self._name}: no answer in time")
        self._running = None
        if outcome.error is not None:
            raise outcome.error
        return outcome.result  # type: ignore[no-any-return]  # what work returned

    def _after_fork(self) -> None:
        # A thread that does not exist in the child may hold the lock.
        self._turn, self._running = threading.Lock(), None


class _CallResult:
    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None

    def fill(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:
            self.error = error
        self.done.set()


_all: weakref.WeakSet[Bounded] = weakref.WeakSet()


def _renew() -> None:
    for bounded in list(_all):
        bounded._after_fork()


os.register_at_fork(after_in_child=_renew)
