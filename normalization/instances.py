"""Which processes serve which version: each reports to Redis, and a report that is not renewed expires.

So "all 8 instances run version 17" is something that was seen, not something that was waited for.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from normalization import conf
from normalization.redis_link import RedisUnavailable, link

if TYPE_CHECKING:
    from redis import Redis

REPORTS: Final = "stage:validation:instances"
EXPIRY: Final = "stage:validation:instances:expiry"
KEPT_TTLS: Final = 3

# The server's clock alone decides, so that hosts need not agree on the time. ARGV: name, report, milliseconds to keep.
REPORT: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ms + ARGV[3], ARGV[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms, 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[1], gone)
  redis.call('ZREM', KEYS[2], gone)
end
"""
LIVE: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local live = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ms, '+inf')) do
  live[#live + 1] = redis.call('HGET', KEYS[1], name)
end
return live
"""
LEAVE: Final = "redis.call('HDEL', KEYS[1], ARGV[1]) redis.call('ZREM', KEYS[2], ARGV[1])"


@dataclass(frozen=True, slots=True)
class Instance:
    """What one process reported: the rollout it serves, from where, and its age then, in seconds."""

    host: str
    pid: int
    version: int
    mode: str
    source: str
    age: float


@dataclass(frozen=True, slots=True)
class Convergence:
    """Whether every live process serves at least a version, and the sentence that says how we know."""

    converged: bool
    why: str
    instances: tuple[Instance, ...] = ()
    behind: tuple[Instance, ...] = ()


def report(version: int, mode: str, source: str, age: float) -> None:
    """Tell the others what this process serves; a Redis that does not take it is not our concern here."""
    mine = Instance(socket.gethostname(), os.getpid(), version, mode, source, round(age, 3))
    arguments = [_name(), json.dumps(asdict(mine)), int(conf.ttl_seconds() * KEPT_TTLS * 1000)]
    _leave_at_exit()
    try:
        link.ask("report", lambda client: client.eval(REPORT, 2, REPORTS, EXPIRY, *arguments))
    except RedisUnavailable:
        return


def live() -> tuple[Instance, ...]:
    """Return every process that reported within three TTLs, by host and pid; raise `RedisUnavailable`."""

    def ask(client: Redis) -> Any:
        return client.eval(LIVE, 2, REPORTS, EXPIRY)

    read = (_instance(text) for text in link.ask("read", ask, insist=True))
    return tuple(sorted((each for each in read if each is not None), key=lambda each: (each.host, each.pid)))


def convergence(version: int, age: float) -> Convergence:
    """Tell whether every live process serves `version` or a newer one, which was committed `age` seconds ago.

    Where Redis does not answer, the TTL is the argument: by then each process has read the database itself.
    """
    try:
        instances = live()
    except RedisUnavailable as error:
        over = age > conf.ttl_seconds()
        when = "has passed" if over else "has not passed yet"
        return Convergence(over, f"{error}; the TTL of {conf.ttl_seconds():g} s {when} since version {version}")
    behind = tuple(each for each in instances if each.version < version)
    if behind:
        return Convergence(False, f"{len(behind)} of {_count(instances)} run an older version", instances, behind)
    if not instances:
        return Convergence(True, "no process reports: none serves requests", instances)
    return Convergence(True, f"all of {_count(instances)} run version {version} or newer", instances)


def wait_until_converged(
    version: int, seconds: float, clock: Callable[[], float] = time.monotonic, pause: float = 0.02
) -> Convergence:
    """Look again and again until every live process serves `version`, or for `seconds`; return the last look."""
    started = clock()
    while True:
        seen = convergence(version, clock() - started)
        if seen.converged or clock() - started >= seconds:
            return seen
        time.sleep(pause)


def _count(instances: tuple[Instance, ...]) -> str:
    return "1 instance" if len(instances) == 1 else f"{len(instances)} instances"


def _instance(text: bytes | None) -> Instance | None:
    try:
        return Instance(**json.loads(text or b""))
    except (ValueError, TypeError):
        return None  # not written by report()


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _leave_at_exit() -> None:
    global _reporting  # noqa: PLW0603
    if _reporting != os.getpid():
        _reporting = os.getpid()
        atexit.register(_leave, _reporting)


def _leave(pid: int) -> None:
    # A process that ends in order is not waited for; a killed one expires.
    if pid == os.getpid() and link.open:
        try:
            link.ask("report", lambda client: client.eval(LEAVE, 2, REPORTS, EXPIRY, _name()))
        except RedisUnavailable:
            return


_reporting = 0
