"""What a genuine delivery does: at most `enforce → warn`, or one heartbeat. The only writers of the alert path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from normalization import rollout_store
from normalization.observations import printable
from normalization.rollout import without_enforcement
from ops.alerts.heartbeats import Heartbeat
from ops.alerts.metrics import Outcome
from ops.alerts.models import UsedSignature, WebhookDelivery
from ops.alerts.payload import Alert

log = structlog.get_logger(__name__)

ACTOR: Final = "alertmanager"
SOURCE: Final = "alert"
KEEP_USED: Final = timedelta(days=1)
LISTED_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Done:
    """What a delivery did, and the version of the rollout afterwards where it was looked at."""

    outcome: Outcome
    version: int | None = None


Deed = Callable[[Sequence[Alert]], Done]


def downgrade(alerts: Sequence[Alert], digest: str) -> Done:
    """Turn `enforce` into `warn` if one of the alerts asks for it; raise `django.db.Error` if it cannot be recorded."""
    return _once("auto-downgrade", alerts, digest, _flip)


def heartbeat(alerts: Sequence[Alert], digest: str) -> Done:
    """Record that the path is open if the watchdog is among the alerts; raise `django.db.Error` as `downgrade` does."""
    return _once("heartbeat", alerts, digest, _beat)


def _once(endpoint: str, alerts: Sequence[Alert], digest: str, deed: Deed) -> Done:
    """Do `deed` unless this signature has been used; signature, deed and ledger commit together.

    Two requests with one signature meet at its primary key: the second waits for the first to commit and then finds it.
    """
    try:
        with transaction.atomic():
            UsedSignature.objects.create(digest=digest)
            done = deed(alerts)
            _record(endpoint, alerts, done)
            UsedSignature.objects.filter(used_at__lt=timezone.now() - KEEP_USED).delete()
    except IntegrityError:
        if not UsedSignature.objects.filter(digest=digest).exists():
            raise
        done = Done(Outcome.REPEATED)
    log.info(
        "stage_webhook_delivery",
        endpoint=endpoint,
        outcome=done.outcome,
        version=done.version,
        alerts=_names(alerts),
    )
    return done


def _flip(alerts: Sequence[Alert]) -> Done:
    asking = next((alert for alert in alerts if alert.asks_to_downgrade), None)
    if asking is None:
        return Done(Outcome.IGNORED)
    result = rollout_store.change(
        without_enforcement,  # decided under the lock that change() holds, from the rollout in force there
        actor=ACTOR,
        source=SOURCE,
        reason=f"{asking.name} fires: more requests are rejected than the threshold allows.",
        evidence={"alert": asking.name, "fingerprint": asking.fingerprint},
    )
    return Done(Outcome.DOWNGRADED if result.changed else Outcome.ALREADY, result.version)


def _beat(alerts: Sequence[Alert]) -> Done:
    watchdog = next((alert for alert in alerts if alert.is_watchdog), None)
    if watchdog is None:
        return Done(Outcome.IGNORED)
    Heartbeat.objects.create(fingerprint=watchdog.fingerprint)
    return Done(Outcome.ALIVE)


def _record(endpoint: str, alerts: Sequence[Alert], done: Done) -> None:
    acting = next(
        (alert for alert in alerts if alert.asks_to_downgrade or alert.is_watchdog), None
    )
    shown = acting or next(iter(alerts), None)
    WebhookDelivery.objects.create(
        endpoint=endpoint,
        outcome=done.outcome,
        alert_names=_names(alerts),
        fingerprint=shown.fingerprint if shown else "",
        actor=ACTOR,
        version=done.version,
    )


def _names(alerts: Sequence[Alert]) -> list[str]:
    return [printable(alert.name) for alert in alerts[:LISTED_NAMES]]
