"""The first check: signature, identity, size and hash, all before anything parses the dump."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ops.backups import archive, history, sidecar
from ops.backups.comparison import fallen_below_floor
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import Bad, CheckKind, NoVerdict
from ops.backups.records import Findings, judge
from ops.backups.sidecar import Sidecar
from ops.backups.source import Identity, own_identity
from stagenorm.terminal import ReportProgress, no_progress


def verify(backup: Backup, progress: ReportProgress = no_progress) -> BackupCheck:
    """Check that it is the very file that was made, of this database, not half of the one before; record it."""

    def examine(findings: Findings) -> None:
        with authenticated(backup, findings, progress) as genuine:
            _require_rows(genuine)
            findings.summary = f"{genuine.record.size:,} bytes with the signed hash"

    return judge(backup, CheckKind.VERIFY, examine)


@dataclass(frozen=True, slots=True)
class Genuine:
    """A dump of which every byte is accounted for: still open, its signed record, and the valid backup before it."""

    descriptor: int
    record: Sidecar
    before: Backup | None


@contextlib.contextmanager
def authenticated(
    backup: Backup, findings: Findings, progress: ReportProgress
) -> Iterator[Genuine]:
    """Yield the dump once every byte is accounted for; raise `Bad` otherwise.

    Whoever reads on reads from the same open file: a name that is exchanged meanwhile changes nothing. The database is
    asked while the file is hashed, so that a small backup takes no longer than its hash either.
    """
    if backup.host != socket.gethostname() and not backup.path.parent.exists():
        raise NoVerdict(f"{backup.path.parent} is on the host {backup.host}: check it there")
    with archive.opened(backup.path) as descriptor:
        findings.size = os.fstat(descriptor).st_size
        findings.stamp = archive.stamp(descriptor)
        with archive.hashing(descriptor, progress) as sha256:
            record = sidecar.read(backup.path)
            if findings.size == 0:
                raise Bad("the file is empty")
            if findings.size != record.size:
                raise Bad(f"the file has {findings.size:,} bytes, its record says {record.size:,}")
            own = _require_own(record.identity)
            before = history.newest_valid_before(backup.snapshot_at, own)
            findings.sha256 = sha256.result()
        _require_bytes(descriptor, findings.sha256, record, backup)
        yield Genuine(descriptor, record, before)


def _require_own(theirs: Identity) -> Identity:
    own = own_identity()
    if theirs != own:
        raise Bad(
            f"it is a backup of another database ({theirs.database} of cluster {theirs.system_identifier})"
        )
    return own


def _require_bytes(descriptor: int, sha256: str, record: Sidecar, backup: Backup) -> None:
    if sha256 != record.sha256:
        raise Bad(
            "the bytes on disk are not the ones that were written: their SHA-256 differs from the signed record"
        )
    if record.sha256 != backup.sha256:
        raise Bad("the dump and its record are not the ones that were made under this name")
    if os.pread(descriptor, len(archive.MAGIC), 0) != archive.MAGIC:
        raise Bad("the file is not a dump in PostgreSQL's custom format")


def _require_rows(genuine: Genuine) -> None:
    if genuine.before is None or genuine.record.fewer_rows_accepted:
        return
    if lost := fallen_below_floor(genuine.before.facts, asdict(genuine.record)["facts"]):
        raise Bad(
            f"{'; '.join(lost)}: half or more is gone. If that is meant: "
            "manage.py create_backup --accept-fewer-rows REASON"
        )
