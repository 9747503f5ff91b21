"""Collects what the gates look at: from the database, the backup directory and the shared store, if there is one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import Q, Sum

from normalization import conf, instances
from normalization.models import OutcomeTally, RolloutChange
from normalization.redis_link import RedisUnavailable
from normalization.rollout import Mode
from ops.backfill.verify import unclean_rows
from ops.backups import archive, history
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import Bad, Verdict
from ops.gates import UNKNOWN_WINDOW, BackupFact, Bytes, Facts, InstanceFact
from ops.heartbeats import last_heartbeat_at

AUTOMATIC: Final = "alert"  # `source` of a change that the webhook made
UNKNOWN_OUTCOMES: Final = ("unknown", "rejected")


def collect(version: int, *, read_files: bool = True) -> Facts:
    """Return the facts now; `version` is the rollout's, as the caller has seen it.

    Without `read_files` no backup is read whole, however long that would take: one that was touched is called so.
    """
    now = database_now()
    requests, unknown = _requests(now)
    return Facts(
        now=now,
        version=version,
        ttl_seconds=conf.ttl_seconds(),
        backups=tuple(backup_facts(read_files=read_files)),
        unclean_rows=_unclean_rows(),
        requests=requests,
        unknown=unknown,
        last_heartbeat_at=last_heartbeat_at(),
        shared_store=conf.redis_configured(),
        instances=_instances(),
        last_automatic_downgrade_at=_last_automatic_downgrade_at(),
    )


def database_now() -> datetime:
    """Return the database's clock: the same that snapshots are dated by."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def backup_facts(*, read_files: bool = True) -> Iterator[BackupFact]:
    """Yield the backups, newest first, up to the first that is valid and whole, or may be (see `collect`)."""
    for backup, state, checks in history.with_validity():
        found = bytes_on_disk(backup, checks, read_files) if state.valid else None
        yield BackupFact(
            backup.name, backup.snapshot_at, state.valid, state.reason, state.mend, found
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
        if check.verdict == Verdict.PASSED and check.sha256 == backup.sha256
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


def _requests(now: datetime) -> tuple[int, int]:
    tallies = OutcomeTally.objects.filter(minute__gt=now - UNKNOWN_WINDOW)
    found = tallies.aggregate(
        all=Sum("requests"), unknown=Sum("requests", filter=Q(outcome__in=UNKNOWN_OUTCOMES))
    )
    return found["all"] or 0, found["unknown"] or 0


def _last_automatic_downgrade_at() -> datetime | None:
    change = (
        RolloutChange.objects.filter(source=AUTOMATIC, previous_mode=Mode.ENFORCE.value)
        .order_by("-id")
        .first()
    )
    return change.created_at if change else None


def _unclean_rows() -> int:
    return sum(rows for values in unclean_rows().values() for rows in values.values())


def _instances() -> tuple[InstanceFact, ...] | None:
    if not conf.redis_configured():
        return None
    try:
        return tuple(
            InstanceFact(f"{one.host}/{one.pid}", one.version, one.age) for one in instances.live()
        )
    except RedisUnavailable:
        return None
