"""Simulates several processes in one: each has its own snapshot, Redis link and listener."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from django.db import connection

from normalization import rollout_store
from normalization.listener import Listener
from normalization.redis_link import RedisLink
from normalization.rollout import Rollout
from normalization.shared_copy import SharedCopy
from normalization.versioned_store import Versioned, VersionedKind, VersionedStore


class Refresh(NamedTuple):
    """One load from the stores, by a request or by the listener; times by `time.monotonic`."""

    by_request: bool
    started: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long its caller waited."""
        return self.ended - self.started


class Observed(VersionedStore[Rollout]):
    """A store that records its refreshes: on a stalled machine they are counted, not timed."""

    refreshes: list[Refresh]

    def _load(
        self, previous: Versioned[Rollout] | None, *, compare: bool = False, aside: bool = False
    ) -> Versioned[Rollout]:
        started = time.monotonic()
        try:
            return super()._load(previous, compare=compare, aside=aside)
        finally:
            self.refreshes.append(Refresh(not aside, started, time.monotonic()))


class Process:
    """A process that serves the rollout. Without a listener, requests renew the snapshot."""

    def __init__(
        self, *, listens: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.link = RedisLink(clock)
        self.listener = Listener(self.link, clock)
        kind: VersionedKind[Rollout] = rollout_store.store.kind
        ensure = self.listener.ensure_running if listens else lambda: None
        self.store = Observed(
            replace(kind, loaded=lambda _: ensure()), SharedCopy(kind.name, self.link), clock
        )
        self.refreshes = self.store.refreshes = []
        self.listener.watch(kind.name, self.store)

    @property
    def current(self) -> Versioned[Rollout]:
        """What a request is served."""
        return self.store.current()

    def end(self) -> None:
        """End its thread."""
        self.listener.stop()


@dataclass
class Calls:
    """The results of many requests: start and end times, errors, and the versions in order."""

    spans: list[tuple[float, float]]
    errors: list[BaseException]
    versions: list[int]

    def within(self, refresh: Refresh) -> int:
        """How many requests came and went while that refresh was under way."""
        return sum(
            refresh.started < began and ended < refresh.ended for began, ended in self.spans
        )


def hammer(
    process: Process, enough: Callable[[], bool], threads: int = 8, pause: float = 0.0005
) -> Calls:
    """Ask for the rollout from many threads until `enough` holds, however long that takes.

    After a minute it is over in any case; what was to be seen is then asked once more by `assert`.
    """
    all_calls: list[Calls] = []
    until = time.monotonic() + 60

    def ask() -> None:
        mine = Calls([], [], [])
        all_calls.append(mine)
        try:
            while not enough() and time.monotonic() < until:
                began = time.monotonic()
                mine.versions.append(process.current.version)
                mine.spans.append((began, time.monotonic()))
                time.sleep(pause)
        except BaseException as error:
            mine.errors.append(error)

    run_threads([ask] * threads)
    assert enough() or any(calls.errors for calls in all_calls), (
        "the condition was not met within a minute"
    )
    for calls in all_calls:
        assert calls.versions == sorted(calls.versions), "a process went back to an older version"
    return Calls(
        [span for calls in all_calls for span in calls.spans],
        [error for calls in all_calls for error in calls.errors],
        [version for calls in all_calls for version in calls.versions],
    )


def refreshed(process: Process, times: int) -> Callable[[], bool]:
    """Whether the process has refreshed so often since this was called."""
    before = len(process.refreshes)
    return lambda: len(process.refreshes) >= before + times


def nobody_refreshed_too_early(process: Process, ttl: float) -> bool:
    """Whether a TTL lay before each refresh by a request. Noise can only lengthen it."""
    return all(
        later.started - earlier.ended >= ttl
        for earlier, later in pairwise(process.refreshes)
        if later.by_request
    )


def shortest(measure: Callable[[], float], within: float, times: int = 5) -> float:
    """The shortest of so many measurements, or the first that lies `within`.

    A stalled machine only lengthens a wait: a limit holds if one attempt meets it, and fails if
    every one of several is too long.
    """
    measured: list[float] = []
    while len(measured) < times and min(measured, default=within) >= within:
        measured.append(measure())
    return min(measured)


def run_threads(work: Sequence[Callable[[], object]]) -> None:
    """Run all at once, wait for them, and leave no database connection behind."""

    def run(each: Callable[[], object]) -> None:
        try:
            each()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[each]) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
