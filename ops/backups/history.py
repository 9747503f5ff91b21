"""What the tables tell about backups: each one with its validity, and the newest that counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import Check
from ops.backups.records import present
from ops.backups.validity import Validity, validity


def with_validity() -> Iterator[tuple[Backup, Validity, list[BackupCheck]]]:
    """Yield each backup of this database that was not pruned, newest first: its validity, its checks (oldest first)."""
    for backup in present().prefetch_related("checks"):
        checks = in_order(backup)
        yield backup, validity(backup.name, backup.sha256, checks), checks


def in_order(backup: Backup) -> list[BackupCheck]:
    """Return the checks of a backup, oldest first."""
    return sorted(backup.checks.all(), key=lambda check: check.pk)


def newest_valid(before: datetime | None = None) -> Backup | None:
    """Return the newest backup that counts (by its records), among those before a moment if one is given."""
    for backup, state, _ in with_validity():
        if state.valid and (before is None or backup.snapshot_at < before):
            return backup
    return None


def restore_seconds(checks: list[BackupCheck]) -> float | None:
    """Return how long the last passed restore took: the time to count on when it has to be done in earnest."""
    passed = [check.seconds for check in checks if check.kind == Check.RESTORE and check.verdict == "passed"]
    return passed[-1] if passed else None
