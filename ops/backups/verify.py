"""The first check: signature, identity, size and hash, all before any program parses the dump."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.backups import archive, history, sidecar
from ops.backups.facts import fallen_below_floor
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupInvalid, CheckInconclusive
from ops.backups.records import CheckFindings, record_check
from ops.backups.sidecar import Sidecar
from ops.backups.source import DatabaseIdentity, own_identity
from ops.gates.backup_rule import CheckKind
from stagenorm.terminal import ReportProgress, no_progress


def verify(backup: Backup, progress: ReportProgress = no_progress) -> BackupCheck:
    """Check that the backup is the file that was made, and record the verdict."""

    def examine(findings: CheckFindings) -> None:
        with authenticated(backup, findings, progress) as authentic:
            _require_rows(authentic)
            findings.summary = f"{authentic.record.size:,} bytes with the signed hash"

    return record_check(backup, CheckKind.VERIFY, examine)


@dataclass(frozen=True, slots=True)
class AuthenticDump:
    """A dump with the signed hash: its open file, its record, and the valid backup before it."""

    descriptor: int
    record: Sidecar
    before: Backup | None


@contextlib.contextmanager
def authenticated(
    backup: Backup, findings: CheckFindings, progress: ReportProgress
) -> Iterator[AuthenticDump]:
    """Yield the dump of a recorded backup once its signature, identity, size and hash are right.

    The queries run while the file is hashed, so that they take no extra time. Raises
    `BackupInvalid`, `CheckInconclusive` and OSError.
    """
    before: list[Backup | None] = []

    def examine(record: Sidecar) -> None:
        own = _require_own(record.identity)
        before.append(history.newest_valid_before(backup.snapshot_at, own))

    if history.elsewhere(backup):
        raise CheckInconclusive(
            f"{backup.path.parent} is on the host {backup.host}: check it there"
        )
    with signed_dump(backup.path, findings, progress, examine=examine) as (descriptor, record):
        if record.sha256 != backup.sha256:
            raise BackupInvalid("dump and record are not the ones that were made under this name")
        yield AuthenticDump(descriptor, record, before[0])


@contextlib.contextmanager
def signed_dump(
    dump: Path,
    findings: CheckFindings,
    progress: ReportProgress,
    *,
    trusted: Collection[str] = (),
    examine: Callable[[Sidecar], None] = lambda _: None,
) -> Iterator[tuple[int, Sidecar]]:
    """Yield the open file `dump` and its record once signature, size and hash are right.

    `trusted` as in `sidecar.read`. `examine` looks at the record while the file is hashed. Keep
    using the yielded descriptor; replacing the file has no effect on it. Raises `BackupInvalid`,
    `CheckInconclusive`, OSError, and what `examine` raises.
    """
    with archive.opened(dump) as descriptor:
        findings.size = os.fstat(descriptor).st_size
        findings.stamp = sidecar.stamp(descriptor, dump)
        with archive.hashing(descriptor, progress) as sha256:
            record = sidecar.read(dump, trusted)
            _require_size(findings.size, record)
            examine(record)
            findings.sha256 = sha256.result()
        _require_bytes(descriptor, findings.sha256, record)
        yield descriptor, record


def _require_size(size: int, record: Sidecar) -> None:
    if size == 0:
        raise BackupInvalid("the file is empty")
    if size != record.size:
        raise BackupInvalid(f"the file has {size:,} bytes instead of {record.size:,}")


def _require_own(theirs: DatabaseIdentity) -> DatabaseIdentity:
    own = own_identity()
    if theirs != own:
        raise BackupInvalid(
            f"it is a backup of another database "
            f"({theirs.database} of cluster {theirs.system_identifier})"
        )
    return own


def _require_bytes(descriptor: int, sha256: str, record: Sidecar) -> None:
    if sha256 != record.sha256:
        raise BackupInvalid(
            "the bytes on disk are not the ones that were written: "
            "their SHA-256 differs from the signed record"
        )
    if os.pread(descriptor, len(archive.MAGIC), 0) != archive.MAGIC:
        raise BackupInvalid("the file is not a dump in PostgreSQL's custom format")


def _require_rows(authentic: AuthenticDump) -> None:
    if authentic.before is None or authentic.record.fewer_rows_accepted:
        return
    lost = fallen_below_floor(authentic.before.facts, asdict(authentic.record)["facts"])
    if lost:
        raise BackupInvalid(
            f"{'; '.join(lost)}: half or more is gone. If that is intended: "
            "manage.py create_backup --accept-fewer-rows REASON"
        )
