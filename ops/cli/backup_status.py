"""The state of all backups for a person or a program: which count, how old they are, how long a restore takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.backups import history
from ops.backups.history import backup_verdict
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import CheckKind
from ops.backups.validity import Validity
from ops.clock import database_now
from ops.gates.rules import GateOutcome, GateVerdict


@dataclass(frozen=True, slots=True)
class Line:
    """One backup. `restore_seconds`: how long its last passed drill took, all in all."""

    backup: Backup
    age_seconds: float
    validity: Validity
    verify: str
    restore: str
    restore_seconds: float | None

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.backup.name,
            "directory": self.backup.directory,
            "snapshot_at": self.backup.snapshot_at.isoformat(),
            "age_seconds": round(self.age_seconds, 1),
            "size": self.backup.size,
            "sha256": self.backup.sha256,
            "seconds": round(self.backup.seconds, 3),
            "verify": self.verify,
            "restore": self.restore,
            "restore_seconds": self.restore_seconds,
            "valid": self.validity.valid,
            "reason": self.validity.reason,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """All backups, newest first, and what the gate says of them."""

    lines: list[Line]
    verdict: GateVerdict

    @property
    def fresh(self) -> bool:
        """Whether a valid backup is younger than the limit."""
        return self.verdict.outcome is GateOutcome.PASS

    @property
    def restore_seconds(self) -> float | None:
        """The measured restore time to count on (RTO): of the newest backup that has one."""
        return next(
            (line.restore_seconds for line in self.lines if line.restore_seconds is not None), None
        )


def status() -> Status:
    """Return the state of the backups of this database."""
    now = database_now()
    lines = [_line(now, *each) for each in history.with_validity()]
    return Status(lines, backup_verdict())


def _line(now: datetime, backup: Backup, state: Validity, checks: list[BackupCheck]) -> Line:
    last = {check.kind: str(check.verdict) for check in checks}
    return Line(
        backup,
        (now - backup.snapshot_at).total_seconds(),
        state,
        last.get(CheckKind.VERIFY, "never"),
        last.get(CheckKind.RESTORE, "never"),
        history.restore_seconds(checks),
    )
