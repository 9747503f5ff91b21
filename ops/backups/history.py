"""What the tables tell about backups: each one with its validity, and the newest that counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import QuerySet

from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import Check
from ops.backups.records import present
from ops.backups.source import Identity
from ops.backups.validity import Validity, validity

Judged = tuple[Backup, Validity, list[BackupCheck]]


def with_validity() -> Iterator[Judged]:
    """Yield each backup of this database that was not pruned, newest first: its validity, its checks (oldest first)."""
    return _judged(present())


def _judged(backups: QuerySet[Backup]) -> Iterator[Judged]:
    for backup in backups.prefetch_related("checks"):
        checks = in_order(backup)
        yield backup, validity(backup.name, backup.sha256, checks), checks


def in_order(backup: Backup) -> list[BackupCheck]:
    """Return the checks of a backup, oldest first."""
    return sorted(backup.checks.all(), key=lambda check: check.pk)


def newest_valid() -> Backup | None:
    """Return the newest backup of this database that counts, by its records."""
    return _first_valid(present())


def newest_valid_before(moment: datetime, own: Identity) -> Backup | None:
    """Return the newest backup that counts among those of the database `own` with a snapshot older than `moment`."""
    return _first_valid(present(own).filter(snapshot_at__lt=moment))


def _first_valid(backups: QuerySet[Backup]) -> Backup | None:
    return next((backup for backup, state, _ in _judged(backups) if state.valid), None)


def restore_seconds(checks: list[BackupCheck]) -> float | None:
    """Return how long the last passed restore took: the time to count on when it has to be done in earnest."""
    passed = [
        check.seconds
        for check in checks
        if check.kind == Check.RESTORE and check.verdict == "passed"
    ]
    return passed[-1] if passed else None
