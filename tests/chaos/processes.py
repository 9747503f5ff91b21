"""Several processes in one: each with a snapshot, a way to Redis and, if wished, a listener of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from django.db import connection

from normalization import rollout_store
from normalization.listener import Listener
from normalization.redis_link import RedisLink
from normalization.rollout import Rollout
from normalization.shared_copy import SharedCopy
from normalization.versioned_store import Kind, Versioned, VersionedStore


class Process:
    """A process that serves the rollout. Without a listener its requests renew the snapshot themselves."""

    def __init__(self, *, listens: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.link = RedisLink(clock)
        self.listener = Listener(self.link, clock)
        kind: Kind[Rollout] = rollout_store.store.kind
        ensure = self.listener.ensure_running if listens else lambda: None
        self.store = VersionedStore(replace(kind, loaded=lambda _: ensure()), SharedCopy(kind.name, self.link), clock)
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
    """What many requests met: their waits in seconds, and whatever they raised."""

    waits: list[float]
    errors: list[BaseException]
    versions: list[int]

    def longer_than(self, seconds: float) -> list[float]:
        """The waits that a person could notice."""
        return [wait for wait in self.waits if wait > seconds]


def hammer(process: Process, seconds: float, threads: int = 8, pause: float = 0.0005) -> Calls:
    """Ask for the rollout from many threads for that long."""
    all_calls: list[Calls] = []
    until = time.monotonic() + seconds

    def ask() -> None:
        mine = Calls([], [], [])
        all_calls.append(mine)
        try:
            while time.monotonic() < until:
                started = time.perf_counter()
                mine.versions.append(process.current.version)
                mine.waits.append(time.perf_counter() - started)
                time.sleep(pause)
        except BaseException as error:
            mine.errors.append(error)

    run_threads([ask] * threads)
    for calls in all_calls:
        assert calls.versions == sorted(calls.versions), "a process went back to an older version"
    return Calls(
        [wait for calls in all_calls for wait in calls.waits],
        [error for calls in all_calls for error in calls.errors],
        [version for calls in all_calls for version in calls.versions],
    )


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
