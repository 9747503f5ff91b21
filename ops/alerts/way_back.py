"""The two ways back, alerts and the guard: whether they are proven, and what to do without any.

`read_way_back` asks the gate `way_back_proven`, so that the gate, the pages and the lists of the
admin always agree. `WayBackWatch` runs on the ticker of each serving process. While enforcement is
in force and nothing would take it back, it logs that, and takes enforcement back itself if
STAGE_WHEN_WAY_BACK_DEAD is `warn`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import structlog
from django.conf import settings

from normalization import guard, instances, metrics, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, without_enforcement
from ops import clock
from ops.alerts.models import last_heartbeat_at
from ops.gates import rules
from ops.gates.instances_rule import InstanceFact
from ops.gates.rules import GateFacts, GateOutcome, GateVerdict

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 10.0
WHAT: Final = "way_back_dead"


@dataclass(frozen=True, slots=True)
class WayBack:
    """Whether the way back is proven: the gate's verdict and the last heartbeat.

    `dead`: neither way would take enforcement back.
    """

    verdict: GateVerdict
    last_heartbeat_at: datetime | None
    dead: bool = False

    @property
    def word(self) -> str:
        """The verdict as pages show it: open, closed or not proven; dead if both ways are."""
        if self.dead and self.verdict.outcome is GateOutcome.FAIL:
            return "dead"
        return {
            GateOutcome.PASS: "open",
            GateOutcome.FAIL: "closed",
            GateOutcome.INCONCLUSIVE: "not proven",
        }[self.verdict.outcome]


def read_way_back() -> WayBack:
    """Return the state of the ways back now, by the database's clock."""
    return way_back_of(way_back_facts())


def way_back_of(facts: GateFacts) -> WayBack:
    """Return the state of the ways back over these facts."""
    dead = rules.both_ways_dead(facts)
    return WayBack(rules.way_back_proven(facts), facts.last_heartbeat_at, dead)


def instance_facts() -> tuple[InstanceFact, ...]:
    """Return the serving processes, also frozen ones; raises `django.db.Error`."""
    return tuple(
        InstanceFact(one.name, one.version, one.age, one.guard, one.guard_age, one.store)
        for one in instances.serving()
    )


class WayBackWatch:
    """Looks every ten seconds whether something would take enforcement back."""

    def __init__(self, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._elapsed = elapsed
        self._due = float("-inf")
        self._reported = False

    def look(self) -> None:
        """Look once when it is due. Raises `django.db.Error`."""
        if self._elapsed() < self._due:
            return
        self._due = self._elapsed() + LOOK_SECONDS
        snapshot = rollout_store.current()
        dead = snapshot.rollout.mode is Mode.ENFORCE and _dead_since_enforcement(snapshot.version)
        if dead and not self._reported:
            log.error("stage_way_back_dead", then=settings.STAGE_WHEN_WAY_BACK_DEAD)
        self._reported = dead
        if dead and settings.STAGE_WHEN_WAY_BACK_DEAD == "warn":
            _take_back(snapshot.version)


def way_back_facts() -> GateFacts:
    """Return the facts of the ways back alone; raises `django.db.Error`."""
    return GateFacts(
        clock.database_now(),
        0,
        0.0,
        last_heartbeat_at=last_heartbeat_at(),
        instances=instance_facts(),
    )


def _dead_since_enforcement(version: int) -> bool:
    """Return whether both ways are dead, and were for 15 minutes since more was enforced."""
    facts = way_back_facts()
    begun = RolloutChange.objects.filter(pk=guard.newest_enforcing_change(version)).first()
    moments = [facts.last_heartbeat_at, begun.created_at if begun else None]
    proof = max((each for each in moments if each is not None), default=None)
    return rules.both_ways_dead(replace(facts, last_heartbeat_at=proof))


def _take_back(version: int) -> None:
    evidence: dict[str, Any] = {"guard": WHAT}
    try:
        result = rollout_store.change(
            without_enforcement,
            actor=guard.SOURCE,
            source=guard.SOURCE,
            reason="No way back works: no guard acts, and no heartbeat arrived for 15 minutes.",
            expected_version=version,
            evidence=evidence,
        )
    except rollout_store.VersionConflict:
        return
    if result.changed:
        metrics.GUARD_ACTED.labels(what=WHAT).inc()


watch: Final = WayBackWatch()
