"""When all servers serve one rollout: the rule of the gate `instances_converged`.

Pure functions over the reports of the serving processes, which `ops.alerts.way_back` reads. Three
things are asked, each with its own remedy: every server reads the rollout from the store to which
this process writes it, every server serves the newest version, and as many servers report as
EXPECTED_INSTANCES names. Each function returns a fault as a sentence with its remedy, or None.
`manage.py preflight` asks the first and the last by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

GUARD_MAX_AGE: Final = 10.0  # seconds since the guard of a server ticked, once a second
LEAST_SILENCE: Final = 5.0  # seconds; servers report every two
DATABASE: Final = "database"  # the store of a process without REDIS_URL

EXPORT: Final = "export REDIS_URL with the value that the service has"
ONE_STORE: Final = "set one REDIS_URL for every server and command"
START: Final = "start or restart the missing servers, or correct EXPECTED_INSTANCES"


@dataclass(frozen=True, slots=True)
class InstanceFact:
    """The report of one serving process. Ages are in seconds.

    `guard` is its STAGE_GUARD. `guard_age`: since its guard ticked; None if it never did. `store`:
    which store carries the rollout to it: a digest of its Redis, DATABASE, or "" if not known.
    """

    name: str
    version: int
    age: float
    guard: str = "act"
    guard_age: float | None = None
    store: str = ""

    @property
    def guarded(self) -> bool:
        """Whether the guard of this server acts and ticks."""
        ticks = self.guard_age is not None and self.guard_age <= GUARD_MAX_AGE
        return self.guard == "act" and ticks

    def behind(self, version: int, ttl_seconds: float) -> bool:
        """Whether it serves another version, or has not confirmed this one for too long."""
        return self.version != version or self.age > max(ttl_seconds, LEAST_SILENCE)


Fault = tuple[str, str]
"""A sentence, and its remedy."""


def all_servers(count: int) -> str:
    """Return "the only server" or "all 3 servers"."""
    return "the only server" if count == 1 else f"all {count} servers"


def store_fault(store: str, servers: Sequence[InstanceFact]) -> Fault | None:
    """Return that servers read the rollout elsewhere than in `store`, the one of this process.

    A change of this process would reach them after a TTL, or never. Stores that are not known
    ("") are not compared.
    """
    apart = [each for each in servers if store and each.store not in ("", store)]
    if not apart:
        return None
    share = f"{len(apart)} of {len(servers)} servers"
    if store == DATABASE:
        return f"This process has no REDIS_URL, but {share} use Redis.", EXPORT
    if all(each.store == DATABASE for each in apart):
        return f"This process uses Redis, but {share} have no REDIS_URL.", ONE_STORE
    return f"The REDIS_URL of this process names another Redis than that of {share}.", EXPORT


def version_fault(
    version: int, ttl_seconds: float, servers: Sequence[InstanceFact]
) -> Fault | None:
    """Return which servers do not serve `version`, or have not confirmed it within the TTL."""
    behind = names_behind(version, ttl_seconds, servers)
    if not behind:
        return None
    share = f"{len(behind)} of {len(servers)} servers do not serve version {version}"
    remedy = (
        f"wait {ttl_seconds:g} s, or restart those servers; "
        "manage.py stage_mode forget NAME removes one that is gone"
    )
    return f"{share}: {', '.join(behind)}.", remedy


def names_behind(version: int, ttl_seconds: float, servers: Sequence[InstanceFact]) -> list[str]:
    """Return the names of the servers behind `version`, sorted."""
    return sorted(each.name for each in servers if each.behind(version, ttl_seconds))


def missing_fault(expected: int, servers: Sequence[InstanceFact]) -> Fault | None:
    """Return that fewer servers report than `expected`; 0 expects as many as there are."""
    if len(servers) >= expected:
        return None
    return f"{len(servers)} of {expected} expected servers report.", START
