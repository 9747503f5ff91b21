"""A versioned value that all processes share, such as the rollout and the operator's decisions.

The database is authoritative, Redis has a copy, each process has a snapshot. A snapshot is renewed
from the first of these that answers:

    Redis, within 100 ms → the database → the last-known value of the process → the default

Redis is read before the database and written after the commit. A copy or snapshot that is newer
than the database's answer therefore means that the database was restored to an earlier state. The
database still wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar

import structlog
from django.db import Error as StoreError
from django.db import connection

from normalization import conf, metrics
from normalization.bounded import Bounded, TookTooLong
from normalization.redis_link import RedisUnavailable, tell_if_not_configured
from normalization.shared_copy import CopyRead, NotAnnounced, SharedCopy, SignedCopy
from normalization.snapshots import ProcessSnapshot

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Maximum age of the last comparison with the database while Redis answers.
COMPARE_SECONDS: Final = 30.0
# Limit for a read in the listener's thread: a statement timeout does not help if the host hangs.
DATABASE_SECONDS: Final = 2.0


class Reach(Enum):
    """How far a committed value has spread."""

    DATABASE = auto()
    COPY = auto()  # and the copy in Redis: read within the TTL
    EVERYWHERE = auto()


@dataclass(frozen=True, slots=True)
class Versioned(Generic[T]):
    """The value in this process.

    `source` is "redis" or "database"; "default" when no change was ever recorded (version 0);
    "last-known" while no store answers; "no-store" when no store ever answered, and the default
    applies.
    """

    value: T
    version: int
    source: str
    loaded_at: float

    @property
    def age(self) -> float:
        """Seconds since a store last returned or confirmed the value."""
        return time.monotonic() - self.loaded_at


@dataclass(frozen=True, slots=True)
class VersionedKind(Generic[T]):
    """The functions that a store needs for its kind of value.

    `read` asks the database. It raises `django.db.Error`, or ValueError for an invalid row.
    """

    name: str
    read: Callable[[], tuple[T, int]]
    default: Callable[[], T]
    to_wire: Callable[[T], Mapping[str, Any]]
    # Raises ValueError. None: the copy only names a version; read the value from the database.
    from_wire: Callable[[Mapping[str, Any], int], T | None]
    loaded: Callable[[Versioned[T]], None] = lambda _: None
    holder: type[Versioned[T]] = Versioned


class VersionedStore(Generic[T]):
    """The value of one kind in this process.

    Tests pass a clock and a copy to simulate several processes.
    """

    def __init__(
        self,
        kind: VersionedKind[T],
        copy: SharedCopy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind, self._clock = kind, clock
        self._copy = copy or SharedCopy(kind.name)
        self._snapshot: ProcessSnapshot[Versioned[T]] = ProcessSnapshot(
            self._load, conf.ttl_seconds, clock
        )
        self._compared_at = float("-inf")
        self._database = Bounded(f"stage-{kind.name}-database")
        # Every request calls this: an alias saves one call.
        self.current = self._snapshot.get

    def newest(self) -> Versioned[T]:
        """Read the database; raise `django.db.Error`."""
        value, version = self.kind.read()
        return self.kind.holder(
            value, version, "database" if version else "default", self._clock()
        )

    def known(self) -> Versioned[T] | None:
        """Return the snapshot of any age, without I/O."""
        return self._snapshot.peek()

    def renew(self, *, compare: bool, wait: float = 1.0) -> bool:
        """Load in the listener's thread, so that the next request finds a fresh snapshot.

        `compare` asks the database too, with a time limit. Returns False if another thread was
        loading during all of `wait` seconds.
        """
        return self._snapshot.renew(
            lambda previous: self._load(previous, compare=compare, aside=True), wait
        )

    def recorded(self, value: T, version: int) -> Reach:
        """Spread a value that was just committed, and return how far that reached.

        If Redis did not accept it, the next refresh writes it.
        """
        mine = self.kind.holder(value, version, "database", self._clock())
        self._snapshot.put(mine, lambda new, held: new.version > held.version)
        try:
            self._copy.put(version, self.kind.to_wire(value), insist=True)
        except NotAnnounced:
            return Reach.COPY
        except RedisUnavailable:
            self.invalidate()
            return Reach.DATABASE
        return Reach.EVERYWHERE

    def invalidate(self) -> None:
        """Ask the database at the next use, because a change was recorded."""
        self._compared_at = float("-inf")
        self._snapshot.invalidate()

    def forget(self) -> None:
        """Drop the snapshot, as in a process that has just started."""
        self._compared_at = float("-inf")
        self._snapshot.forget()

    def _load(
        self, previous: Versioned[T] | None, *, compare: bool = False, aside: bool = False
    ) -> Versioned[T]:
        tell_if_not_configured()
        found = self._read_copy()
        copied = (
            self._copied(found.copy, previous)
            if found is not None and found.copy is not None
            else None
        )
        followed = (
            copied is not None and previous is not None and copied.version >= previous.version
        )
        if copied is not None and followed and not compare and not self._comparison_due():
            return self._serve(copied)
        try:
            truth = self._read_database(aside)
        except (StoreError, ValueError, TookTooLong) as error:
            self._database_failed(error)
            return self._serve(self._without_database(found, copied, previous))
        self._compared_at = self._clock()
        return self._serve(self._with_database(truth, found, copied, previous))

    def _comparison_due(self) -> bool:
        return self._clock() - self._compared_at > COMPARE_SECONDS - conf.ttl_seconds()

    def _with_database(
        self,
        truth: Versioned[T],
        found: CopyRead | None,
        copied: Versioned[T] | None,
        previous: Versioned[T] | None,
    ) -> Versioned[T]:
        known = max(
            (each for each in (copied, previous) if each is not None), key=_version, default=truth
        )
        if connection.in_atomic_block:
            # An open transaction may see its own uncommitted row, or an old snapshot.
            return truth if truth.version >= known.version else known
        if truth.version < known.version:
            log.warning(
                "stage_database_went_back",
                kind=self.kind.name,
                version=truth.version,
                known=known.version,
            )
        if found is not None:
            self._heal(truth, found, copied)
        return truth

    def _without_database(
        self, found: CopyRead | None, copied: Versioned[T] | None, previous: Versioned[T] | None
    ) -> Versioned[T]:
        if previous is None:
            return copied or self.kind.holder(self.kind.default(), 0, "no-store", self._clock())
        if copied is not None and copied.version >= previous.version:
            return copied
        newer = found is not None and found.copy and found.copy.version > previous.version
        if found is not None and previous.version and not newer:
            self._heal(previous, found, copied)
        return replace(previous, source=_last_known(previous))

    def _heal(self, right: Versioned[T], found: CopyRead, copied: Versioned[T] | None) -> None:
        wire = self.kind.to_wire(right.value)
        if found.copy is not None and (found.copy.version, found.copy.body) == (
            right.version,
            wire,
        ):
            return
        try:
            written = self._copy.put(right.version, wire, overrule=found.text)
        except NotAnnounced:
            written = True
        except RedisUnavailable:
            return
        if written:
            log.info(
                "stage_copy_healed",
                kind=self.kind.name,
                version=right.version,
                had=copied and copied.version,
            )

    def _read_copy(self) -> CopyRead | None:
        try:
            found = self._copy.read()
        except RedisUnavailable:
            return None
        if found.copy is None and found.text is not None:
            metrics.count_store_error("redis", "invalid")
            log.warning("stage_copy_invalid", kind=self.kind.name)
        return found

    def _copied(self, copy: SignedCopy, previous: Versioned[T] | None) -> Versioned[T] | None:
        try:
            value = self.kind.from_wire(copy.body, copy.version)
        except ValueError as error:  # for example written by a later release
            log.warning("stage_copy_unreadable", kind=self.kind.name, error=str(error)[:200])
            return None
        if value is None:
            return None
        if previous is not None and (copy.version, value) == (previous.version, previous.value):
            value = previous.value
        return self.kind.holder(value, copy.version, "redis", self._clock())

    def _read_database(self, aside: bool) -> Versioned[T]:
        started = time.perf_counter()
        try:
            return (
                self._database.run(self._newest_and_close, DATABASE_SECONDS)
                if aside
                else self.newest()
            )
        finally:
            metrics.MODE_STORE_SECONDS.labels(store="database").observe(
                time.perf_counter() - started
            )

    def _newest_and_close(self) -> Versioned[T]:
        try:
            return self.newest()
        finally:
            connection.close()

    def _database_failed(self, error: Exception) -> None:
        reason = type(error).__name__
        metrics.count_store_error("database", reason)
        log.warning("stage_store_failed", kind=self.kind.name, store="database", reason=reason)

    def _serve(self, loaded: Versioned[T]) -> Versioned[T]:
        self.kind.loaded(loaded)
        return loaded


def _version(versioned: Versioned[Any]) -> int:
    return versioned.version


def _last_known(previous: Versioned[Any]) -> str:
    return previous.source if previous.source == "no-store" else "last-known"
