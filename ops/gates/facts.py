"""Collects the facts that the gates examine.

They come from the database, the backup directory and, if there is one, the shared store (Redis).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from normalization import conf, guard, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout, with_mode
from ops import clock
from ops.alerts.models import DeliveryOutcome, WebhookDelivery, last_heartbeat_at
from ops.alerts.payload import DOWNGRADE_ALERT
from ops.alerts.way_back import instance_facts
from ops.backfill.stored import stored_stages
from ops.backups.history import gate_backups
from ops.consumers import deciding
from ops.gates.rules import COOLDOWN, GateFacts
from ops.gates.traffic import SentTraffic, sent_lately
from ops.gates.traffic_rule import EnforcedTraffic

AUTOMATIC: Final = ("alert", "guard")  # sources of a change that no person made

# A firing alert is delivered again at least this often. alertmanager.yml repeats it every 30 s; an
# Alertmanager with an earlier configuration, every 5 minutes.
ALERT_REPEATS: Final = timedelta(minutes=6)
# A person may press "Back to warn" this long before the alert's first delivery arrives.
ALERT_FOLLOWS: Final = timedelta(minutes=1)
DELIVERIES_READ: Final = 200
FIRING: Final = (DeliveryOutcome.DOWNGRADED, DeliveryOutcome.ALREADY)


def collect(
    version: int,
    asked: Rollout | None = None,
    *,
    read_files: bool = True,
    sent: SentTraffic | None = None,
) -> GateFacts:
    """Return the facts now. `version` is the rollout's version that the caller has read.

    `asked` is the rollout that the gates are to judge; without one it is the rollout in force, in
    mode `enforce`: the next step.

    Without `read_files` no backup file is read, which could take minutes: a file that changed
    since its checks is then `FileState.TOUCHED`. `sent`: the requests that the caller has read.
    """
    now = clock.database_now()
    asked = asked or with_mode(rollout_store.newest().rollout, Mode.ENFORCE)
    return GateFacts(
        now=now,
        version=version,
        ttl_seconds=conf.ttl_seconds(),
        backups=tuple(gate_backups(read_files=read_files)),
        stored=stored_stages(),
        traffic=(sent or sent_lately(now)).enforced_by(asked),
        last_heartbeat_at=last_heartbeat_at(),
        shared_store=conf.redis_configured(),
        store=conf.shared_store(),
        expected_instances=conf.expected_instances(),
        instances=instance_facts(),
        last_automatic_downgrade_at=_last_downgrade_under_alert(now),
        alert_fires=_alert_fires(now),
        guard_sees=guard.rejects_above_limit(),
        consumers=deciding.newest(),
    )


def of_traffic(traffic: EnforcedTraffic, now: datetime) -> GateFacts:
    """Return the facts for a gate that judges requests alone."""
    return GateFacts(
        now=now,
        version=0,
        ttl_seconds=conf.ttl_seconds(),
        traffic=traffic,
        alert_fires=_alert_fires(now),
        guard_sees=guard.rejects_above_limit(),
    )


def _alert_fires(now: datetime) -> bool:
    """Whether the newest delivery about the downgrade alert, of the last minutes, was firing."""
    acts = (*FIRING, DeliveryOutcome.IGNORED)
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


def _last_downgrade_under_alert(now: datetime) -> datetime | None:
    """Return when enforcement was last taken back by alert or guard, or by a person meanwhile."""
    changes = RolloutChange.objects.filter(previous_mode=Mode.ENFORCE.value).exclude(
        mode=Mode.ENFORCE.value
    )
    automatic = changes.filter(source__in=AUTOMATIC).order_by("-id").first()
    by_hand = changes.exclude(source__in=AUTOMATIC).filter(created_at__gt=now - COOLDOWN)
    moments = [automatic.created_at] if automatic else []
    taken_back = list(by_hand.values_list("created_at", flat=True))
    fired = _fired_since(now - COOLDOWN - ALERT_REPEATS) if taken_back else []
    for moment in taken_back:
        if any(moment - ALERT_REPEATS < at < moment + ALERT_FOLLOWS for at in fired):
            moments.append(moment)
    return max(moments, default=None)


def _fired_since(moment: datetime) -> list[datetime]:
    """Return when a firing downgrade alert was delivered."""
    deliveries = WebhookDelivery.objects.filter(
        endpoint="auto-downgrade", outcome__in=FIRING, received_at__gt=moment
    )
    return list(deliveries.order_by("-id").values_list("received_at", flat=True)[:DELIVERIES_READ])
