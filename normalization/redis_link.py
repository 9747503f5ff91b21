"""The one way to Redis: bounded in time, and left alone for a TTL after it failed.

Redis is never needed. Whoever asks it must have an answer of its own for `RedisUnavailable`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import structlog
from django.conf import settings
from django.core.cache import caches
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError

from normalization import conf, metrics
from normalization.bounded import Bounded, TookTooLong

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

T = TypeVar("T")


class RedisUnavailable(Exception):
    """Redis did not do what it was asked; `reason` is short and one of few, for the metric."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Redis: {reason}")
        self.reason = reason


class RedisLink:
    """Asks Redis within `STAGE_REDIS_TIMEOUT_MS` in all; after a failure it does not ask again for a TTL.

    An answer that is an error (read-only, out of memory) is a failure of that one command only: the way is open.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bounded = Bounded("stage-redis")
        self.closed_until = float("-inf")  # by the clock given
        self._told: set[str] = set()
        self._state = threading.Lock()

    @property
    def open(self) -> bool:
        """Whether Redis is configured and a request would ask it now."""
        return conf.redis_configured() and self._clock() >= self.closed_until

    def ask(self, what: str, work: Callable[[Redis], T], *, insist: bool = False) -> T:
        """Return `work(client)`; raise `RedisUnavailable`.

        `what` ("read", "write", "report", "subscribe") is told in the log, once when it begins to fail and once when it
        works again.
        `insist`: try although Redis failed within the last TTL, for what a person asked for.
        """
        if not conf.redis_configured():
            raise RedisUnavailable("not configured")
        if not insist and not self.open:
            raise RedisUnavailable("failed a moment ago")
        redis = client()  # loads modules at its first use; that is not Redis's time
        started = time.perf_counter()
        try:
            answer = self._bounded.run(
                lambda: self._unless_closed(redis, work, insist), conf.redis_seconds()
            )
        except RedisUnavailable:
            raise
        except (
            Exception
        ) as error:  # a server that answers garbage can set off nearly any exception in the client
            raise self._failed(what, error) from error
        finally:
            metrics.MODE_STORE_SECONDS.labels(store="redis").observe(time.perf_counter() - started)
        self._worked(what)
        return answer

    def forget(self) -> None:
        """Ask again at once, as a process that has just started does."""
        self.closed_until = float("-inf")
        self._told.clear()

    def _unless_closed(self, redis: Redis, work: Callable[[Redis], T], insist: bool) -> T:
        # Asked again: whoever had the turn before may just have found out that Redis is away.
        if not insist and not self.open:
            raise RedisUnavailable("failed a moment ago")
        return work(redis)

    def _failed(self, what: str, error: Exception) -> RedisUnavailable:
        reason = "TimeoutError" if isinstance(error, TookTooLong) else type(error).__name__
        metrics.MODE_STORE_ERRORS.labels(store="redis", reason=reason).inc()
        if not _is_answer(error):
            self.closed_until = self._clock() + conf.ttl_seconds()
            drop_connections()
        with self._state:
            first = what not in self._told
            self._told.add(what)
        if first:
            log.warning("stage_redis_failed", what=what, reason=reason, error=str(error)[:300])
        return RedisUnavailable(reason)

    def _worked(self, what: str) -> None:
        self.closed_until = float("-inf")
        if what in self._told:
            with self._state:
                self._told.discard(what)
            log.info("stage_redis_works_again", what=what)


def client() -> Redis:
    """Return the client over django-redis's pool of this process."""
    redis: Redis = caches["rollout"].client.get_client(write=True)  # type: ignore[attr-defined]
    return redis


def drop_connections() -> None:
    """Close every connection: one may be half-way through an answer, and work that hangs on one then ends."""
    try:
        client().connection_pool.disconnect()
    except Exception as error:  # nothing can depend on how a broken connection is closed
        log.debug("stage_redis_not_closed", error=type(error).__name__)


def _is_answer(error: Exception) -> bool:
    return isinstance(error, ResponseError) and not isinstance(
        error, BusyLoadingError | NoScriptError
    )


def tell_if_not_configured() -> None:
    """Log, once in a process that serves requests, that the database alone carries the mode."""
    # The lock is never given back: whoever gets it tells, also where two threads load for the first time at once.
    if (
        settings.SERVES_REQUESTS
        and not conf.redis_configured()
        and _untold.acquire(blocking=False)
    ):
        reads = f"the database, every {settings.STAGE_MODE_TTL_SECONDS:g} s"
        log.info("stage_redis_not_configured", reads=reads, pid=os.getpid())


_untold = threading.Lock()
link = RedisLink()
