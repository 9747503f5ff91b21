"""Collects the facts that the gates examine.

They come from the database, the backup directory and, if there is one, the shared store (Redis).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from normalization import conf, instances, rollout_store
from normalization.models import RolloutChange
from normalization.redis_link import RedisUnavailable
from normalization.rollout import Mode, Rollout, with_mode
from ops import clock
from ops.alerts.models import DeliveryOutcome, WebhookDelivery, last_heartbeat_at
from ops.alerts.payload import DOWNGRADE_ALERT
from ops.backfill.stored import stored_stages
from ops.backups.history import gate_backups
from ops.gates.rules import GateFacts, InstanceFact
from ops.gates.traffic import enforced_traffic

AUTOMATIC: Final = ("alert", "guard")  # sources of a change that no person made

# Alertmanager repeats a firing alert at least this often (`repeat_interval` and a lost delivery).
ALERT_REPEATS: Final = timedelta(minutes=6)


def collect(version: int, asked: Rollout | None = None, *, read_files: bool = True) -> GateFacts:
    """Return the facts now. `version` is the rollout's version that the caller has read.

    `asked` is the rollout that the gates are to judge; without one it is the rollout in force, in
    mode `enforce`: the next step of somebody who only looks.

    Without `read_files` no backup file is read, which could take minutes: a file that changed
    since its checks is then `FileState.TOUCHED`.
    """
    now = clock.database_now()
    asked = asked or with_mode(rollout_store.newest().rollout, Mode.ENFORCE)
    return GateFacts(
        now=now,
        version=version,
        ttl_seconds=conf.ttl_seconds(),
        backups=tuple(gate_backups(read_files=read_files)),
        stored=stored_stages(),
        traffic=enforced_traffic(asked, now),
        last_heartbeat_at=last_heartbeat_at(),
        shared_store=conf.redis_configured(),
        instances=_instances(),
        last_automatic_downgrade_at=_last_automatic_downgrade_at(),
        alert_fires=_alert_fires(now),
    )


def _alert_fires(now: datetime) -> bool:
    """Whether the newest delivery about the downgrade alert, of the last minutes, was firing."""
    acts = (DeliveryOutcome.DOWNGRADED, DeliveryOutcome.ALREADY, DeliveryOutcome.IGNORED)
    newest = (
        WebhookDelivery.objects.filter(
            endpoint="auto-downgrade",
            outcome__in=acts,
            received_at__gt=now - ALERT_REPEATS,
            alert_names__contains=[DOWNGRADE_ALERT],
        )
        .order_by("-id")
        .first()
    )
    return newest is not None and newest.outcome != DeliveryOutcome.IGNORED


def _last_automatic_downgrade_at() -> datetime | None:
    change = (
        RolloutChange.objects.filter(source__in=AUTOMATIC, previous_mode=Mode.ENFORCE.value)
        .exclude(mode=Mode.ENFORCE.value)
        .order_by("-id")
        .first()
    )
    return change.created_at if change else None


def _instances() -> tuple[InstanceFact, ...] | None:
    if not conf.redis_configured():
        return None
    try:
        live = instances.live()
    except RedisUnavailable:
        return None
    return tuple(InstanceFact(f"{one.host}/{one.pid}", one.version, one.age) for one in live)
