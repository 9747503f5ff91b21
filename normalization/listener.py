"""The background thread of a process: receives changes at once and renews the snapshots.

It starts at the first use of a snapshot, after a fork too, and only if Redis is configured. It is
an optimization: without it, requests renew expired snapshots. While Redis does not answer, the
listener does not connect; the renewal, once per TTL, detects when Redis answers again.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from normalization import conf
from normalization.redis_link import RedisLink, RedisRefused, RedisUnavailable, link
from normalization.shared_copy import CHANNEL

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

# Share of the TTL: renew shortly before requests would find the snapshot expired.
RENEWED_AFTER: Final = 0.9
FIRST_PAUSE: Final = 0.1
# Seconds until the next attempt where Redis refuses a subscription.
REFUSED_PAUSE: Final = 60.0
# Maximum number of events per renewal.
BURST: Final = 1_000


class Watched(Protocol):
    """A store whose snapshot the listener keeps fresh."""

    def renew(self, *, compare: bool, wait: float = 1.0) -> bool:
        """Load now; False if another thread is still loading."""

    def known(self) -> Any:
        """Return the snapshot at any age, or None."""


class Listener:
    """Keeps the snapshots of the watched stores fresh in this process."""

    def __init__(
        self, redis: RedisLink = link, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis, self._clock = redis, clock
        self._watched: dict[str, Watched] = {}
        self._after: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._inside = threading.local()
        self._due = self._may_connect = 0.0
        self._pause = FIRST_PAUSE
        self._subscription: _Subscription | None = None

    def watch(self, kind: str, store: Watched) -> None:
        """Renew `store` on events of this kind and before its snapshot expires."""
        self._watched[kind] = store

    def after_renewal(self, act: Callable[[], None]) -> None:
        """Call `act` in the listener's thread after each renewal."""
        self._after.append(act)

    def ensure_running(self) -> None:
        """Start the thread unless it runs. Every load calls this, since a fork ends the thread."""
        thread = self._thread
        if (thread is not None and thread.is_alive()) or not conf.redis_configured():
            return
        if getattr(self._inside, "listening", False):
            return  # called by the thread itself while it is being stopped
        # Two callers may both get here: a thread that finds itself replaced ends at once.
        self._wake, self._subscription = threading.Event(), None
        self._due = self._may_connect = 0.0
        thread = threading.Thread(
            target=self._run, args=[self._wake], name="stage-listener", daemon=True
        )
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:  # out of threads: the requests renew
            self._thread = None
            log.warning("stage_listener_not_started", error=str(error))

    def stop(self) -> None:
        """End the thread and wait for it; the next load starts another."""
        thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def _run(self, wake: threading.Event) -> None:
        self._inside.listening = True
        while self._thread is threading.current_thread():
            try:
                self._turn(wake)
            except Exception as error:  # renewal must continue after any response of Redis
                log.warning("stage_listener_failed", error=type(error).__name__)
                self._hang_up()
                wake.wait(FIRST_PAUSE)
        self._hang_up()

    def _turn(self, wake: threading.Event) -> None:
        if self._clock() >= self._due:
            self._renew(self._watched, compare=True)
        if self._subscription is None and self._redis.open and self._clock() >= self._may_connect:
            self._connect()
        if self._subscription is None:
            next_attempt = max(self._may_connect, self._clock() + FIRST_PAUSE)
            wake.wait(max(0.01, min(self._due, next_attempt) - self._clock()))
            return
        # Short waits, so that `stop` need not interrupt this thread's connection.
        versions = self._subscription.events(min(1.0, max(0.0, self._due - self._clock())))
        self._heard(versions)

    def _renew(self, kinds: Any, *, compare: bool) -> None:
        done = [self._watched[kind].renew(compare=compare) for kind in kinds]
        if compare:
            # Retry soon when another thread was loading a store.
            pause = conf.ttl_seconds() * RENEWED_AFTER if all(done) else FIRST_PAUSE
            # After a failure of Redis, renew exactly when the link may be used again.
            self._due = max(self._clock() + pause, self._redis.closed_until)
            if self._subscription is not None and not self._subscription.alive():
                self._hang_up()
        elif not all(done):
            self._due = self._clock()
        self._notify()

    def _notify(self) -> None:
        for act in self._after:
            act()

    def _heard(self, versions: dict[str, int]) -> None:
        news = set()
        for kind, version in versions.items():
            known = self._watched[kind].known() if kind in self._watched else None
            if known is None:
                continue
            if version > known.version:
                news.add(kind)
            elif version == known.version:
                self._notify()  # this process made the change itself
            elif self._due - self._clock() < conf.ttl_seconds() * RENEWED_AFTER - 1.0:
                # Older than the snapshot: compare with the database, at most once a second.
                self._due = self._clock()
        if news:
            self._renew(news, compare=False)

    def _connect(self) -> None:
        try:
            # Through the link, so that the whole process tries Redis once per TTL while it fails.
            self._subscription = self._redis.ask("subscribe", _Subscription)
        except RedisRefused:  # it will refuse again; the renewal needs no subscription
            self._may_connect = self._clock() + REFUSED_PAUSE
            return
        except RedisUnavailable:
            self._pause = min(self._pause * 2, conf.ttl_seconds())
            self._may_connect = self._clock() + self._jittered_pause()
            return
        self._pause = FIRST_PAUSE
        # Catch up with changes that were announced before the subscription.
        self._renew(self._watched, compare=False)

    def _hang_up(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
            self._may_connect = self._clock() + self._jittered_pause()

    def _jittered_pause(self) -> float:
        return self._pause * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load)


class _Subscription:
    """A subscription on its own connection outside the pool, so that closing the pool keeps it."""

    def __init__(self, client: Redis) -> None:
        pool = client.connection_pool
        self._connection = pool.connection_class(**pool.connection_kwargs)
        self._unanswered = 0
        self._connection.connect()
        self._connection.send_command("SUBSCRIBE", CHANNEL)
        answer = self._connection.read_response()
        if not isinstance(answer, list) or answer[:1] != [b"subscribe"]:
            raise ConnectionError("not a subscription")

    def events(self, wait: float) -> dict[str, int]:
        """Return the newest announced version by kind; wait up to `wait` seconds for the first."""
        newest: dict[str, int] = {}
        for _ in range(BURST):
            if not self._connection.can_read(timeout=wait):
                break
            wait = 0.0
            answer = self._answer()
            self._unanswered = 0
            if isinstance(answer, list) and len(answer) == 3 and answer[0] == b"message":
                newest.update(_event(answer[2]))
        return newest

    def _answer(self) -> Any:
        from redis.exceptions import ResponseError

        try:
            return self._connection.read_response()
        except ResponseError as refusal:  # of a PING: an answer all the same
            return str(refusal)

    def alive(self) -> bool:
        """Send a PING; False if the last PING has no answer: connections can fail silently."""
        if self._unanswered:
            return False
        self._unanswered = 1
        self._connection.send_command("PING")
        return True

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


def _event(payload: bytes) -> dict[str, int]:
    try:
        event = json.loads(payload)
        return {event["kind"]: event["version"]} if type(event["version"]) is int else {}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}  # not published by us


listener = Listener()
