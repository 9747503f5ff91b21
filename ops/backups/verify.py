"""The first check: signature, identity, size and hash, all before anything parses the dump."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict

from ops.backups import archive, history, sidecar
from ops.backups.archive import Progress, silent
from ops.backups.comparison import fallen_below_floor
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import Bad, Check, NoVerdict
from ops.backups.records import Findings, judge
from ops.backups.sidecar import Sidecar
from ops.backups.source import own_identity


def verify(backup: Backup, progress: Progress = silent) -> BackupCheck:
    """Check that it is the very file that was made, of this database, not half of the one before; record it."""

    def examine(findings: Findings) -> None:
        with authenticated(backup, findings, progress) as (_, record):
            _require_rows(backup, record)
        findings.summary = f"{record.size:,} bytes with the signed hash"

    return judge(backup, Check.VERIFY, examine)


@contextlib.contextmanager
def authenticated(backup: Backup, findings: Findings, progress: Progress) -> Iterator[tuple[int, Sidecar]]:
    """Yield the open dump and its signed record once every byte is accounted for; raise `Bad` otherwise.

    Whoever reads on reads from the same open file: a name that is exchanged meanwhile changes nothing.
    """
    if backup.host != socket.gethostname() and not backup.path.parent.exists():
        raise NoVerdict(f"{backup.path.parent} is on the host {backup.host}: check it there")
    record = sidecar.read(backup.path)
    if record.identity != own_identity():
        theirs = record.identity
        raise Bad(f"it is a backup of another database ({theirs.database} of cluster {theirs.system_identifier})")
    with archive.opened(backup.path) as descriptor:
        findings.size = os.fstat(descriptor).st_size
        findings.stamp = archive.stamp(descriptor)
        if findings.size == 0:
            raise Bad("the file is empty")
        if findings.size != record.size:
            raise Bad(f"the file has {findings.size:,} bytes, its record says {record.size:,}")
        findings.sha256 = archive.sha256_of(descriptor, progress)
        if findings.sha256 != record.sha256:
            raise Bad(
                "the bytes on disk are not the ones that were written: their SHA-256 differs from the signed record"
            )
        if record.sha256 != backup.sha256:
            raise Bad("the dump and its record are not the ones that were made under this name")
        if os.pread(descriptor, len(archive.MAGIC), 0) != archive.MAGIC:
            raise Bad("the file is not a dump in PostgreSQL's custom format")
        yield descriptor, record


def _require_rows(backup: Backup, record: Sidecar) -> None:
    before = history.newest_valid(before=backup.snapshot_at)
    if before is None or record.fewer_rows_accepted:
        return
    if lost := fallen_below_floor(before.facts, asdict(record)["facts"]):
        raise Bad(
            f"{'; '.join(lost)}: half or more is gone. If that is meant: "
            "manage.py create_backup --accept-fewer-rows REASON"
        )
