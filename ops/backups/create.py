"""Making a backup: dump and facts from one snapshot, published only when whole, recorded when published."""

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

from ops.backups import client_tools, dumping, sidecar, sweep
from ops.backups.archive import publish
from ops.backups.client_tools import Tools
from ops.backups.dumping import Counting, Dumped
from ops.backups.facts import Facts
from ops.backups.models import Backup
from ops.backups.outcomes import BackupFailed, BackupRefused
from ops.backups.records import actor, first_line, present, record_backup
from ops.backups.sidecar import Sidecar
from ops.backups.source import (
    Identity,
    Link,
    Source,
    one,
    require_dumping_role,
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
class Wish:
    """What was asked for: where to, whether fewer rows than before are meant, and the longest time for pg_dump."""

    directory: Path
    accept_fewer_rows: str = ""
    time_limit: float = TIME_LIMIT_SECONDS


def create(wish: Wish | None = None, progress: ReportProgress = no_progress) -> Backup:
    """Dump the database and record the backup. It counts only once both checks have passed.

    Raises `BackupRefused` before anything was begun, `BackupFailed` when the dump broke off: nothing was published.
    """
    wish = wish or Wish(settings.BACKUP_DIR)
    _prepare(wish.directory)
    database = source()
    try:
        with database.connect() as holder, database.connect(autocommit=False) as snapshot:
            identity = require_same_database(holder)
            require_dumping_role(holder)
            tools = client_tools.find(holder.info.server_version)
            if tools.warning:
                log.warning("stage_backup_tools_have_holes", warning=tools.warning)
            with alone(holder):
                sweep.forget_drafts(wish.directory)
                _require_room(wish.directory, holder)
                record = _dump(wish, database, snapshot, identity, tools, progress)
    except psycopg.Error as error:
        raise BackupFailed(
            f"The database did not let the backup end: {first_line(error)}"
        ) from error
    return record_backup(wish.directory, record)


@contextlib.contextmanager
def alone(holder: Link) -> Iterator[None]:
    """Make and prune backups one at a time. A killed creator's session ends, and gives the lock back."""
    if not one(holder.execute("SELECT pg_try_advisory_lock(%s)", [BACKUP_DIRECTORY]))[0]:
        other = holder.execute(OTHER_CREATOR, [BACKUP_DIRECTORY]).fetchone()
        who = f" by database session {other[0]}" if other else ""
        raise BackupRefused(
            f"Backups of this database are being made or pruned already{who}: wait for it to end."
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


def _require_room(directory: Path, holder: Link) -> None:
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
            f"{directory} has {free:,} bytes free, the backup may need {needed:,} ({why}): make room with "
            "manage.py prune_backups, or set BACKUP_DIR."
        )


def _dump(
    wish: Wish,
    database: Source,
    snapshot: Link,
    identity: Identity,
    tools: Tools,
    progress: ReportProgress,
) -> Sidecar:
    snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    snapshot.read_only = True
    # now() is the transaction's begin, before its snapshot is taken: the age can only be over-estimated.
    snapshot_at, exported = one(snapshot.execute("SELECT now(), pg_export_snapshot()"))
    target = wish.directory / _name(identity, snapshot_at)
    with dumping.draft(target.with_name(f"{target.name}.part")) as output:
        with Counting(snapshot) as counting:
            dumped = dumping.dump(
                tools, database, exported, output, counting.check, progress, wish.time_limit
            )
            progress("counting", dumped.size, dumped.size)
            facts = counting.result()
        record = _record(target.name, dumped, snapshot_at, identity, tools, snapshot, wish, facts)
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
    dumped: Dumped,
    snapshot_at: datetime,
    identity: Identity,
    tools: Tools,
    snapshot: Link,
    wish: Wish,
    facts: Facts,
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
        fewer_rows_accepted=wish.accept_fewer_rows,
        facts=facts,
    )


def _name(identity: Identity, snapshot_at: datetime) -> str:
    database = "".join(
        each if each.isalnum() or each in "-_" else "_" for each in identity.database
    )
    return f"{database}-{snapshot_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.dump"
