"""The alert path in the admin: what came in over the webhook, and when the path last proved itself."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from ops.admin_ui.characters import visible
from ops.admin_ui.ledgers import (
    BAD,
    COUNTED_TO,
    GOOD,
    QUIET,
    WARN,
    Badge,
    ChoiceFilter,
    CountedToPaginator,
    OperatorLedger,
    cell,
    spoken,
)
from ops.alerts.heartbeats import Heartbeat, last_heartbeat_at
from ops.alerts.metrics import Outcome
from ops.alerts.models import WebhookDelivery
from ops.clock import database_now
from ops.gates.rules import HEARTBEAT_MAX_AGE

_TONES: Final = {
    Outcome.DOWNGRADED: WARN,
    Outcome.ALIVE: GOOD,
    Outcome.ALREADY: QUIET,
    Outcome.IGNORED: QUIET,
    Outcome.REPEATED: QUIET,
}


class EndpointFilter(ChoiceFilter):
    """Deliveries to one of the two addresses."""

    title, parameter_name, words = "endpoint", "endpoint", ("auto-downgrade", "heartbeat")


class AlertLedger(OperatorLedger):
    """Newest first by the index; counted to COUNTED_TO only, for it grows by some hundred rows a day."""

    actions = None
    list_per_page = 50
    show_full_result_count = False
    paginator = CountedToPaginator

    @admin.display(description="received (UTC)")
    def received(self, row: WebhookDelivery | Heartbeat) -> str:
        """When."""
        return cell("moment", at=row.received_at)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, and above it whether the alert path is alive."""
        context = {**_alert_path(), "counted_to": COUNTED_TO, **(extra_context or {})}
        return super().changelist_view(request, context)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(AlertLedger):
    """What came in over the webhook, and what became of it."""

    list_display = ("received", "became", "endpoint", "alerts", "in_force", "actor", "said")
    list_filter = (EndpointFilter, "outcome", "received_at")
    ordering = ("-id",)

    @admin.display(description="outcome")
    def became(self, delivery: WebhookDelivery) -> str:
        """What became of it: anything but the expected is bad news."""
        tone = _TONES.get(Outcome(delivery.outcome), BAD)
        return cell("state", badge=Badge(delivery.outcome.replace("_", " "), *tone))

    @admin.display(description="alerts")
    def alerts(self, delivery: WebhookDelivery) -> str:
        """The names of its alerts, as they were sent."""
        return cell("raws", values=[visible(str(name)) for name in delivery.alert_names])

    @admin.display(description="version")
    def in_force(self, delivery: WebhookDelivery) -> str:
        """The rollout's version afterwards, with the way to it."""
        return cell("version", version=delivery.version)

    @admin.display(description="detail")
    def said(self, delivery: WebhookDelivery) -> str:
        """Why it was refused: what strangers sent may be in it."""
        return cell("raws", values=[visible(delivery.detail)] if delivery.detail else [])


@admin.register(Heartbeat)
class HeartbeatAdmin(AlertLedger):
    """When the alert path proved itself."""

    list_display = ("received", "fingerprint")
    list_filter = ("received_at",)
    ordering = ("-received_at", "-id")


def _alert_path() -> dict[str, Any]:
    last = last_heartbeat_at()
    if last is None:
        return {"alive": Badge("never heard", *WARN), "last_heard": "", "limit": HEARTBEAT_MAX_AGE}
    age = database_now() - last
    alive = Badge("alive", *GOOD) if age < HEARTBEAT_MAX_AGE else Badge("silent", *BAD)
    return {"alive": alive, "last_heard": spoken(age.total_seconds()), "limit": HEARTBEAT_MAX_AGE}
