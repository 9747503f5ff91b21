"""The version that each process serves, from two sources.

Reports in Redis are fast and expire. The register in the database (`instance_registry`) needs no
Redis and forgets no process that is frozen. Together they make "all 8 instances run version 17"
an observation, not an assumption after a wait.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import Error as StoreError

from normalization import conf, instance_registry
from normalization.redis_link import RedisUnavailable, link

if TYPE_CHECKING:
    from redis import Redis

REPORTS: Final = "stage:validation:instances"
EXPIRY: Final = "stage:validation:instances:expiry"
KEPT_TTLS: Final = 3
SILENT_TTLS: Final = 3
LEAST_SILENCE: Final = 10.0  # seconds: five reports to the register

# Uses the clock of Redis, so that the clocks of hosts may differ.
# ARGV: name, report, milliseconds to keep.
ANNOUNCE: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ms + ARGV[3], ARGV[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms, 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[1], gone)
  redis.call('ZREM', KEYS[2], gone)
end
"""
# Returns report, milliseconds left, report, milliseconds left, …
LIVE: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local names = redis.call('ZRANGEBYSCORE', KEYS[2], ms, '+inf', 'WITHSCORES')
local live = {}
for i = 1, #names, 2 do
  live[i] = redis.call('HGET', KEYS[1], names[i])
  live[i + 1] = names[i + 1] - ms
end
return live
"""
LEAVE: Final = "redis.call('HDEL', KEYS[1], ARGV[1]) redis.call('ZREM', KEYS[2], ARGV[1])"


class Instance(NamedTuple):
    """The report of one process: its rollout, and the seconds (`age`) since it was confirmed."""

    host: str
    pid: int
    version: int
    mode: str
    age: float


class ServingProcess(NamedTuple):
    """A process as both sources know it.

    `age` is the time in seconds since its version was confirmed. `guard` is its STAGE_GUARD,
    `guard_age` the time since its guard ticked (None: not yet), and `skew` its clock minus the
    database's. The last three are known of registered processes only.
    """

    host: str
    pid: int
    version: int
    mode: str
    age: float
    guard: str = ""
    guard_age: float | None = None
    skew: float = 0.0

    @property
    def name(self) -> str:
        """The name that `stage_mode forget` takes."""
        return f"{self.host}:{self.pid}"

    @property
    def silent(self) -> bool:
        """Whether it stopped reporting: it is frozen, or cut off from the database."""
        return self.age > max(SILENT_TTLS * conf.ttl_seconds(), LEAST_SILENCE)


@dataclass(frozen=True, slots=True)
class Convergence:
    """Whether every process serves at least a version, and a sentence with the evidence."""

    converged: bool
    why: str
    instances: tuple[ServingProcess, ...] = ()
    behind: tuple[ServingProcess, ...] = ()


def announce(version: int, mode: str, age: float) -> None:
    """Report what this process serves. A failure of Redis is ignored."""
    mine = json.dumps([socket.gethostname(), os.getpid(), version, mode, round(age, 3)])
    _leave_at_exit()
    try:
        link.ask(
            "report",
            lambda client: client.eval(ANNOUNCE, 2, REPORTS, EXPIRY, _name(), mine, _kept_ms()),
        )
    except RedisUnavailable:
        return


def report() -> tuple[Instance, ...]:
    """Return the processes that reported within three TTLs, by host and process id.

    Returns none if Redis does not answer.
    """
    try:
        return live()
    except RedisUnavailable:
        return ()


def live() -> tuple[Instance, ...]:
    """Return the same as `report`, but raise `RedisUnavailable`."""

    def ask(client: Redis) -> Any:
        return client.eval(LIVE, 2, REPORTS, EXPIRY)

    answer = link.ask("read", ask, insist=True)
    read = (_instance(text, left) for text, left in zip(answer[::2], answer[1::2], strict=True))
    return tuple(sorted(each for each in read if each is not None))


def converged(version: int) -> bool:
    """Return whether every live process serves `version` or newer; False if Redis fails."""
    instances = report()
    return bool(instances) and all(each.version >= version for each in instances)


def serving() -> tuple[ServingProcess, ...]:
    """Return the processes of both sources by host and process id; raises `django.db.Error`."""
    found = {
        each.name: ServingProcess(
            each.host, each.pid, each.version, each.mode, round(each.age + each.silent, 3),
            each.guard,
            None if each.guard_age is None else round(each.guard_age + each.silent, 3),
            each.skew,
        )
        for each in instance_registry.registered()
    }  # fmt: skip
    for one in report():
        own = ServingProcess(*one)
        known = found.get(own.name)
        if known is None:
            found[own.name] = own
        elif (own.version, -own.age) > (known.version, -known.age):
            found[own.name] = known._replace(version=own.version, mode=own.mode, age=own.age)
    return tuple(sorted(found.values()))


def convergence(version: int, age: float) -> Convergence:
    """Return whether every process serves `version` (committed `age` seconds ago) or newer.

    A process that stopped reporting is behind until it is restarted or removed by name. Without
    Redis and without a registered process the TTL decides: after it, a process that had not
    reported yet has read the database.
    """
    try:
        found = serving()
    except StoreError as error:
        return Convergence(False, f"the database does not answer ({type(error).__name__})")
    if not found:
        return _nobody_reports(version, age)
    behind = tuple(each for each in found if each.version < version or each.silent)
    if behind:
        return Convergence(False, _who_is_behind(behind, len(found), version), found, behind)
    return Convergence(True, f"all of {_count(found)} run version {version} or newer", found)


def _nobody_reports(version: int, age: float) -> Convergence:
    over = age > conf.ttl_seconds()
    if conf.redis_configured():
        try:
            live()
        except RedisUnavailable as error:
            return Convergence(False, f"{error}; no process has confirmed version {version}")
        # Each process reports once per TTL, so an emptied Redis has all reports after one TTL.
        return Convergence(over, "no process reports that it serves requests")
    when = "has passed" if over else "has not passed yet"
    ttl = f"the TTL of {conf.ttl_seconds():g} s {when} since version {version}"
    return Convergence(over, f"no process reports that it serves requests; {ttl}")


def _who_is_behind(behind: tuple[ServingProcess, ...], every: int, version: int) -> str:
    older = sum(each.version < version for each in behind)
    of_all = "1 instance" if every == 1 else f"{every} instances"
    if older:
        return f"{len(behind)} of {of_all} run an older version"
    return f"{len(behind)} of {of_all} stopped reporting"


def wait_until_converged(
    version: int, seconds: float, pause: float = 0.05
) -> tuple[Convergence, float]:
    """Poll until every live process serves `version`, for at most `seconds`.

    Returns the last result and the elapsed seconds.
    """
    started = time.monotonic()
    while True:
        seen = convergence(version, waited := time.monotonic() - started)
        if seen.converged or waited >= seconds:
            return seen, time.monotonic() - started
        time.sleep(pause)


def _count(instances: tuple[ServingProcess, ...]) -> str:
    return "1 instance" if len(instances) == 1 else f"{len(instances)} instances"


def _instance(text: bytes | None, milliseconds_left: int) -> Instance | None:
    try:
        host, pid, version, mode, age = json.loads(text or b"")
        silent = (_kept_ms() - milliseconds_left) / 1000
        return Instance(
            str(host), int(pid), int(version), str(mode), round(float(age) + max(0.0, silent), 3)
        )
    except (ValueError, TypeError):
        return None  # not written by announce()


def _kept_ms() -> int:
    return int(conf.ttl_seconds() * KEPT_TTLS * 1000)


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _leave_at_exit() -> None:
    global _reporting  # noqa: PLW0603
    if _reporting != os.getpid():
        _reporting = os.getpid()
        atexit.register(_leave, _reporting)


def _leave(pid: int) -> None:
    # A process that ends normally removes its report; that of a killed one expires.
    if pid == os.getpid() and link.open:
        try:
            link.ask("report", lambda client: client.eval(LEAVE, 2, REPORTS, EXPIRY, _name()))
        except RedisUnavailable:
            return


_reporting = 0
