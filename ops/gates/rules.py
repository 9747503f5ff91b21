"""The gates: what must hold before more is enforced or stored rows are rewritten.

Pure functions over `GateFacts`: no clock, no settings, no database. `ops.facts` collects them. A gate says `inconclusive`
where a fact is not known, and `inconclusive` holds the step just as `fail` does: only `pass` lets it through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

BACKUP_MAX_AGE: Final = timedelta(seconds=3600)
UNKNOWN_WINDOW: Final = timedelta(hours=24)
LEAST_REQUESTS: Final = 1_000
MOST_UNKNOWN_PER_MILLE: Final = 5  # 0.5 %
UNCLEAN_COUNTED_TO: Final = (
    10_000  # in each column; more are not counted, because the answer is the same
)
HEARTBEAT_MAX_AGE: Final = timedelta(
    minutes=15
)  # the watchdog repeats every 5 minutes; one lost delivery is no alarm
COOLDOWN: Final = timedelta(minutes=30)


class GateOutcome(StrEnum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 (a word, not a password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One gate's answer: the sentence for a person, the figures behind it, and the command that could change it."""

    gate: str
    outcome: GateOutcome
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form that is kept with a change."""
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


class Bytes(StrEnum):
    """What is on disk where a checked backup should be."""

    SAME = "same"
    TOUCHED = "touched"  # written, moved or copied since its checks, and not read again
    CHANGED = "changed"
    MISSING = "missing"
    ELSEWHERE = "elsewhere"  # on a host whose disk this process cannot see


@dataclass(frozen=True, slots=True)
class BackupFact:
    """One backup: `valid` by its records, else `reason` and `remedy` say why not; `bytes` only where it is valid."""

    name: str
    snapshot_at: datetime
    valid: bool
    reason: str
    remedy: str = ""
    bytes: Bytes | None = None


@dataclass(frozen=True, slots=True)
class InstanceFact:
    """What one serving process has reported about itself."""

    name: str
    version: int
    age: float


@dataclass(frozen=True, slots=True)
class GateFacts:
    """Everything that the gates look at. None means that it is not known.

    `backups`: newest snapshot first. `unclean_rows`: stored stages that are not canonical. `requests` and `unknown`: of
    the last UNKNOWN_WINDOW, the latter with at least one unknown stage. `instances`: None without a shared store.
    """

    now: datetime
    version: int
    ttl_seconds: float
    backups: tuple[BackupFact, ...] = ()
    unclean_rows: int | None = None
    requests: int = 0
    unknown: int = 0
    last_heartbeat_at: datetime | None = None
    shared_store: bool = False
    instances: tuple[InstanceFact, ...] | None = None
    last_automatic_downgrade_at: datetime | None = None


Gate = Callable[[GateFacts], GateVerdict]


def backup_valid(facts: GateFacts) -> GateVerdict:
    """A backup passed both checks, none failed since, its bytes are still there, and it is younger than an hour."""
    gate, cycle = "backup_valid", "manage.py backup_cycle"
    if not facts.backups:
        return GateVerdict(gate, GateOutcome.FAIL, "No backup was ever made.", remedy=cycle)
    valid = [each for each in facts.backups if each.valid]
    best = next(
        (each for each in valid if each.bytes in (Bytes.SAME, Bytes.TOUCHED)),
        (valid or facts.backups)[0],
    )
    age = (facts.now - best.snapshot_at).total_seconds()
    evidence = {
        "backup": best.name,
        "snapshot_at": best.snapshot_at,
        "age_seconds": round(age, 1),
        "bytes": best.bytes,
    }
    if not best.valid:
        return GateVerdict(
            gate, GateOutcome.FAIL, f"{best.reason}.", evidence, best.remedy or cycle
        )
    if best.bytes is Bytes.ELSEWHERE:
        sentence = (
            f"{best.name} lies on another host: this process cannot see whether it is still whole."
        )
        return GateVerdict(
            gate,
            GateOutcome.INCONCLUSIVE,
            sentence,
            evidence,
            "run the command on the host that keeps the backups",
        )
    if best.bytes in (Bytes.CHANGED, Bytes.MISSING):
        what = (
            "is no longer on disk"
            if best.bytes is Bytes.MISSING
            else "was changed on disk since its checks"
        )
        return GateVerdict(gate, GateOutcome.FAIL, f"{best.name} {what}.", evidence, cycle)
    if age < 0:
        sentence = (
            f"The snapshot of {best.name} lies {-age:.0f} s in the future: a clock was set back."
        )
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, cycle)
    if age >= BACKUP_MAX_AGE.total_seconds():
        sentence = f"The newest valid backup is {int(age)} s old, the limit is {BACKUP_MAX_AGE.total_seconds():.0f} s."
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, cycle)
    if best.bytes is Bytes.TOUCHED:
        sentence = f"{best.name} was touched on disk since its checks: it counts if its bytes are still the same."
        return GateVerdict(
            gate,
            GateOutcome.INCONCLUSIVE,
            sentence,
            evidence,
            f"manage.py verify_backup {best.name}",
        )
    return GateVerdict(
        gate,
        GateOutcome.PASS,
        f"{best.name} passed both checks and is {int(age)} s old.",
        evidence,
    )


def stored_stages_clean(facts: GateFacts) -> GateVerdict:
    """Every stored stage is canonical."""
    gate, evidence = "stored_stages_clean", {"unclean_rows": facts.unclean_rows}
    if facts.unclean_rows is None:
        sentence = "How many stored stages are not canonical is not known."
        return GateVerdict(
            gate,
            GateOutcome.INCONCLUSIVE,
            sentence,
            evidence,
            "manage.py normalize_stages --verify",
        )
    if facts.unclean_rows:
        least = "At least " if facts.unclean_rows >= UNCLEAN_COUNTED_TO else ""
        sentence = f"{least}{facts.unclean_rows:,} stored stages are not canonical."
        return GateVerdict(
            gate, GateOutcome.FAIL, sentence, evidence, "manage.py normalize_stages"
        )
    return GateVerdict(gate, GateOutcome.PASS, "Every stored stage is canonical.", evidence)


def unknown_rate(facts: GateFacts) -> GateVerdict:
    """Fewer than 0.5 % of at least 1,000 requests within 24 hours named a stage that nobody knows."""
    gate, remedy = "unknown_rate", "decide the unknown spellings on the rollout page of the admin"
    evidence = {
        "requests": facts.requests,
        "unknown": facts.unknown,
        "window_hours": UNKNOWN_WINDOW.total_seconds() / 3600,
    }
    if facts.requests < LEAST_REQUESTS:
        sentence = f"Only {facts.requests:,} requests gave stages within 24 hours; a rate needs {LEAST_REQUESTS:,}."
        return GateVerdict(
            gate, GateOutcome.INCONCLUSIVE, sentence, evidence, "wait for traffic in mode warn"
        )
    share = f"{facts.unknown:,} of {facts.requests:,} requests ({100 * facts.unknown / facts.requests:.2f} %)"
    # Whole numbers: exactly 0.5 % must not depend on rounding.
    if 1000 * facts.unknown >= MOST_UNKNOWN_PER_MILLE * facts.requests:
        return GateVerdict(
            gate,
            GateOutcome.FAIL,
            f"{share} named an unknown stage; the limit is below 0.5 %.",
            evidence,
            remedy,
        )
    return GateVerdict(gate, GateOutcome.PASS, f"{share} named an unknown stage.", evidence)


def alert_path_alive(facts: GateFacts) -> GateVerdict:
    """The watchdog alert came through lately: the automatic way back is open."""
    gate, last = "alert_path_alive", facts.last_heartbeat_at
    remedy = "see that Prometheus, Alertmanager and manage.py alertmanager_relay run"
    if last is None:
        sentence = (
            "No heartbeat ever came through the alert path: the automatic way back is not proven."
        )
        return GateVerdict(
            gate, GateOutcome.INCONCLUSIVE, sentence, {"last_heartbeat_at": None}, remedy
        )
    age = (facts.now - last).total_seconds()
    evidence = {"last_heartbeat_at": last, "age_seconds": round(age, 1)}
    if age > HEARTBEAT_MAX_AGE.total_seconds():
        sentence = (
            f"The last heartbeat of the alert path is {age / 60:.0f} min old, the limit is 15 min."
        )
        return GateVerdict(gate, GateOutcome.FAIL, sentence, evidence, remedy)
    return GateVerdict(
        gate, GateOutcome.PASS, f"The alert path proved itself {age:.0f} s ago.", evidence
    )


def instances_converged(facts: GateFacts) -> GateVerdict:
    """Every serving process works with the version that is to be changed."""
    gate, ttl = "instances_converged", f"{facts.ttl_seconds:g} s"
    if not facts.shared_store:
        sentence = (
            f"Without Redis every instance reads the database's version within {ttl} (the TTL)."
        )
        return GateVerdict(
            gate, GateOutcome.PASS, sentence, {"by": "ttl", "version": facts.version}
        )
    if not facts.instances:
        sentence = "No instance has reported which version it serves."
        return GateVerdict(
            gate,
            GateOutcome.INCONCLUSIVE,
            sentence,
            {"version": facts.version},
            "see that the service and Redis run",
        )
    behind = sorted(
        each.name
        for each in facts.instances
        if each.version != facts.version or each.age > facts.ttl_seconds
    )
    evidence = {"version": facts.version, "instances": len(facts.instances), "behind": behind}
    if behind:
        share = f"{len(behind)} of {len(facts.instances)}"
        sentence = f"{share} instances do not serve version {facts.version}: {', '.join(behind)}."
        return GateVerdict(
            gate, GateOutcome.FAIL, sentence, evidence, f"wait {ttl}, or restart those instances"
        )
    return GateVerdict(
        gate,
        GateOutcome.PASS,
        f"All {len(facts.instances)} instances serve version {facts.version}.",
        evidence,
    )


def cooldown(facts: GateFacts) -> GateVerdict:
    """The last automatic way back is half an hour ago."""
    gate, last = "cooldown", facts.last_automatic_downgrade_at
    if last is None:
        return GateVerdict(
            gate,
            GateOutcome.PASS,
            "Enforcement was never taken back automatically.",
            {"last": None},
        )
    age = (facts.now - last).total_seconds()
    evidence = {"last": last, "age_seconds": round(age, 1)}
    if age < COOLDOWN.total_seconds():
        left = COOLDOWN.total_seconds() - age
        sentence = f"Enforcement was taken back automatically {age / 60:.0f} min ago; the cause needs 30 min to be found."
        return GateVerdict(
            gate, GateOutcome.FAIL, sentence, evidence, f"find the cause; wait {left / 60:.0f} min"
        )
    return GateVerdict(
        gate,
        GateOutcome.PASS,
        f"The last automatic way back was {age / 3600:.1f} h ago.",
        evidence,
    )


GATES: Final[tuple[Gate, ...]] = (
    backup_valid, stored_stages_clean, unknown_rate, alert_path_alive, instances_converged, cooldown,
)  # fmt: skip


def examine(facts: GateFacts) -> list[GateVerdict]:
    """Ask every gate."""
    return [gate(facts) for gate in GATES]
