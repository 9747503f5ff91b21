"""Webhook deliveries as Alertmanager writes them, signed as the relay and Grafana sign."""

from __future__ import annotations

import json
import time
from typing import Any

from django.conf import settings

from ops.alerts.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

PATH = "/_ops/stage-validation/auto-downgrade"
HEARTBEAT = "/_ops/stage-validation/heartbeat"


def alert(
    name: str = "StageRejectRateHigh", status: str = "firing", **labels: str
) -> dict[str, Any]:
    """One alert of a delivery."""
    action = {"stagenorm_action": "auto_downgrade"} if name == "StageRejectRateHigh" else {}
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "page", **action, **labels},
        "annotations": {"summary": "More than 5 % of requests are rejected & <it hurts>"},
        "startsAt": "2026-11-24T10:00:00.000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://127.0.0.1:9090/graph?g0.expr=a",
        "fingerprint": "9d5b6a9a2f8d1f00",
    }


def payload(*alerts: dict[str, Any], status: str = "firing") -> dict[str, Any]:
    """A delivery of Alertmanager, version 4."""
    return {
        "receiver": "stagenorm-downgrade",
        "status": status,
        "alerts": list(alerts) or [alert()],
        "groupLabels": {"alertname": "StageRejectRateHigh"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093",
        "version": "4",
        "groupKey": '{}/{alertname="StageRejectRateHigh"}:{alertname="StageRejectRateHigh"}',
        "truncatedAlerts": 0,
    }


def raw(content: object) -> bytes:
    """Compact JSON with a newline at its end and `<`, `>`, `&` escaped, as Go writes it."""
    text = json.dumps(content, separators=(",", ":"))
    return (
        text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").encode()
        + b"\n"
    )


def signed(body: bytes, at: str | None = None, secret: str | None = None) -> dict[str, str]:
    """The two headers for a raw body, by default signed now with the first current secret."""
    timestamp = at if at is not None else str(int(time.time()))
    signature = sign(secret or settings.ALERTMANAGER_WEBHOOK_SECRETS[0], timestamp, body)
    return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}
