"""The only place that writes records of backups: the row, then the ledger's line, then the log.

`ledger.jsonl` beside the backups has the same content as the tables, in case the tables are lost.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from ops.backups import archive, sidecar
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupInvalid, BackupRefused, CheckInconclusive
from ops.backups.sidecar import Sidecar
from ops.backups.source import DatabaseIdentity, own_identity
from ops.gates.backup_rule import CheckKind, CheckVerdict

log = structlog.get_logger(__name__)

LONG_SECONDS: Final = 30.0
LEDGER: Final = "ledger.jsonl"


@dataclass(slots=True)
class CheckFindings:
    """The measurements of a check so far; they are recorded even if it ends early."""

    sha256: str = ""
    size: int | None = None
    stamp: str = ""
    summary: str = ""
    target: str = ""


def record_backup(directory: Path, record: Sidecar) -> Backup:
    """Store the row of a published dump."""
    _reconnect_after(record.seconds)
    backup = Backup.objects.create(
        name=record.name,
        directory=str(directory),
        host=record.host,
        system_identifier=record.identity.system_identifier,
        database=record.identity.database,
        database_oid=record.identity.oid,
        snapshot_at=record.snapshot_at,
        size=record.size,
        sha256=record.sha256,
        facts={"tables": record.facts["tables"], "stages": record.facts["stages"]},
        seconds=record.seconds,
        created_by=record.created_by,
    )
    _append_to_ledger(
        directory,
        "backup",
        name=record.name,
        sha256=record.sha256,
        size=record.size,
        snapshot_at=record.snapshot_at,
    )
    log.info(
        "stage_backup_created",
        name=record.name,
        size=record.size,
        seconds=round(record.seconds, 3),
    )
    return backup


def record_check(
    backup: Backup, check: CheckKind, examine: Callable[[CheckFindings], None]
) -> BackupCheck:
    """Carry out one check, record its verdict and return the row.

    `examine` raises unless the backup passes.
    """
    findings, started = CheckFindings(), time.perf_counter()
    verdict, reason = examined(examine, findings, backup.path)
    _reconnect_after(time.perf_counter() - started)
    return append_check(
        BackupCheck(
            backup=backup,
            kind=check,
            verdict=verdict,
            reason=reason,
            sha256=findings.sha256,
            size=findings.size,
            stamp=findings.stamp,
            target=findings.target,
            seconds=time.perf_counter() - started,
            checked_by=actor(),
            host=socket.gethostname(),
        )
    )


def append_check(row: BackupCheck) -> BackupCheck:
    """Store the verdict of a check and return it with its time.

    Raises django.db.IntegrityError if a result with the same id is stored.
    """
    with transaction.atomic():
        row.save()
    name, passed = row.backup.name, row.verdict == CheckVerdict.PASSED
    found = {"check": str(row.kind), "verdict": str(row.verdict), "reason": row.reason}
    _append_to_ledger(
        Path(row.backup.directory),
        "check",
        name=name,
        **found,
        sha256=row.sha256,
        seconds=row.seconds,
    )
    say = log.info if passed else log.error
    say("stage_backup_checked", name=name, **found)
    return row


def examined(
    examine: Callable[[CheckFindings], None], findings: CheckFindings, path: Path
) -> tuple[CheckVerdict, str]:
    """Run `examine` on the dump at `path`; return the verdict and its reason."""
    try:
        examine(findings)
    except BackupInvalid as fault:
        return CheckVerdict.FAILED, str(fault)
    except (CheckInconclusive, BackupRefused) as fault:
        return CheckVerdict.ERROR, str(fault)
    except OSError as fault:
        return CheckVerdict.ERROR, archive.unreadable(fault, path)
    except (psycopg.Error, DatabaseFault) as fault:
        return CheckVerdict.ERROR, f"the database interrupted the check: {first_line(fault)}"
    return CheckVerdict.PASSED, findings.summary


def _reconnect_after(seconds: float) -> None:
    """Close a connection that was idle for long: a firewall may have dropped it."""
    if seconds > LONG_SECONDS and not connection.in_atomic_block:
        connection.close()


def find(name: str | None) -> Backup:
    """Return the backup with that file name or path, or the newest.

    Raises `BackupRefused` if there is none.

    A dump with a signed record but without a row (the database was restored) gets its row again.
    """
    if name is None:
        if newest := present().first():
            return newest
        raise BackupRefused("This database has no backup: manage.py create_backup")
    if known := Backup.objects.filter(name=Path(name).name).first():
        return known
    dump = Path(name) if Path(name).is_absolute() else settings.BACKUP_DIR / name
    try:
        return record_backup(dump.parent, sidecar.read(dump))
    except BackupInvalid as fault:
        raise BackupRefused(f"There is no backup {dump.name}: {fault}") from fault
    except OSError as fault:
        reason = archive.unreadable(fault, dump)
        raise BackupRefused(f"The backup {dump.name} cannot be read: {reason}.") from fault


def present(own: DatabaseIdentity | None = None) -> QuerySet[Backup]:
    """Return the backups of this database that were not pruned, newest first.

    `own` saves a query where the identity is known.
    """
    own = own or own_identity()
    return Backup.objects.filter(
        pruned_at__isnull=True,
        system_identifier=own.system_identifier,
        database=own.database,
        database_oid=own.oid,
    )


def record_pruned(backup: Backup) -> None:
    """Mark the backup as removed; its files are removed afterwards."""
    backup.pruned_at, backup.facts = timezone.now(), {}  # no later backup is compared with it
    backup.save(update_fields=["pruned_at", "facts"])
    _append_to_ledger(Path(backup.directory), "pruned", name=backup.name)


def actor() -> str:
    """Return the login name of who runs this."""
    return getpass.getuser()[:150]


def first_line(error: BaseException) -> str:
    """Return the first line of an error."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _append_to_ledger(directory: Path, event: str, **members: Any) -> None:
    """Add one line. A failure is logged, never raised: the table has the row already."""
    line = (
        json.dumps({"at": timezone.now().isoformat(), "event": event, **members}, default=str)
        + "\n"
    )
    try:
        descriptor = os.open(
            directory / LEDGER,
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        try:
            os.write(descriptor, line.encode())  # one write: lines of several processes do not mix
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("stage_backup_ledger_not_written", error=type(error).__name__)
