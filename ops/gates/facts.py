"""Collects what the gates look at: from the database, the backup directory and the shared store, if there is one."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db.models import Q, Sum

from normalization import conf, instances
from normalization.models import OutcomeTally, RolloutChange
from normalization.redis_link import RedisUnavailable
from normalization.rollout import Mode
from ops.alerts.heartbeats import last_heartbeat_at
from ops.backfill.survey import unclean_rows
from ops.backups.history import backup_facts
from ops.clock import database_now
from ops.gates.rules import UNKNOWN_WINDOW, GateFacts, InstanceFact

AUTOMATIC: Final = "alert"  # `source` of a change that the webhook made
UNKNOWN_OUTCOMES: Final = ("unknown", "rejected")


def collect(version: int, *, read_files: bool = True) -> GateFacts:
    """Return the facts now; `version` is the rollout's, as the caller has seen it.

    Without `read_files` no backup is read whole, however long that would take: one that was touched is called so.
    """
    now = database_now()
    requests, unknown = _requests(now)
    return GateFacts(
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
