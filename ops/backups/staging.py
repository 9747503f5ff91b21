"""Drills on a staging server that does not reach production, and the recording of their results.

Three files of a backup are carried to staging, which checks the signature of the record with
production's verification key, restores the dump and writes a result that it signs with its own
key. `record_drill` on production reads the result. Neither side holds a secret of the other.
"""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from ops import clock
from ops.backups import archive, signing
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupInvalid, BackupRefused
from ops.backups.records import CheckFindings, actor, append_check, examined, present
from ops.backups.restore import TIME_LIMIT_SECONDS, drill
from ops.backups.sidecar import Sidecar
from ops.backups.signing import SignatureRejected
from ops.backups.source import DatabaseIdentity, Source, own_identity
from ops.backups.verify import signed_dump
from ops.gates.backup_rule import CheckKind, CheckVerdict
from stagenorm.terminal import ReportProgress, no_progress

FORMAT: Final = "stagenorm-drill/1"
MAX_AGE: Final = timedelta(hours=24)
CLOCK_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class DrillResult:
    """The verdict of one drill on staging, about the bytes with `sha256`.

    `identity` is the database of the backup; `started_at` is the time of the staging machine.
    """

    id: uuid.UUID
    name: str
    sha256: str
    size: int
    identity: DatabaseIdentity
    verdict: CheckVerdict
    reason: str
    target: str
    seconds: float
    started_at: datetime
    host: str
    checked_by: str

    def write(self, file: Path) -> None:
        """Write the result, signed with this installation's key, durably."""
        document = {
            **asdict(self),
            "format": FORMAT,
            "id": str(self.id),
            "verdict": self.verdict.value,
            "started_at": self.started_at.isoformat(),
        }
        content = json.dumps(signing.signed(document), indent=1, sort_keys=True)
        archive.write_durably(file, f"{content}\n".encode())


def drill_copy(
    dump: Path,
    into: Source,
    *,
    time_limit: float = TIME_LIMIT_SECONDS,
    progress: ReportProgress = no_progress,
) -> DrillResult:
    """Restore a carried backup on the server `into` and compare it with its signed record.

    No other database is used. Raises `BackupRefused` if the files are not those that an
    installation of BACKUP_VERIFICATION_KEYS signed. The backup then has no verdict.
    """
    trusted = settings.BACKUP_VERIFICATION_KEYS
    if not trusted:
        raise BackupRefused(
            "BACKUP_VERIFICATION_KEYS is not set: give the key that manage.py backup_key prints "
            "on the installation that made the backup."
        )
    records: list[Sidecar] = []

    def examine(findings: CheckFindings) -> None:
        with signed_dump(dump, findings, progress, trusted=trusted) as (descriptor, record):
            records.append(record)
            drill(findings, descriptor, record, into, time_limit, progress)

    findings, started_at, started = CheckFindings(), timezone.now(), time.perf_counter()
    verdict, reason = examined(examine, findings, dump)
    if not records:
        raise BackupRefused(f"{dump.name} was not restored: {reason}.")
    return DrillResult(
        id=uuid.uuid4(),
        name=records[0].name,
        sha256=findings.sha256,
        size=records[0].size,
        identity=records[0].identity,
        verdict=verdict,
        reason=reason,
        target=findings.target,
        seconds=time.perf_counter() - started,
        started_at=started_at,
        host=socket.gethostname(),
        checked_by=actor(),
    )


def read_result(file: Path, trusted: Collection[str]) -> DrillResult:
    """Return the result in `file`.

    Raises `BackupRefused` if it is missing, malformed, or not signed with a trusted key.
    """
    try:
        document = archive.read_json(file)
        members = signing.verified(document, trusted)
    except BackupInvalid as fault:
        raise BackupRefused(f"The result cannot be recorded: {fault}.") from fault
    except SignatureRejected as fault:
        raise BackupRefused(
            f"The signature of {file.name} does not fit: {fault} (BACKUP_DRILL_KEYS)."
        ) from fault
    if members.pop("format", None) != FORMAT:
        raise BackupRefused(f"{file.name} is not a drill result of format {FORMAT}.")
    return _parsed(members, file.name)


def record_result(file: Path) -> BackupCheck:
    """Record the verdict of a drill on staging and return its row.

    Raises `BackupRefused` unless a staging server of BACKUP_DRILL_KEYS signed it, it is about a
    backup of this database with the recorded SHA-256, it is current and was not recorded before.
    """
    if not settings.BACKUP_DRILL_KEYS:
        raise BackupRefused(
            "BACKUP_DRILL_KEYS is not set: give the key that manage.py backup_key prints on the "
            "staging server."
        )
    result = read_result(file, settings.BACKUP_DRILL_KEYS)
    backup = _backup_of(result)
    _require_current(result, backup)
    check = BackupCheck(
        backup=backup,
        kind=CheckKind.RESTORE,
        verdict=result.verdict,
        reason=f"{result.reason}; on staging, recorded by {actor()}",
        sha256=result.sha256,
        size=result.size,
        target=result.target,
        result_id=result.id,
        seconds=result.seconds,
        checked_by=result.checked_by,
        host=result.host,
    )
    try:
        return append_check(check)
    except IntegrityError as error:
        raise _recorded_before(result) from error


def _backup_of(result: DrillResult) -> Backup:
    own = own_identity()
    if result.identity != own:
        theirs = result.identity
        raise BackupRefused(
            f"The result is about a backup of another database ({theirs.database} of cluster "
            f"{theirs.system_identifier})."
        )
    backup = present(own).filter(name=result.name).first()
    if backup is None:
        raise BackupRefused(f"This database has no backup {result.name}, or it was removed.")
    if result.sha256 != backup.sha256:
        raise BackupRefused(f"The result is about other bytes than those of {result.name}.")
    return backup


def _require_current(result: DrillResult, backup: Backup) -> None:
    """Raise `BackupRefused` for a result that was recorded, is too old, or was overtaken.

    A drill that started before a failed check proves nothing about the state after it.
    """
    if BackupCheck.objects.filter(result_id=result.id).exists():
        raise _recorded_before(result)
    age = clock.database_now() - result.started_at
    if age > MAX_AGE:
        hours = MAX_AGE.total_seconds() / 3600
        raise BackupRefused(
            f"The result has expired: the drill started {age.total_seconds() / 3600:.0f} hours "
            f"ago, the limit is {hours:.0f}."
        )
    if age < -CLOCK_SKEW:
        raise BackupRefused(
            f"The drill starts {-age.total_seconds():.0f} s in the future: "
            "set the clock of the staging server."
        )
    failed = backup.checks.filter(
        verdict=CheckVerdict.FAILED, checked_at__gt=result.started_at
    ).first()
    if failed is not None:
        raise BackupRefused(
            f"{backup.name} failed {failed.kind} after this drill started: drill it again."
        )


def _recorded_before(result: DrillResult) -> BackupRefused:
    return BackupRefused(f"The result {result.id} was recorded before; it counts once.")


def _parsed(members: dict[str, Any], name: str) -> DrillResult:
    try:
        return DrillResult(
            **{
                **members,
                "id": uuid.UUID(members["id"]),
                "identity": DatabaseIdentity(**members["identity"]),
                "verdict": CheckVerdict(members["verdict"]),
                "started_at": datetime.fromisoformat(members["started_at"]).astimezone(UTC),
            }
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BackupRefused(f"{name} is malformed: {error}.") from error
