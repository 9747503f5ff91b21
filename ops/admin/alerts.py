"""Admin lists of the alert path: webhook deliveries and heartbeats.

Both lists show above their rows whether the automatic way back is open.
"""

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
)
from ops.alerts.models import DeliveryOutcome, Heartbeat, WebhookDelivery
from ops.alerts.way_back import read_way_back
from ops.gates.rules import GateOutcome

_OUTCOME_TONES: Final = {
    DeliveryOutcome.DOWNGRADED: WARN,
    DeliveryOutcome.ALIVE: GOOD,
    DeliveryOutcome.ALREADY: QUIET,
    DeliveryOutcome.IGNORED: QUIET,
    DeliveryOutcome.REPEATED: QUIET,
}
_WAY_BACK_TONES: Final = {
    GateOutcome.PASS: GOOD,
    GateOutcome.FAIL: BAD,
    GateOutcome.INCONCLUSIVE: WARN,
}


class EndpointFilter(ChoiceFilter):
    """Deliveries to one of the two addresses."""

    title, parameter_name, words = "endpoint", "endpoint", ("auto-downgrade", "heartbeat")


class AlertLedger(OperatorLedger):
    """A list of the alert path, newest first. It grows by some hundred rows a day."""

    actions = None
    list_per_page = 50
    show_full_result_count = False
    paginator = CountedToPaginator

    @admin.display(description="received (UTC)", ordering="id")
    def received(self, row: WebhookDelivery | Heartbeat) -> str:
        """Return the time of arrival."""
        return cell("moment", at=row.received_at)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and above it whether the way back is open."""
        context = {**_way_back(), "counted_to": COUNTED_TO, **(extra_context or {})}
        return super().changelist_view(request, context)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(AlertLedger):
    """Requests to the webhook and their outcomes."""

    list_display = (
        "received",
        "outcome_badge",
        "endpoint",
        "alerts",
        "in_force",
        "actor",
        "refusal",
    )
    list_filter = (EndpointFilter, "outcome", "received_at")
    ordering = ("-id",)

    @admin.display(description="outcome")
    def outcome_badge(self, delivery: WebhookDelivery) -> str:
        """Return the outcome; its tone is bad unless the outcome is an expected one."""
        tone = _OUTCOME_TONES.get(DeliveryOutcome(delivery.outcome), BAD)
        return cell("state", badge=Badge(delivery.outcome.replace("_", " "), *tone))

    @admin.display(description="alerts")
    def alerts(self, delivery: WebhookDelivery) -> str:
        """Return the names of the alerts, as they were sent."""
        return cell("raws", values=[visible(str(name)) for name in delivery.alert_names])

    @admin.display(description="version")
    def in_force(self, delivery: WebhookDelivery) -> str:
        """Return the rollout's version afterwards, with a link to it."""
        return cell("version", version=delivery.version)

    @admin.display(description="detail")
    def refusal(self, delivery: WebhookDelivery) -> str:
        """Return why the request was refused. The text may contain what a stranger sent."""
        return cell("raws", values=[visible(delivery.detail)] if delivery.detail else [])


@admin.register(Heartbeat)
class HeartbeatAdmin(AlertLedger):
    """Arrivals of the watchdog alert."""

    list_display = ("received", "fingerprint")
    list_filter = ("received_at",)
    ordering = ("-received_at", "-id")


def _way_back() -> dict[str, Any]:
    way_back = read_way_back()
    tone = _WAY_BACK_TONES[way_back.verdict.outcome]
    return {
        "way_back": Badge(way_back.word, *tone),
        "way_back_sentence": way_back.verdict.sentence,
        "never_proven": way_back.last_heartbeat_at is None,
    }
