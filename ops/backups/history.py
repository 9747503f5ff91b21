"""The validity of backups: their records and files, put to the rule of `ops.gates.backup_rule`.

A page and a scrape read no dump, and the files beside it only if those were touched; the gate also
reads a fresh dump that was touched.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from ops import clock
from ops.backups import archive, sidecar
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupFileMissing, BackupInvalid
from ops.backups.records import present
from ops.backups.source import DatabaseIdentity, own_identity
from ops.gates import rules
from ops.gates.backup_rule import (
    BACKUP_MAX_AGE,
    BackupFiles,
    BackupRecord,
    BackupValidity,
    CheckKind,
    CheckVerdict,
    FileState,
    by_records,
    validity,
)
from ops.gates.rules import GateFacts, GateOutcome, GateVerdict


@dataclass(frozen=True, slots=True)
class JudgedBackup:
    """A backup with its checks, oldest first, and its validity."""

    backup: Backup
    checks: list[BackupCheck]
    validity: BackupValidity

    @property
    def restore_seconds(self) -> float | None:
        """The expected restore time (RTO) in seconds, as the last passed drill measured it."""
        drill = self.last(CheckKind.RESTORE, CheckVerdict.PASSED)
        return None if drill is None else drill.seconds

    def last(self, kind: CheckKind, verdict: CheckVerdict | None = None) -> BackupCheck | None:
        """Return the last check of that kind, with that verdict if one is given."""
        for check in reversed(self.checks):
            if check.kind == kind and verdict in (None, check.verdict):
                return check
        return None


def judge(
    backup: Backup, own: DatabaseIdentity, now: datetime, *, read_files: bool = False
) -> JudgedBackup:
    """Return the backup with its validity for the database `own` at its time `now`.

    With `read_files`, a dump that was touched is read whole if it is fresh; for an older one the
    gate is closed anyway.
    """
    checks = sorted(backup.checks.all(), key=lambda check: check.pk)
    record = _record(backup, checks, own)
    files = None
    if by_records(record) is None:
        fresh = 0 <= (now - backup.snapshot_at).total_seconds() < BACKUP_MAX_AGE.total_seconds()
        files = files_on_disk(backup, checks, read=read_files and fresh)
    return JudgedBackup(backup, checks, validity(record, files, now))


def judged(*, read_files: bool = False) -> Iterator[JudgedBackup]:
    """Yield the backups of this database that were not pruned, newest snapshot first."""
    own, now = own_identity(), clock.database_now()
    for backup in _with_checks(present(own)):
        yield judge(backup, own, now, read_files=read_files)


def gate_backups(*, read_files: bool = True) -> Iterator[BackupValidity]:
    """Yield the backups that the gate needs, newest first; stop after one that decides."""
    limit = BACKUP_MAX_AGE.total_seconds()
    for each in judged(read_files=read_files):
        found = each.validity
        yield found
        too_old = found.valid is not False and found.age_seconds >= limit
        if too_old or rules.backup_outcome(found) is GateOutcome.PASS:
            return


def backup_verdict(*, read_files: bool = True) -> GateVerdict:
    """Return the verdict of the gate `backup_valid` now."""
    found = tuple(gate_backups(read_files=read_files))
    return rules.backup_valid(GateFacts(clock.database_now(), 0, 0.0, backups=found))


def newest_valid() -> JudgedBackup | None:
    """Return the newest backup that is valid as far as this process can see unread.

    A file that was touched, that is on another host or that this user may not read does not rule a
    backup out.
    """
    return next((each for each in judged() if each.validity.valid is not False), None)


def newest_valid_before(moment: datetime, own: DatabaseIdentity) -> Backup | None:
    """Return the newest backup of `own` before `moment` that is valid by its records."""
    for backup in _with_checks(present(own).filter(snapshot_at__lt=moment)):
        checks = sorted(backup.checks.all(), key=lambda check: check.pk)
        if by_records(_record(backup, checks, own)) is None:
            return backup
    return None


def files_on_disk(backup: Backup, checks: list[BackupCheck], *, read: bool) -> BackupFiles:
    """Compare the three files with those that passed the checks.

    Unchanged files are recognized by their stamps. The two small files beside the dump are read
    if they were touched. A dump that was touched is read, whole, if `read`; otherwise it is
    TOUCHED, unless its size gives a change away.
    """
    if elsewhere(backup):
        return BackupFiles(FileState.ELSEWHERE, f"on the host {backup.host}")
    try:
        with archive.opened(backup.path) as descriptor:
            return _compared(backup, descriptor, checks, read)
    except BackupFileMissing as fault:
        return BackupFiles(FileState.MISSING, str(fault))
    except BackupInvalid as fault:
        return BackupFiles(FileState.CHANGED, str(fault))
    except OSError as fault:
        return BackupFiles(FileState.UNREADABLE, archive.unreadable(fault, backup.path))


def elsewhere(backup: Backup) -> bool:
    """Whether the dump is not found here and was made on another host."""
    return backup.host != socket.gethostname() and not os.path.lexists(backup.path)


def _compared(
    backup: Backup, descriptor: int, checks: list[BackupCheck], read: bool
) -> BackupFiles:
    stamps = {
        check.stamp
        for check in checks
        if check.verdict == CheckVerdict.PASSED and check.sha256 == backup.sha256
    }
    if sidecar.stamp(descriptor, backup.path) in stamps:
        return BackupFiles(FileState.SAME)
    size = os.fstat(descriptor).st_size
    if size != backup.size:
        detail = f"it has {size:,} bytes instead of {backup.size:,}"
        return BackupFiles(FileState.CHANGED, detail)
    if sidecar.read(backup.path).sha256 != backup.sha256:
        return BackupFiles(FileState.CHANGED, "its record belongs to other bytes")
    # The stamp of the dump comes first; older releases recorded no other.
    if archive.stamp(descriptor) in {stamp.partition("/")[0] for stamp in stamps}:
        return BackupFiles(FileState.SAME)
    if not read:
        return BackupFiles(FileState.TOUCHED)
    if archive.sha256_of(descriptor) != backup.sha256:
        return BackupFiles(FileState.CHANGED, "its SHA-256 differs from the recorded one")
    return BackupFiles(FileState.SAME)


def _record(backup: Backup, checks: list[BackupCheck], own: DatabaseIdentity) -> BackupRecord:
    theirs = DatabaseIdentity(backup.system_identifier, backup.database, backup.database_oid)
    return BackupRecord(
        backup.name,
        backup.sha256,
        backup.snapshot_at,
        checks,
        pruned=backup.pruned_at is not None,
        foreign=theirs != own,
    )


def _with_checks(backups: QuerySet[Backup]) -> QuerySet[Backup]:
    return backups.defer("facts").prefetch_related("checks")
