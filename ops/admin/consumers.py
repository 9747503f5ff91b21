"""The admin's list of decisions about the consumers of the endpoints."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from ops import clock
from ops.admin_ui.ledgers import OperatorLedger, cell
from ops.consumers import deciding
from ops.consumers.models import ConsumerDecision
from ops.gates import rules


@admin.register(ConsumerDecision)
class ConsumerDecisionAdmin(OperatorLedger):
    """Who decided what about the consumers, newest first; the newest is in force."""

    list_display = ("decided", "verdict", "named", "decided_by", "why", "expires")
    list_display_links = None
    actions = None
    ordering = ("-id",)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and above it what the gate makes of the newest decision."""
        facts = rules.GateFacts(
            now=clock.database_now(), version=0, ttl_seconds=0, consumers=deciding.newest()
        )
        context = {"verdict": rules.consumers_known(facts), **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description="decided (UTC)")
    def decided(self, row: ConsumerDecision) -> str:
        """Return the time of the decision."""
        return cell("moment", at=row.decided_at)

    @admin.display(description="owners")
    def named(self, row: ConsumerDecision) -> str:
        """Return who answers for the external consumers."""
        return ", ".join(row.owners)

    @admin.display(description="reason")
    def why(self, row: ConsumerDecision) -> str:
        """Return the reason."""
        return row.reason

    @admin.display(description="valid until (UTC)")
    def expires(self, row: ConsumerDecision) -> str:
        """Return when the decision expires."""
        return cell("moment", at=row.expires_at)
