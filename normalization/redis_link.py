"""Access to Redis: with a time limit, and not tried again for a TTL after a failure.

Redis is optional. Every caller handles `RedisUnavailable`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from django.conf import settings
from django.core.cache import caches

from normalization import conf, metrics
from normalization.bounded import Bounded, TookTooLong

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

T = TypeVar("T")


class RedisUnavailable(Exception):
    """Redis failed or is not configured; `reason` is a short label for the metric."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Redis: {reason}")
        self.reason = reason


class RedisRefused(RedisUnavailable):
    """Redis answers and refuses the command: its rights (ACL), or a renamed command."""


# The rollout spreads without these: each process reads the copy once a TTL, and registers itself
# in the database. A Redis that refuses them is not broken; `checks` names the missing rights.
DISPENSABLE: Final = frozenset({"subscribe", "publish", "report", "script", "clock"})


class RedisLink:
    """Runs commands within `STAGE_REDIS_TIMEOUT_MS`; after a failure, none for a TTL.

    An error response (read-only, out of memory) fails only that command: the link stays open.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bounded = Bounded("stage-redis")
        self.closed_until = float("-inf")  # by the clock given
        self._nodes: dict[tuple[str, int], Redis] = {}
        self._failing: set[str] = set()
        self._state = threading.Lock()

    @property
    def open(self) -> bool:
        """Whether Redis is configured and a request would ask it now."""
        return conf.redis_configured() and self._clock() >= self.closed_until

    def ask(self, what: str, work: Callable[[Redis], T], *, insist: bool = False) -> T:
        """Return `work(client)`; raise `RedisUnavailable`.

        `what` ("read", "write", "report", "subscribe" …) is logged once when it begins to fail and
        once when it works again. A refusal raises `RedisRefused`. It does not count as an error of
        the store if the rollout spreads without it. `insist` tries even if Redis failed within the
        last TTL, for actions of a person.
        """
        if not conf.redis_configured():
            raise RedisUnavailable("not configured")
        if not insist and not self.open:
            raise RedisUnavailable("failed a moment ago")
        redis = client()  # outside the time limit: the first use imports modules
        started = time.perf_counter()
        try:
            answer = self._bounded.run(
                lambda: self._unless_closed(redis, work, insist), conf.redis_seconds()
            )
        except RedisUnavailable:
            raise
        except Exception as error:  # a malformed response can raise almost any exception
            raise self._failed(what, error) from error
        finally:
            metrics.MODE_STORE_SECONDS.labels(store="redis").observe(time.perf_counter() - started)
        self._worked(what)
        return answer

    def forget(self) -> None:
        """Forget failures, as in a process that has just started."""
        self.closed_until = float("-inf")
        self._nodes.clear()
        self._failing.clear()

    def _unless_closed(self, redis: Redis, work: Callable[[Redis], T], insist: bool) -> T:
        # Checked again: while this call waited, another one may have failed.
        if not insist and not self.open:
            raise RedisUnavailable("failed a moment ago")
        from redis.exceptions import MovedError

        try:
            return work(redis)
        except MovedError as moved:  # REDIS_URL names one node of a cluster
            return work(self._node(redis, str(moved.host), int(moved.port)))

    def _node(self, redis: Redis, host: str, port: int) -> Redis:
        """Return a client of another node of the cluster, with the same login and time limits."""
        from redis import ConnectionPool
        from redis import Redis as Client

        if (host, port) not in self._nodes:
            pool = redis.connection_pool
            given = {**pool.connection_kwargs, "host": host, "port": port}
            nodes = ConnectionPool(connection_class=pool.connection_class, **given)
            self._nodes[host, port] = Client(connection_pool=nodes)
        return self._nodes[host, port]

    def _failed(self, what: str, error: Exception) -> RedisUnavailable:
        reason = "TimeoutError" if isinstance(error, TookTooLong) else type(error).__name__
        refused = is_refusal(error)
        if not (refused and what in DISPENSABLE):
            metrics.count_store_error("redis", reason)
        if not _is_answer(error):
            self.closed_until = self._clock() + conf.ttl_seconds()
            self._nodes.clear()
            drop_connections()
        elif reason == "ReadOnlyError":
            # The name may lead to another server by now. Idle connections to this one would stay.
            client().connection_pool.disconnect(inuse_connections=False)
        with self._state:
            first = what not in self._failing
            self._failing.add(what)
        if first:
            log.warning("stage_redis_failed", what=what, reason=reason, error=str(error)[:300])
        return RedisRefused(reason) if refused else RedisUnavailable(reason)

    def _worked(self, what: str) -> None:
        self.closed_until = float("-inf")
        if what in self._failing:
            with self._state:
                self._failing.discard(what)
            log.info("stage_redis_works_again", what=what)


def client() -> Redis:
    """Return the client on the django-redis pool of this process."""
    redis: Redis = caches["rollout"].client.get_client(write=True)  # type: ignore[attr-defined]
    return redis


def drop_connections() -> None:
    """Close all connections: one may be within a response. Work that waits on one then ends."""
    try:
        client().connection_pool.disconnect()
    except Exception as error:  # an error on closing a broken connection has no consequence
        log.debug("stage_redis_not_closed", error=type(error).__name__)


def is_refusal(error: Exception) -> bool:
    """Whether Redis will refuse this command until its configuration changes."""
    from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

    if isinstance(error, NoPermissionError | ReadOnlyError):
        return True
    text = str(error)
    return isinstance(error, ResponseError) and (
        text.startswith("unknown command") or any(each in text for each in _REFUSED_IN_SCRIPT)
    )


# Redis 6 and 7 wrap the refusal of a script's own command in a text.
_REFUSED_IN_SCRIPT: Final = ("READONLY", "can't run this command", "ACL failure in script")


def _is_answer(error: Exception) -> bool:
    from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError

    return isinstance(error, ResponseError) and not isinstance(
        error, BusyLoadingError | NoScriptError
    )


def tell_if_not_configured() -> None:
    """Log once per web process that only the database carries the mode."""
    # The lock is never released, so that exactly one of several threads logs.
    if (
        settings.SERVES_REQUESTS
        and not conf.redis_configured()
        and _unlogged.acquire(blocking=False)
    ):
        reads = f"the database, every {settings.STAGE_MODE_TTL_SECONDS:g} s"
        log.info("stage_redis_not_configured", reads=reads, pid=os.getpid())


_unlogged = threading.Lock()
link = RedisLink()
