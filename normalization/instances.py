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
from normalization.redis_link import RedisRefused, RedisUnavailable, link

if TYPE_CHECKING:
    from redis import Redis

# One key, so that every operation stays within one slot of a cluster. A hash: name → report.
REPORTS: Final = "stage:validation:instances"
KEPT_TTLS: Final = 3
SILENT_TTLS: Final = 3
LEAST_SILENCE: Final = 10.0  # seconds: five reports to the register
# Maximum number of reports that one announcement deletes because they have expired.
MOST_EXPIRED: Final = 100


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
    database's. These three are known of registered processes only. `store` is its
    `conf.shared_store()`, "" if it is not known.
    """

    host: str
    pid: int
    version: int
    mode: str
    age: float
    guard: str = ""
    guard_age: float | None = None
    skew: float = 0.0
    store: str = ""

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
    mine = [socket.gethostname(), os.getpid(), version, mode, round(age, 3)]
    _leave_at_exit()

    def write(client: Redis) -> None:
        now = _milliseconds(client)
        client.hset(REPORTS, _name(), json.dumps([*mine, now + _kept_ms()]))
        reports: Any = client.hgetall(REPORTS)
        expired = [name for name, text in reports.items() if _instance(text, now) is None]
        if expired:
            client.hdel(REPORTS, *expired[:MOST_EXPIRED])

    try:
        link.ask("report", write)
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

    def ask(client: Redis) -> list[Instance | None]:
        now = _milliseconds(client)
        reports: Any = client.hgetall(REPORTS)
        return [_instance(text, now) for text in reports.values()]

    found = link.ask("report", ask, insist=True)
    return tuple(sorted(each for each in found if each is not None))


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
            each.skew, each.store,
        )
        for each in instance_registry.registered()
    }  # fmt: skip
    for one in report():
        # It reports where this process reads: both use one Redis, even by different names.
        own = ServingProcess(*one)._replace(store=conf.shared_store())
        known = found.get(own.name, own)._replace(store=own.store)
        if (own.version, -own.age) > (known.version, -known.age):
            known = known._replace(version=own.version, mode=own.mode, age=own.age)
        found[own.name] = known
    return tuple(sorted(found.values()))


def convergence(version: int, age: float) -> Convergence:
    """Return whether every process serves `version` (committed `age` seconds ago) or newer.

    A process that stopped reporting is behind until it is restarted or removed by name. Without
    Redis and without a registered process the TTL decides: after it, a process that had not
    reported yet has read the database. With EXPECTED_INSTANCES, that many processes must report.
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
    if len(found) < (expected := conf.expected_instances()):
        return Convergence(False, f"{len(found)} of {expected} expected instances report", found)
    return Convergence(True, f"all of {_count(found)} run version {version} or newer", found)


def _nobody_reports(version: int, age: float) -> Convergence:
    over = age > conf.ttl_seconds()
    if conf.redis_configured():
        try:
            live()
        except RedisRefused:  # no process can report there; each registers in the database
            return _by_ttl(version, over)
        except RedisUnavailable as error:
            return Convergence(False, f"{error}; no process has confirmed version {version}")
        # Each process reports once per TTL, so an emptied Redis has all reports after one TTL.
        return Convergence(over, "no process reports that it serves requests")
    return _by_ttl(version, over)


def _by_ttl(version: int, over: bool) -> Convergence:
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


def _instance(text: bytes, now: int) -> Instance | None:
    """Read a report; None if it has expired or `announce` did not write it."""
    try:
        host, pid, version, mode, age, expires = json.loads(text)
        silent = (_kept_ms() - (int(expires) - now)) / 1000
        if int(expires) <= now:
            return None
        return Instance(
            str(host), int(pid), int(version), str(mode), round(float(age) + max(0.0, silent), 3)
        )
    except (ValueError, TypeError):
        return None


def redis_skew() -> float:
    """Return the clock of this process minus that of Redis, in seconds.

    Raises `RedisUnavailable`.
    """
    before = time.time()
    there = link.ask("clock", _milliseconds, insist=True) / 1000
    return round((before + time.time()) / 2 - there, 3)


def _milliseconds(client: Redis) -> int:
    """Return the clock of Redis: the clocks of hosts may differ."""
    seconds, microseconds = client.time()
    return seconds * 1000 + microseconds // 1000


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
            link.ask("report", lambda client: client.hdel(REPORTS, _name()))
        except RedisUnavailable:
            return


_reporting = 0
