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
        self._lock = threading.Lock()  # held during a load
        self._storing = threading.Lock()  # held for a moment, whenever what is held changes
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

    def put(self, value: T, newer: Callable[[T, T], bool]) -> None:
        """Serve `value` from now on if it is `newer` than what is held; a load that is under way will not undo it."""
        with self._storing:
            if self._held is not None and newer(value, self._held.value):
                self._generation += 1
                self._held = _Held(value, self._clock() + self._ttl())

    def invalidate(self) -> None:
        """Make the next `get` load, keeping the old value to serve meanwhile."""
        with self._storing:
            self._expire()

    def forget(self) -> None:
        """Drop the value as if the process had just started."""
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
            # What arrived during the load may be newer than what was loaded. Serve it, and look again at once.
            if self._held is None or self._held.value is (
                held.value if held is not None else None
            ):
                self._held = _Held(value, float("-inf"))
            self._expire()
            return self._held.value

    def _after_fork(self) -> None:
        # The forked child may have inherited a lock held by a thread that does not exist there. And whatever the
        # parent did to stay up to date, the child has to do for itself: its first call loads.
        self._lock, self._storing = threading.Lock(), threading.Lock()
        self.invalidate()


_all: weakref.WeakSet[ProcessSnapshot[Any]] = weakref.WeakSet()


def _renew_locks() -> None:
    for snapshot in list(_all):
        snapshot._after_fork()


os.register_at_fork(after_in_child=_renew_locks)
