"""`/admin/ops/spellings/retire/`: whom it would hurt to take a decision out of force.

A retired spelling is undecided again. Requests that were read as a stage are then refused where
the rollout is enforced, so the page counts them by client before the operator confirms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from normalization import decisions, rollout_store
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, StageDecision
from normalization.rollout import Rollout
from ops.admin_ui.characters import visible
from ops.pages.clients.enforcement import ClientEnforcement, enforcement_of
from ops.pages.console import console_context
from ops.pages.rollout.page import unavailable
from ops.pages.spellings.effects import ClientEffect, KeyWeight, clients_of, weights_of
from ops.pages.spellings.tabs import PERMISSION
from ops.pages.spellings.weights import OBSERVED_DAYS, ensure_fresh


@dataclass(frozen=True, slots=True)
class RetiredClient:
    """A client that sent the spelling, and how the rollout treats it where it did."""

    effect: ClientEffect
    enforcement: ClientEnforcement

    @property
    def daily(self) -> int:
        """Its requests a day that were accepted before, rounded up."""
        return -(-self.effect.lost // OBSERVED_DAYS)


@require_http_methods(["GET", "HEAD", "POST"])
def retire_page(request: HttpRequest) -> HttpResponse:
    """Show what retiring the decision `?id=` would do; a POST retires it."""
    try:
        ensure_fresh(timezone.now())
        decision = _decision(request)
        clients = _clients(decision, rollout_store.newest().rollout)
        fault = ""
        if request.method == "POST":
            fault = _retire(request, decision, clients)
            if not fault:
                return redirect("ops-spellings")
        return _page(request, decision, clients, fault)
    except StoreError:
        return unavailable(request)


def _decision(request: HttpRequest) -> StageDecision:
    given = request.GET.get("id", "")
    found = StageDecision.objects.filter(superseded_at__isnull=True)
    decision = found.filter(pk=int(given)).first() if given.isascii() and given.isdigit() else None
    if decision is None:
        raise Http404("This decision is not in force.")
    return decision


def _clients(decision: StageDecision, rollout: Rollout) -> list[RetiredClient]:
    return [
        RetiredClient(effect, enforcement_of(rollout, effect.client, effect.endpoints))
        for effect in clients_of([(decision.key, "")])
    ]


def _retire(
    request: HttpRequest, decision: StageDecision, clients: Sequence[RetiredClient]
) -> str:
    """Retire the decision; return why it was not, "" when it was."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    refused = sum(client.daily for client in clients if client.enforcement.now)
    if refused and request.POST.get("confirm") != str(decision.pk):
        return f"Confirm that {refused:,} requests a day will be refused."
    try:
        decisions.retire(
            [decision.spelling],
            author=request.user.get_username(),
            source=DecisionBatch.Source.ADMIN,
            reason=request.POST.get("reason", "").strip()[:500],
        )
    except decisions.DecisionRefused as refusal:
        return str(refusal)
    messages.success(request, "Retired. The spelling is undecided again.")
    return ""


def _page(
    request: HttpRequest, decision: StageDecision, clients: Sequence[RetiredClient], fault: str
) -> HttpResponse:
    enforced = [client for client in clients if client.enforcement.now and client.daily]
    context = {
        **console_context(request, "Retire a decision"),
        "decision": decision,
        "shown": visible(decision.spelling),
        "was_stage": decision.verdict == DecisionVerdict.STAGE,
        "weight": weights_of([decision.key]).get(decision.key, KeyWeight()),
        "clients": clients,
        "enforced": enforced,
        "refused_daily": sum(client.daily for client in enforced),
        "reason": request.POST.get("reason", ""),
        "fault": fault,
        "may_decide": request.user.has_perm(PERMISSION),
    }
    return TemplateResponse(
        request, "admin/ops/spellings/retire.html", context, status=409 if fault else 200
    )
