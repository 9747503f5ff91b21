"""What the tables tell about backups: each one with its validity, and the newest that counts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime

from django.db.models import QuerySet

from ops.backups import archive
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import Bad, CheckKind, CheckVerdict
from ops.backups.records import present
from ops.backups.source import Identity
from ops.backups.validity import Validity, validity
from ops.clock import database_now
from ops.gates import rules
from ops.gates.rules import BackupFact, Bytes, GateFacts

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
        if check.kind == CheckKind.RESTORE and check.verdict == "passed"
    ]
    return passed[-1] if passed else None


def backup_verdict() -> rules.GateVerdict:
    """Return the verdict of the gate `backup_valid` now; it reads files that were touched."""
    facts = GateFacts(database_now(), 0, 0.0, backups=tuple(backup_facts()))
    return rules.backup_valid(facts)


def backup_facts(*, read_files: bool = True) -> Iterator[BackupFact]:
    """Yield the backups, newest first, up to the first that is valid and whole, or may be (see `collect`)."""
    for backup, state, checks in with_validity():
        found = bytes_on_disk(backup, checks, read_files) if state.valid else None
        yield BackupFact(
            backup.name, backup.snapshot_at, state.valid, state.reason, state.remedy, found
        )
        if found in (Bytes.SAME, Bytes.TOUCHED):
            return


def bytes_on_disk(backup: Backup, checks: list[BackupCheck], read: bool) -> Bytes:
    """Say whether the file still holds what was checked.

    An untouched file is known by its stamp. One that was touched, moved or rewritten is read again, whole, if `read`.
    """
    stamps = {
        check.stamp
        for check in checks
        if check.verdict == CheckVerdict.PASSED and check.sha256 == backup.sha256
    }
    try:
        with archive.opened(backup.path) as descriptor:
            if archive.stamp(descriptor) in stamps:
                return Bytes.SAME
            if not read:
                return Bytes.TOUCHED
            return Bytes.SAME if archive.sha256_of(descriptor) == backup.sha256 else Bytes.CHANGED
    except Bad:
        return Bytes.MISSING if backup.host == socket.gethostname() else Bytes.ELSEWHERE
    except OSError:
        return Bytes.CHANGED
