"""Collects the facts that the gates examine.

They come from the database, the backup directory and, if there is one, the shared store (Redis).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import connection
from psycopg import sql

from normalization import conf, instances
from normalization.models import RolloutChange
from normalization.outcomes import WOULD_BE_REFUSED
from normalization.redis_link import RedisUnavailable
from normalization.rollout import Mode
from ops import clock
from ops.alerts.models import last_heartbeat_at
from ops.backfill.survey import unclean_rows
from ops.backups.history import gate_backups
from ops.gates.rules import UNKNOWN_WINDOW, GateFacts, InstanceFact

AUTOMATIC: Final = ("alert", "guard")  # sources of a change that no person made

REQUESTS_SINCE: Final = """
SELECT coalesce(sum(requests), 0)::bigint,
       coalesce(sum(requests) FILTER (WHERE {refused}), 0)::bigint
FROM normalization_outcometally
WHERE minute > %s
"""


def collect(version: int, *, read_files: bool = True) -> GateFacts:
    """Return the facts now. `version` is the rollout's version that the caller has read.

    Without `read_files` no backup file is read, which could take minutes: a file that changed
    since its checks is then `FileState.TOUCHED`.
    """
    now = clock.database_now()
    requests, unknown = _requests(now)
    return GateFacts(
        now=now,
        version=version,
        ttl_seconds=conf.ttl_seconds(),
        backups=tuple(gate_backups(read_files=read_files)),
        unclean_rows=_unclean_rows(),
        requests=requests,
        unknown=unknown,
        last_heartbeat_at=last_heartbeat_at(),
        shared_store=conf.redis_configured(),
        instances=_instances(),
        last_automatic_downgrade_at=_last_automatic_downgrade_at(),
    )


def _requests(now: datetime) -> tuple[int, int]:
    """Return the requests of UNKNOWN_WINDOW, and how many of them enforcement would refuse."""
    with connection.cursor() as cursor:
        statement = sql.SQL(REQUESTS_SINCE).format(refused=sql.SQL(WOULD_BE_REFUSED))
        cursor.execute(statement, [now - UNKNOWN_WINDOW])
        requests, refused = cursor.fetchone()
        return requests, refused


def _last_automatic_downgrade_at() -> datetime | None:
    change = (
        RolloutChange.objects.filter(source__in=AUTOMATIC, previous_mode=Mode.ENFORCE.value)
        .exclude(mode=Mode.ENFORCE.value)
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
        live = instances.live()
    except RedisUnavailable:
        return None
    return tuple(InstanceFact(f"{one.host}/{one.pid}", one.version, one.age) for one in live)
