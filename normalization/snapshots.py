"""A value that every request needs and that rarely changes: one per process, refreshed by one thread at a time."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    value: T
    expires: float


class ProcessSnapshot(Generic[T]):
    """Serves a value without I/O until it is `ttl` seconds old; then one caller loads anew, others get the old one.

    `load(previous)` returns the new value and must not raise: what to do on failure is the loader's knowledge.
    Only the very first callers of a process, who have nothing to serve, wait for the load.
    """

    def __init__(
        self,
        load: Callable[[T | None], T],
        ttl: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load, self._ttl, self._clock = load, ttl, clock
        self._held: _Held[T] | None = None
        self._generation = 0
        self._lock = threading.Lock()
        _all.add(self)

    def get(self) -> T:
        """Return the value, at most `ttl` old unless a refresh is under way."""
        held = self._held
        if held is not None and self._clock() < held.expires:
            return held.value
        return self._refresh(held)

    def renew(self, load: Callable[[T | None], T] | None = None, wait: float = -1) -> bool:
        """Load now whatever the age, by `load` if given; False if another thread was loading for `wait` seconds."""
        if not self._lock.acquire(timeout=wait):
            return False
        try:
            self._load_locked(self._held, load or self._load)
        finally:
            self._lock.release()
        return True

    def peek(self) -> T | None:
        """Return what is held, however old, without loading."""
        held = self._held
        return held.value if held is not None else None

    def invalidate(self) -> None:
        """Make the next `get` load, keeping the old value to serve meanwhile."""
        self._generation += 1
        held = self._held
        if held is not None:
            self._held = _Held(held.value, float("-inf"))

    def forget(self) -> None:
        """Drop the value as if the process had just started."""
        self._generation += 1
        self._held = None

    def _refresh(self, held: _Held[T] | None) -> T:
        if held is not None and not self._lock.acquire(blocking=False):
            return held.value
        if held is None:
            self._lock.acquire()
        try:
            newer = self._held
            if newer is not None and newer is not held and self._clock() < newer.expires:
                return newer.value
            return self._load_locked(newer, self._load)
        finally:
            self._lock.release()

    def _load_locked(self, held: _Held[T] | None, load: Callable[[T | None], T]) -> T:
        generation = self._generation
        value = load(held.value if held is not None else None)
        # An invalidation that arrived during the load may be newer than what was loaded: look again at once.
        fresh = generation == self._generation
        self._held = _Held(value, self._clock() + self._ttl() if fresh else float("-inf"))
        return value

    def _after_fork(self) -> None:
        # The forked child may have inherited a lock held by a thread that does not exist there. And whatever the
        # parent did to stay up to date, the child has to do for itself: its first call loads.
        self._lock = threading.Lock()
        self.invalidate()


_all: weakref.WeakSet[ProcessSnapshot[Any]] = weakref.WeakSet()


def _renew_locks() -> None:
    for snapshot in list(_all):
        snapshot._after_fork()


os.register_at_fork(after_in_child=_renew_locks)
