"""Makes a backup: dump and facts of one snapshot, published when whole and then recorded."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
import structlog
from django.conf import settings

from ops.backups import archive, children, dumping, sidecar
from ops.backups.archive import publish
from ops.backups.children import ClientTools
from ops.backups.dumping import DumpResult, SnapshotCount
from ops.backups.facts import SnapshotFacts
from ops.backups.models import Backup
from ops.backups.outcomes import BackupFailed, BackupRefused
from ops.backups.records import actor, first_line, present, record_backup
from ops.backups.sidecar import Sidecar
from ops.backups.source import (
    DatabaseIdentity,
    Source,
    SourceConnection,
    one,
    require_dumping_role,
    require_primary,
    require_same_database,
    source,
)
from stagenorm.locks import BACKUP_DIRECTORY
from stagenorm.terminal import ReportProgress, no_progress

log = structlog.get_logger(__name__)

TIME_LIMIT_SECONDS: Final = 3600.0
OTHER_CREATOR: Final = """
SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND (l.classid::bigint << 32 | l.objid::bigint) = %s
"""


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """What to make.

    `accept_fewer_rows` is the reason to accept fewer rows, "" for none; `time_limit` is pg_dump's,
    in seconds.
    """

    directory: Path
    accept_fewer_rows: str = ""
    time_limit: float = TIME_LIMIT_SECONDS


def create(request: BackupRequest | None = None, progress: ReportProgress = no_progress) -> Backup:
    """Dump the database and record the backup. It is valid once both checks have passed.

    Raises `BackupRefused` before anything is started, and `BackupFailed` if the dump stops;
    nothing is published then.
    """
    request = request or BackupRequest(settings.BACKUP_DIR)
    _prepare(request.directory)
    database = source()
    try:
        with database.connect() as holder, database.connect(autocommit=False) as snapshot:
            require_primary(holder)
            identity = require_same_database(holder)
            require_dumping_role(holder)
            tools = children.find_tools(holder.info.server_version)
            if tools.warning:
                log.warning("stage_backup_tools_have_holes", warning=tools.warning)
            with alone(holder):
                archive.sweep_drafts(request.directory)
                require_room(request.directory, holder)
                record = _dump(request, database, snapshot, identity, tools, progress)
    except psycopg.Error as error:
        raise BackupFailed(f"The database interrupted the backup: {first_line(error)}") from error
    return record_backup(request.directory, record)


@contextlib.contextmanager
def alone(holder: SourceConnection) -> Iterator[None]:
    """Hold the lock under which backups are made and pruned; raise `BackupRefused` if it is taken.

    The session of a killed process ends and releases the lock.
    """
    if not one(holder.execute("SELECT pg_try_advisory_lock(%s)", [BACKUP_DIRECTORY]))[0]:
        other = holder.execute(OTHER_CREATOR, [BACKUP_DIRECTORY]).fetchone()
        who = f"Database session {other[0]}" if other else "Another process"
        raise BackupRefused(
            f"{who} is making or pruning backups of this database: wait until it has ended."
        )
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):
            holder.execute("SELECT pg_advisory_unlock(%s)", [BACKUP_DIRECTORY])


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupRefused(
            f"The directory {directory} cannot be made ({error.strerror}): set BACKUP_DIR."
        ) from error


def require_room(directory: Path, holder: SourceConnection) -> int:
    """Return the free bytes of `directory`; raise `BackupRefused` if a backup may not fit."""
    last = present().first()
    if last is not None:
        needed, why = int(last.size * 1.25), "the last backup and a quarter"
    else:
        needed, why = (
            one(holder.execute("SELECT pg_database_size(current_database())"))[0],
            "the database's size",
        )
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise BackupRefused(
            f"{directory} has {free:,} bytes free, the backup may need {needed:,} ({why}): "
            "make room with manage.py prune_backups, or set BACKUP_DIR."
        )
    return free


def _dump(
    request: BackupRequest,
    database: Source,
    snapshot: SourceConnection,
    identity: DatabaseIdentity,
    tools: ClientTools,
    progress: ReportProgress,
) -> Sidecar:
    snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    snapshot.read_only = True
    # now() is the transaction's begin, before its snapshot is taken: the age can only be
    # over-estimated.
    snapshot_at, exported = one(snapshot.execute("SELECT now(), pg_export_snapshot()"))
    target = request.directory / _name(identity, snapshot_at)
    with dumping.draft(target.with_name(f"{target.name}.part")) as output:
        with SnapshotCount(snapshot) as counting:
            dumped = dumping.dump(
                tools, database, exported, output, counting.check, progress, request.time_limit
            )
            progress("counting", dumped.size, dumped.size)
            facts = counting.result()
        record = _record(
            target.name, dumped, snapshot_at, identity, tools, snapshot, request, facts
        )
        _publish(target, record)
    return record


def _publish(target: Path, record: Sidecar) -> None:
    publish(target.with_name(f"{target.name}.part"), target)
    try:
        record.write(target)
    except OSError:
        for part in (target, sidecar.hash_file(target), sidecar.record_file(target)):
            part.unlink(missing_ok=True)
        raise


def _record(
    name: str,
    dumped: DumpResult,
    snapshot_at: datetime,
    identity: DatabaseIdentity,
    tools: ClientTools,
    snapshot: SourceConnection,
    request: BackupRequest,
    facts: SnapshotFacts,
) -> Sidecar:
    return Sidecar(
        name=name,
        size=dumped.size,
        sha256=dumped.sha256,
        snapshot_at=snapshot_at.astimezone(UTC),
        identity=identity,
        server_version=snapshot.info.server_version,
        client_version=".".join(map(str, tools.version)),
        host=socket.gethostname(),
        created_by=actor(),
        seconds=dumped.seconds,
        fewer_rows_accepted=request.accept_fewer_rows,
        facts=facts,
        encoding=snapshot.info.parameter_status("server_encoding") or "",
    )


def _name(identity: DatabaseIdentity, snapshot_at: datetime) -> str:
    database = "".join(
        each if each.isalnum() or each in "-_" else "_" for each in identity.database
    )
    return f"{database}-{snapshot_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.dump"
