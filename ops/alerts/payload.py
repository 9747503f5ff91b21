"""The body of a delivery: Alertmanager's webhook JSON, version 4, also sent by Grafana.

The webhook reads it only after the signature is verified. The reader is still strict: members that
it uses must have their documented types. It ignores all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from normalization.issue_codes import IssueCode, issue
from normalization.observations import printable
from normalization.parsers import loads
from normalization.problems import Item, invalid

STATES: Final = ("firing", "resolved")
DOWNGRADE_ALERT: Final = "StageRejectRateHigh"
WATCHDOG_ALERT: Final = "StageWatchdog"
ACTION_LABEL: Final = "stagenorm_action"
DOWNGRADE_ACTION: Final = "auto_downgrade"
LONGEST_SUMMARY: Final = 300


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a delivery. It is `firing` only if its own status and the group's are.

    `summary` has the measured value beside its limit, `starts_at` the time since which the alert
    fires. Both are "" if the sender left them out.
    """

    name: str
    action: str | None
    firing: bool
    fingerprint: str
    summary: str = ""
    starts_at: str = ""

    @property
    def asks_to_downgrade(self) -> bool:
        """Whether this is the firing alert that takes enforcement back."""
        return (
            self.firing
            and self.name == DOWNGRADE_ALERT
            and self.action in (None, DOWNGRADE_ACTION)
        )

    @property
    def is_watchdog(self) -> bool:
        """Whether this is the always-firing alert that proves the path."""
        return self.firing and self.name == WATCHDOG_ALERT


def read(body: bytes) -> list[Alert]:
    """Return the alerts of a raw body. Raises a 400 `Problem` that lists every wrong member."""
    payload = loads(body)
    errors: list[Item] = []
    if not isinstance(payload, Mapping):
        raise invalid([_wrong("", "object")])
    if payload.get("status") not in STATES:
        errors.append(_wrong("/status", '"firing" or "resolved"'))
    alerts = payload.get("alerts")
    if isinstance(alerts, list):
        for number, alert in enumerate(alerts):
            errors += _faults(alert, f"/alerts/{number}")
    else:
        errors.append(_wrong("/alerts", "array of objects"))
    if errors:
        raise invalid(errors[:20])
    return [_alert(alert, payload["status"] == "firing") for alert in payload["alerts"]]


def _faults(alert: Any, place: str) -> list[Item]:
    if not isinstance(alert, Mapping):
        return [_wrong(place, "object")]
    faults = []
    if alert.get("status") not in STATES:
        faults.append(_wrong(f"{place}/status", '"firing" or "resolved"'))
    labels = alert.get("labels")
    if not isinstance(labels, Mapping) or not all(
        isinstance(value, str) for value in labels.values()
    ):
        faults.append(_wrong(f"{place}/labels", "object of strings"))
    if not isinstance(alert.get("fingerprint", ""), str):
        faults.append(_wrong(f"{place}/fingerprint", "string"))
    return faults


def _alert(alert: Mapping[str, Any], group_fires: bool) -> Alert:
    labels = alert["labels"]
    return Alert(
        name=labels.get("alertname", ""),
        action=labels.get(ACTION_LABEL),
        firing=group_fires and alert["status"] == "firing",
        fingerprint=printable(alert.get("fingerprint", ""))[:64],
        summary=_summary(alert.get("annotations")),
        starts_at=_moment(alert.get("startsAt")),
    )


# The way back must not fail for a text that only people read: another type counts as absent.
def _summary(annotations: Any) -> str:
    text = annotations.get("summary") if isinstance(annotations, Mapping) else None
    if not isinstance(text, str):
        return ""
    return "".join(filter(str.isprintable, text))[:LONGEST_SUMMARY]


def _moment(text: Any) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return ""
    return moment.isoformat() if moment.tzinfo else ""


def _wrong(pointer: str, wanted: str) -> Item:
    return issue(pointer, IssueCode.INVALID, detail=f"Must be {wanted}.")
