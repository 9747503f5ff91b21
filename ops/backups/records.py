"""The one place that writes what is known about backups: the row, then the ledger's line, then the log."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import structlog
from django.conf import settings
from django.db import Error as DatabaseFault
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from ops.backups import ledger, sidecar
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupRefused, Bad, CheckKind, CheckVerdict, NoVerdict
from ops.backups.sidecar import Sidecar
from ops.backups.source import Identity, own_identity

log = structlog.get_logger(__name__)

LONG_SECONDS: Final = 30.0


@dataclass(slots=True)
class Findings:
    """What a check has measured so far; kept also when it ends early."""

    sha256: str = ""
    size: int | None = None
    stamp: str = ""
    summary: str = ""


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
    ledger.append(
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


def judge(backup: Backup, check: CheckKind, examine: Callable[[Findings], None]) -> BackupCheck:
    """Carry out one check and record its verdict, whatever it is; the recorded row is the result."""
    findings, started = Findings(), time.perf_counter()
    verdict, reason = _verdict(examine, findings)
    _reconnect_after(time.perf_counter() - started)
    row = BackupCheck.objects.create(
        backup=backup,
        kind=check,
        verdict=verdict,
        reason=reason,
        sha256=findings.sha256,
        size=findings.size,
        stamp=findings.stamp,
        seconds=time.perf_counter() - started,
        checked_by=actor(),
        host=socket.gethostname(),
    )
    ledger.append(
        Path(backup.directory),
        "check",
        name=backup.name,
        check=check,
        verdict=verdict,
        reason=reason,
        sha256=findings.sha256,
        seconds=row.seconds,
    )
    say = log.info if verdict is CheckVerdict.PASSED else log.error
    say(
        "stage_backup_checked",
        name=backup.name,
        check=str(check),
        verdict=str(verdict),
        reason=reason,
    )
    return row


def _verdict(examine: Callable[[Findings], None], findings: Findings) -> tuple[CheckVerdict, str]:
    try:
        examine(findings)
    except Bad as fault:
        return CheckVerdict.FAILED, str(fault)
    except (NoVerdict, BackupRefused) as fault:
        return CheckVerdict.ERROR, str(fault)
    except OSError as fault:
        return CheckVerdict.ERROR, f"the file could not be read: {fault.strerror or fault}"
    except (psycopg.Error, DatabaseFault) as fault:
        return CheckVerdict.ERROR, f"the database did not let the check end: {first_line(fault)}"
    return CheckVerdict.PASSED, findings.summary


def _reconnect_after(seconds: float) -> None:
    """Leave a connection that was idle for long: something on its way may have forgotten it."""
    if seconds > LONG_SECONDS and not connection.in_atomic_block:
        connection.close()


def find(name: str | None) -> Backup:
    """Return the backup with that file name (a path is fine), or the newest; raise `BackupRefused` if there is none.

    A dump that lies there with its signed record but has no row (the database was restored) gets its row again.
    """
    if name is None:
        if newest := present().first():
            return newest
        raise BackupRefused("No backup was ever made of this database: manage.py create_backup")
    if known := Backup.objects.filter(name=Path(name).name).first():
        return known
    dump = Path(name) if Path(name).is_absolute() else settings.BACKUP_DIR / name
    try:
        return record_backup(dump.parent, sidecar.read(dump))
    except (Bad, OSError) as fault:
        raise BackupRefused(
            f"No backup is known by the name {Path(name).name}: {fault}"
        ) from fault


def present(own: Identity | None = None) -> QuerySet[Backup]:
    """Backups of this very database (`own`, where it is known already) that were not pruned, newest snapshot first."""
    own = own or own_identity()
    return Backup.objects.filter(
        pruned_at__isnull=True,
        system_identifier=own.system_identifier,
        database=own.database,
        database_oid=own.oid,
    )


def record_pruned(backup: Backup) -> None:
    """Mark the backup as taken away; its files are removed afterwards."""
    backup.pruned_at, backup.facts = timezone.now(), {}  # nothing is compared with it any more
    backup.save(update_fields=["pruned_at", "facts"])
    ledger.append(Path(backup.directory), "pruned", name=backup.name)


def actor() -> str:
    """Who runs this: the login name."""
    return getpass.getuser()[:150]


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without what follows it."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
