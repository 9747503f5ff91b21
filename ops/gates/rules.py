"""The gates: preconditions of more enforcement and of rewriting stored rows.

Pure functions over `GateFacts`: no clock, no settings, no database. `ops.gates.facts` collects
the facts and `ops.gates.ask` examines all gates before a change. A gate is `inconclusive` if a
fact is not known. Only `pass` allows the step; `fail` and `inconclusive` both hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from ops.gates.backup_rule import CYCLE, BackupValidity
from ops.gates.consumers_rule import AUDIT, KnownConsumers
from ops.gates.instances_rule import (
    InstanceFact,
    all_servers,
    missing_fault,
    names_behind,
    store_fault,
    version_fault,
)
from ops.gates.stored_rule import StoredStages, stored_faults
from ops.gates.traffic_rule import NO_TRAFFIC, EnforcedTraffic

# The watchdog repeats every 5 minutes. One lost delivery makes the way back unproven, two kill it.
HEARTBEAT_PROVES: Final = timedelta(minutes=6)
HEARTBEAT_MAX_AGE: Final = timedelta(minutes=15)
COOLDOWN: Final = timedelta(minutes=30)


class GateOutcome(StrEnum):
    """The result of a gate."""

    PASS = "pass"  # noqa: S105 (a word, not a password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The answer of one gate.

    `sentence` is for people, `evidence` has the figures behind it, and `remedy` is a command or an
    advice that may change the answer ("" if the gate passes). `overridable`: a person may skip the
    gate with a reason.
    """

    gate: str
    outcome: GateOutcome
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""
    overridable: bool = True

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form that is recorded with a change."""
        evidence = {
            name: str(value) if isinstance(value, datetime) else value
            for name, value in self.evidence.items()
        }
        return {
            "gate": self.gate,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            "evidence": evidence,
        }


@dataclass(frozen=True, slots=True)
class GateFacts:
    """Everything that the gates examine. None means not known.

    `backups`: newest snapshot first. `stored`: the stored stages. `traffic`: the requests that the
    change asked for would enforce. `instances`: the serving processes, also frozen ones;
    `expected_instances`: how many must report, 0 for as many as there are. `store`: which store
    carries the rollout to this process: a digest of its Redis, "database", or "" if not known.
    `alert_fires`: an alert that takes enforcement back fires now. `guard_sees`: the rejects above
    the guard's limit now, in words. `consumers`: the newest decision about them.
    """

    now: datetime
    version: int
    ttl_seconds: float
    backups: tuple[BackupValidity, ...] = ()
    stored: StoredStages | None = None
    traffic: EnforcedTraffic = NO_TRAFFIC
    last_heartbeat_at: datetime | None = None
    shared_store: bool = False
    store: str = ""
    instances: tuple[InstanceFact, ...] | None = None
    expected_instances: int = 0
    last_automatic_downgrade_at: datetime | None = None
    alert_fires: bool = False
    guard_sees: str = ""
    consumers: KnownConsumers | None = None


Gate = Callable[[GateFacts], GateVerdict]


def backup_valid(facts: GateFacts) -> GateVerdict:
    """One backup is valid and younger than an hour (`ops.gates.backup_rule` has the rule)."""
    gate = "backup_valid"
    best = best_backup(facts.backups)
    if best is None:
        sentence = "This database has no backup."
        return GateVerdict(gate, GateOutcome.FAIL, sentence, remedy=CYCLE)
    evidence = {
        "backup": best.name,
        "snapshot_at": best.snapshot_at,
        "age_seconds": round(best.age_seconds, 1),
        "bytes": best.files,
    }
    return GateVerdict(gate, backup_outcome(best), best.sentence, evidence, best.remedy)


def backup_outcome(backup: BackupValidity) -> GateOutcome:
    """Return what one backup alone would make of the gate."""
    if backup.valid is False or not backup.fresh:
        return GateOutcome.FAIL
    return GateOutcome.PASS if backup.valid else GateOutcome.INCONCLUSIVE


def best_backup(backups: Iterable[BackupValidity]) -> BackupValidity | None:
    """Return the backup closest to passing the gate, the newest of equals."""
    return min(backups, key=_backup_rank, default=None)


def _backup_rank(backup: BackupValidity) -> tuple[int, bool]:
    """Order backups by how close they come to passing the gate."""
    outcomes = (GateOutcome.PASS, GateOutcome.INCONCLUSIVE, GateOutcome.FAIL)
    return outcomes.index(backup_outcome(backup)), backup.valid is False


def stored_stages_clean(facts: GateFacts) -> GateVerdict:
    """Every row holds what today's decisions give, and fewer than 0.5 % are undecided."""
    gate, stored = "stored_stages_clean", facts.stored
    if stored is None:
        sentence = "The state of the stored rows is not known."
        remedy = "manage.py normalize_stages --verify"
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, remedy=remedy)
    evidence, faults = stored.evidence(), stored_faults(stored)
    if faults:
        sentence = " ".join(sentence for sentence, _ in faults)
        remedy = "; ".join(remedy for _, remedy in faults)
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)
    sentence = f"Every stored row is derived. Undecided: {stored.share_undecided}."
    return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)


def would_refuse(facts: GateFacts) -> GateVerdict:
    """Of the requests of 24 hours that the change enforces, fewer than 0.5 % would be refused."""
    gate, sent = "would_refuse", facts.traffic
    evidence = sent.evidence()
    if not sent.clients:
        return _no_client(gate, sent, evidence)
    if sent.requests < sent.needed:
        sentence = (
            f"Too few requests to judge: {sent.requests:,} of the clients that the change "
            f"enforces, within 24 hours. At least {sent.needed:,} are needed."
        )
        remedy = "wait for traffic in mode warn, or begin with pilots"
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, evidence, remedy)
    if sent.is_too_much_refused:
        sentence = (
            f"Too many requests would be refused: {sent.share_refused}. "
            f"The limit is 0.5 %. {sent.worst}"
        )
        remedy = "decide the spellings, or hold out the clients until they have changed"
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)
    sentence = f"Would be refused: {sent.share_refused}."
    return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)


def _no_client(gate: str, sent: EnforcedTraffic, evidence: Mapping[str, Any]) -> GateVerdict:
    if not sent.clients_seen:
        sentence = "No client sent a stage within 24 hours, so the effect is not known."
        remedy = "wait for traffic in mode warn"
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, evidence, remedy)
    sentence = "The change enforces none of the clients that sent stages within 24 hours."
    remedy = "raise the share, or name pilots"
    return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)


def way_back_proven(facts: GateFacts) -> GateVerdict:
    """Both ways back are proven: the watchdog alert came within 6 minutes, every guard ticks."""
    gate = "way_back_proven"
    alerts, guard = way_by_alerts(facts), way_by_guard(facts)
    evidence = {**alerts.evidence, **guard.evidence}
    if alerts.outcome is guard.outcome is GateOutcome.PASS:
        sentence = f"The way back works. {alerts.sentence} {guard.sentence}"
        return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)
    failed = GateOutcome.FAIL in (alerts.outcome, guard.outcome)
    outcome = GateOutcome.FAIL if failed else GateOutcome.INCONCLUSIVE
    remedy = "; ".join(each for each in (alerts.remedy, guard.remedy) if each)
    return GateVerdict(gate, outcome, f"{alerts.sentence} {guard.sentence}", evidence, remedy)


def way_by_alerts(facts: GateFacts) -> GateVerdict:
    """Return whether the way through Prometheus and Alertmanager is proven, unproven or dead."""
    gate, last = "way_by_alerts", facts.last_heartbeat_at
    remedy = "check that Prometheus, Alertmanager and manage.py alertmanager_relay run"
    if last is None:
        sentence = "The way back is not proven: no heartbeat has arrived."
        evidence: dict[str, Any] = {"last_heartbeat_at": None}
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, evidence, remedy)
    age = facts.now - last
    ago = _spoken(age.total_seconds())
    evidence = {"last_heartbeat_at": last, "age_seconds": round(age.total_seconds(), 1)}
    if age > HEARTBEAT_MAX_AGE:
        sentence = f"The way through alerts is dead: it was last proven {ago} ago."
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)
    if age > HEARTBEAT_PROVES:
        sentence = (
            f"The way through alerts is unproven: it was last proven {ago} ago. "
            "The limit is 6 minutes."
        )
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, evidence, remedy)
    sentence = f"The way through alerts was proven {ago} ago."
    return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)


def way_by_guard(facts: GateFacts) -> GateVerdict:
    """Return whether the guard acts and ticks on every server."""
    gate, servers = "way_by_guard", facts.instances or ()
    evidence: dict[str, Any] = {"guarded_servers": sum(each.guarded for each in servers)}
    if not servers:
        sentence = "No server reports that its guard ticks."
        remedy = "check that the service runs"
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, evidence, remedy)
    if passive := sorted({each.guard for each in servers if each.guard != "act"}):
        sentence = f"The guard does not act: STAGE_GUARD is {' and '.join(passive)}."
        remedy = "set STAGE_GUARD=act"
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, evidence, remedy)
    silent = [each.name for each in servers if not each.guarded]
    if silent:
        share = f"{len(silent)} of {len(servers)} servers"
        sentence = f"The guard is silent on {share}: {', '.join(silent)}."
        remedy = "restart those servers, or remove a gone one: manage.py stage_mode forget NAME"
        evidence = {**evidence, "silent": silent}
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)
    sentence = f"The guard ticks on {all_servers(len(servers))}."
    return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)


def both_ways_dead(facts: GateFacts) -> bool:
    """Return whether nothing takes enforcement back: no guard acts, and no alert would arrive."""
    last = facts.last_heartbeat_at
    alerts_dead = last is None or facts.now - last > HEARTBEAT_MAX_AGE
    return alerts_dead and not any(each.guarded for each in facts.instances or ())


def instances_converged(facts: GateFacts) -> GateVerdict:
    """Every expected server serves the version to be changed, and reads where it is written."""
    gate, servers = "instances_converged", facts.instances or ()
    if not (facts.shared_store or servers or facts.expected_instances):
        ttl = f"{facts.ttl_seconds:g} s (the TTL)"
        sentence = f"Without Redis every server reads the newest version within {ttl}."
        evidence: dict[str, Any] = {"by": "ttl", "version": facts.version}
        return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)
    if not servers:
        sentence = "No server has reported its version."
        remedy = "check that the service and Redis run"
        evidence = {"version": facts.version}
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, evidence, remedy)
    every, at = len(servers), (facts.version, facts.ttl_seconds, servers)
    evidence = {"version": facts.version, "instances": every, "behind": names_behind(*at)}
    if facts.expected_instances:
        evidence["expected"] = facts.expected_instances
    found = (
        store_fault(facts.store, servers),
        version_fault(*at),
        missing_fault(facts.expected_instances, servers),
    )
    if faults := [fault for fault in found if fault]:
        sentence = " ".join(sentence for sentence, _ in faults)
        remedy = "; ".join(remedy for _, remedy in faults)
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)
    sentence = f"All {every} servers agree on version {facts.version}."
    if every == 1:
        sentence = f"The only server serves version {facts.version}."
    return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)


def cooldown(facts: GateFacts) -> GateVerdict:
    """No client is hurt now, and the last way back under an alert is half an hour ago."""
    gate, last = "cooldown", facts.last_automatic_downgrade_at
    if facts.alert_fires:
        sentence = "An alert that takes enforcement back fires now."
        remedy = "find the cause; wait until the alert is resolved"
        return GateVerdict(gate, GateOutcome.FAIL, sentence, {"alert_fires": True}, remedy)
    if facts.guard_sees:
        sentence = f"Enforcement hurts clients now: {facts.guard_sees}."
        remedy = "decide the spellings or hold out the clients; wait five minutes"
        return GateVerdict(
            gate, GateOutcome.FAIL, sentence, {"guard_sees": facts.guard_sees}, remedy
        )
    if last is None:
        sentence = "No recent way back: enforcement was never taken back automatically."
        return GateVerdict(gate, GateOutcome.PASS, sentence, {"last": None})
    age = (facts.now - last).total_seconds()
    evidence = {"last": last, "age_seconds": round(age, 1)}
    if age < COOLDOWN.total_seconds():
        left = (COOLDOWN.total_seconds() - age) / 60
        sentence = (
            f"Enforcement was taken back automatically {age / 60:.0f} min ago. "
            "Use 30 minutes to find the cause."
        )
        remedy = f"find the cause; wait {left:.0f} min"
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)
    sentence = f"No recent way back: the last one was {age / 3600:.1f} h ago."
    return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)


def consumers_known(facts: GateFacts) -> GateVerdict:
    """A decision records who uses the endpoints, and has not expired."""
    gate, known = "consumers_known", facts.consumers
    if known is None:
        sentence = "The consumers are not known: no decision about them is recorded."
        return GateVerdict(gate, GateOutcome.INCONCLUSIVE, sentence, remedy=AUDIT)
    sentence, evidence = known.sentence(facts.now), known.evidence()
    if known.is_expired(facts.now):
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, AUDIT)
    return GateVerdict(gate, GateOutcome.PASS, sentence, evidence)


def _spoken(seconds: float) -> str:
    """Return a duration in seconds, or from two minutes on in whole minutes."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{int(seconds // 60)} minutes"


GATES: Final[tuple[Gate, ...]] = (
    backup_valid,
    stored_stages_clean,
    would_refuse,
    way_back_proven,
    instances_converged,
    cooldown,
    consumers_known,
)


def examine(facts: GateFacts, asked: Iterable[Gate] = GATES) -> list[GateVerdict]:
    """Return the verdict of each gate.

    None can be overridden while a downgrade alert fires or the guard sees rejects over its limit.
    """
    verdicts = [gate(facts) for gate in asked]
    if facts.alert_fires or facts.guard_sees:
        return [replace(verdict, overridable=False) for verdict in verdicts]
    return verdicts
