"""A value that every request needs and that rarely changes.

Each process has one, and one thread at a time refreshes it.
"""

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
    """Returns a value without I/O until it is `ttl` seconds old.

    Then one caller loads it again while the others get the old value. Only the first callers in a
    process wait for the load. `load(previous)` returns the new value and must not raise: it
    handles failures itself.
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
        self._lock = threading.Lock()  # held during a load
        self._storing = threading.Lock()  # held briefly while `_held` changes
        _all.add(self)

    def get(self) -> T:
        """Return the value, at most `ttl` old except during a refresh."""
        held = self._held
        if held is not None and self._clock() < held.expires:
            return held.value
        return self._refresh(held)

    def renew(self, load: Callable[[T | None], T] | None = None, wait: float = -1) -> bool:
        """Load now at any age, by `load` if given.

        Returns False if another thread was loading during all of `wait` seconds.
        """
        if not self._lock.acquire(timeout=wait):
            return False
        try:
            self._load_locked(self._held, load or self._load)
        finally:
            self._lock.release()
        return True

    def peek(self) -> T | None:
        """Return the value at any age, without loading; None before the first load."""
        held = self._held
        return held.value if held is not None else None

    def put(self, value: T, newer: Callable[[T, T], bool]) -> None:
        """Replace the value if `newer(value, held)`; a load under way does not undo it."""
        with self._storing:
            if self._held is not None and newer(value, self._held.value):
                self._generation += 1
                self._held = _Held(value, self._clock() + self._ttl())

    def invalidate(self) -> None:
        """Make the next `get` load; other callers get the old value meanwhile."""
        with self._storing:
            self._expire()

    def forget(self) -> None:
        """Drop the value, as in a process that has just started."""
        with self._storing:
            self._generation += 1
            self._held = None

    def _expire(self) -> None:
        self._generation += 1
        if self._held is not None:
            self._held = _Held(self._held.value, float("-inf"))

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
        with self._storing:
            if generation == self._generation:
                self._held = _Held(value, self._clock() + self._ttl())
                return value
            # A value that arrived during the load may be newer. Return it, and load again next.
            if self._held is None or self._held.value is (
                held.value if held is not None else None
            ):
                self._held = _Held(value, float("-inf"))
            self._expire()
            return self._held.value

    def _after_fork(self) -> None:
        # A thread that does not exist in the child may hold the locks, and the parent's listener
        # does not run there. So the child gets new locks, and its first call loads.
        self._lock, self._storing = threading.Lock(), threading.Lock()
        self.invalidate()


_all: weakref.WeakSet[ProcessSnapshot[Any]] = weakref.WeakSet()


def _renew_locks() -> None:
    for snapshot in list(_all):
        snapshot._after_fork()


os.register_at_fork(after_in_child=_renew_locks)
