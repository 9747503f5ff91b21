"""What a genuine delivery changes: the mode from `enforce` to `warn`, or one heartbeat.

`downgrade` and `heartbeat` are the only writers of the alert path. The webhook calls them after it
has verified the signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from normalization import rollout_store
from normalization.observations import printable
from normalization.rollout import without_enforcement
from ops.alerts.models import DeliveryOutcome, Heartbeat, UsedSignature, WebhookDelivery
from ops.alerts.payload import Alert

log = structlog.get_logger(__name__)

ACTOR: Final = "alertmanager"
SOURCE: Final = "alert"
KEEP_USED: Final = timedelta(days=1)
LISTED_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The outcome of a delivery, and the rollout's version afterwards if it was read."""

    outcome: DeliveryOutcome
    version: int | None = None


Action = Callable[[Sequence[Alert]], DeliveryResult]


def downgrade(alerts: Sequence[Alert], digest: str) -> DeliveryResult:
    """Turn `enforce` into `warn` if one of the alerts asks for it.

    `digest` identifies the signature. Raises `django.db.Error` if the result cannot be recorded.
    """
    return _once("auto-downgrade", alerts, digest, _take_back)


def heartbeat(alerts: Sequence[Alert], digest: str) -> DeliveryResult:
    """Record a heartbeat if the watchdog is among the alerts.

    `digest` identifies the signature. Raises `django.db.Error` if the result cannot be recorded.
    """
    return _once("heartbeat", alerts, digest, _record_heartbeat)


def _once(endpoint: str, alerts: Sequence[Alert], digest: str, act: Action) -> DeliveryResult:
    """Call `act` unless this signature has been used.

    The signature, the change and the ledger's row commit together. The primary key serializes two
    requests with one signature: the second waits for the first to commit and then finds its row.
    """
    try:
        with transaction.atomic():
            UsedSignature.objects.create(digest=digest)
            result = act(alerts)
            _record(endpoint, alerts, result)
            UsedSignature.objects.filter(used_at__lt=Now() - KEEP_USED).delete()
    except IntegrityError:
        if not UsedSignature.objects.filter(digest=digest).exists():
            raise
        result = DeliveryResult(DeliveryOutcome.REPEATED)
    log.info(
        "stage_webhook_delivery",
        endpoint=endpoint,
        outcome=result.outcome,
        version=result.version,
        alerts=_names(alerts),
    )
    return result


def _take_back(alerts: Sequence[Alert]) -> DeliveryResult:
    asking = next((alert for alert in alerts if alert.asks_to_downgrade), None)
    if asking is None:
        return DeliveryResult(DeliveryOutcome.IGNORED)
    change = rollout_store.change(
        without_enforcement,  # applied under the lock of change(), to the rollout in force there
        actor=ACTOR,
        source=SOURCE,
        reason=f"{asking.name} fires: more requests are rejected than the threshold allows.",
        evidence=_evidence(asking),
    )
    outcome = DeliveryOutcome.DOWNGRADED if change.changed else DeliveryOutcome.ALREADY
    return DeliveryResult(outcome, change.version)


def _evidence(alert: Alert) -> dict[str, str]:
    """Return what is recorded with the change. The measured value is in no other place."""
    given = {"summary": alert.summary, "starts_at": alert.starts_at}
    found = {name: text for name, text in given.items() if text}
    return {"alert": alert.name, "fingerprint": alert.fingerprint, **found}


def _record_heartbeat(alerts: Sequence[Alert]) -> DeliveryResult:
    watchdog = next((alert for alert in alerts if alert.is_watchdog), None)
    if watchdog is None:
        return DeliveryResult(DeliveryOutcome.IGNORED)
    Heartbeat.objects.create(fingerprint=watchdog.fingerprint)
    return DeliveryResult(DeliveryOutcome.ALIVE)


def _record(endpoint: str, alerts: Sequence[Alert], result: DeliveryResult) -> None:
    acting = (alert for alert in alerts if alert.asks_to_downgrade or alert.is_watchdog)
    shown = next(acting, alerts[0] if alerts else None)
    WebhookDelivery.objects.create(
        endpoint=endpoint,
        outcome=result.outcome,
        alert_names=_names(alerts),
        fingerprint=shown.fingerprint if shown else "",
        actor=ACTOR,
        version=result.version,
    )


def _names(alerts: Sequence[Alert]) -> list[str]:
    return [printable(alert.name) for alert in alerts[:LISTED_NAMES]]
