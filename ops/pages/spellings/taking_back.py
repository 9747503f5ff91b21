"""Take decisions back: `retire/` for one of them, `undo/` for a batch, `history/` to find it.

A spelling whose decision goes out of force may be undecided again. Requests that were read as a
stage are then refused where the rollout is enforced, so each page counts them by client before
the operator confirms, and shows what the gate says (see `normalization.decision_gate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from normalization import decisions, rollout_store
from normalization.decision_gate import DecisionShift
from normalization.decision_undo import UndoPlan, plan_undo
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, StageDecision
from normalization.rollout import Rollout
from ops.admin_ui.characters import Visible, visible
from ops.pages.clients.enforcement import ClientEnforcement, enforcement_of
from ops.pages.console import console_context
from ops.pages.rollout.page import unavailable
from ops.pages.spellings.effects import (
    ClientEffect,
    KeyWeight,
    check_of,
    clients_of,
    overrides_of,
    verdicts_after,
    weights_of,
)
from ops.pages.spellings.tabs import PERMISSION
from ops.pages.spellings.weights import OBSERVED_DAYS, ensure_fresh

BATCHES_LISTED: Final = 50
DECISIONS_LISTED: Final = 100


@dataclass(frozen=True, slots=True)
class HurtClient:
    """A client that sent the spellings, and how the rollout treats it where it did."""

    effect: ClientEffect
    enforcement: ClientEnforcement

    @property
    def daily(self) -> int:
        """Its requests a day that were accepted before, rounded up."""
        return -(-self.effect.lost // OBSERVED_DAYS)


@dataclass(frozen=True, slots=True)
class UndonePart:
    """Decisions that an undo treats alike, the first DECISIONS_LISTED of them with their texts."""

    title: str
    note: str
    decisions: Sequence[StageDecision]

    @property
    def listed(self) -> list[tuple[Visible, StageDecision]]:
        """The first decisions, with their spellings for a page."""
        return [(visible(each.spelling), each) for each in self.decisions[:DECISIONS_LISTED]]

    @property
    def more(self) -> int:
        """How many are not listed."""
        return max(len(self.decisions) - DECISIONS_LISTED, 0)


@require_http_methods(["GET", "HEAD", "POST"])
def retire_page(request: HttpRequest) -> HttpResponse:
    """Show what retiring the decision `?id=` would do; a POST retires it."""
    try:
        ensure_fresh(timezone.now())
        decision = _decision(request)
        shift = DecisionShift(frozenset([decision.key]))
        fault = ""
        if request.method == "POST":
            fault = _retire(request, decision, shift)
            if not fault:
                return redirect("ops-spellings")
        context = {
            **console_context(request, "Retire a decision"),
            **_consequences(request, shift, fault),
            "decision": decision,
            "shown": visible(decision.spelling),
            "was_stage": decision.verdict == DecisionVerdict.STAGE,
            "weight": weights_of([decision.key]).get(decision.key, KeyWeight()),
        }
        return _page(request, "retire", context)
    except StoreError:
        return unavailable(request)


@require_http_methods(["GET", "HEAD", "POST"])
def undo_page(request: HttpRequest) -> HttpResponse:
    """Show what an undo of the batch `?batch=` takes back; a POST undoes it."""
    try:
        ensure_fresh(timezone.now())
        number = _number(request.GET.get("batch", ""))
        try:
            undoing = plan_undo(number)
        except decisions.DecisionRefused as refusal:
            messages.error(request, str(refusal))
            return redirect("ops-spellings-history")
        fault = ""
        if request.method == "POST":
            fault = _undo(request, undoing)
            if not fault:
                return redirect("ops-spellings-history")
        keys = [each.key for each in (*undoing.gone, *undoing.restored)]
        weights = weights_of(keys).values()
        context = {
            **console_context(request, f"Undo batch {number}"),
            **_consequences(request, undoing.shift, fault),
            "batch": undoing.batch,
            "parts": [part for part in _parts(undoing) if part.decisions],
            "weight": KeyWeight(
                sum(each.rows for each in weights), sum(each.requests for each in weights)
            ),
        }
        return _page(request, "undo", context)
    except StoreError:
        return unavailable(request)


@require_safe
def history_page(request: HttpRequest) -> HttpResponse:
    """List the batches of decisions, the newest first."""
    try:
        given = request.GET.get("page", "1")
        page = max(int(given), 1) if given.isascii() and given.isdigit() and len(given) < 7 else 1
        skipped = (page - 1) * BATCHES_LISTED
        found = DecisionBatch.objects.annotate(
            decided=Count("decisions", distinct=True), ended=Count("superseded", distinct=True)
        ).order_by("-id")
        batches = list(found[skipped : skipped + BATCHES_LISTED + 1])
        context = {
            **console_context(request, "History of decisions"),
            "batches": batches[:BATCHES_LISTED],
            "previous": page - 1,
            "next": page + 1 if len(batches) > BATCHES_LISTED else 0,
            "may_decide": request.user.has_perm(PERMISSION),
        }
        return _page(request, "history", context)
    except StoreError:
        return unavailable(request)


def _decision(request: HttpRequest) -> StageDecision:
    found = StageDecision.objects.filter(superseded_at__isnull=True)
    decision = found.filter(pk=_number(request.GET.get("id", ""))).first()
    if decision is None:
        raise Http404("This decision is not in force.")
    return decision


def _number(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 19):
        raise Http404("There is no such number.")
    return int(given)


def _hurt(shift: DecisionShift, rollout: Rollout) -> list[HurtClient]:
    return [
        HurtClient(effect, enforcement_of(rollout, effect.client, effect.endpoints))
        for effect in clients_of(verdicts_after(shift))
    ]


def _consequences(request: HttpRequest, shift: DecisionShift, fault: str) -> dict[str, Any]:
    """Return whom the change hurts, and what the gate says."""
    clients = _hurt(shift, rollout_store.newest().rollout)
    enforced = [client for client in clients if client.enforcement.now and client.daily]
    return {
        "clients": clients,
        "enforced": enforced,
        "refused_daily": sum(client.daily for client in enforced),
        "check": check_of(shift),
        "override": request.POST.get("override", ""),
        "reason": request.POST.get("reason", ""),
        "fault": fault,
        "may_decide": request.user.has_perm(PERMISSION),
    }


def _unconfirmed(request: HttpRequest, shift: DecisionShift) -> str:
    """Return what the operator has to confirm first, "" for nothing."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    clients = _hurt(shift, rollout_store.newest().rollout)
    refused = sum(client.daily for client in clients if client.enforcement.now)
    if refused and not request.POST.get("confirm"):
        return f"Confirm that {refused:,} requests a day will be refused."
    return ""


def _retire(request: HttpRequest, decision: StageDecision, shift: DecisionShift) -> str:
    """Retire the decision; return why it was not, "" when it was."""
    if fault := _unconfirmed(request, shift):
        return fault
    try:
        decisions.retire(
            [decision.spelling],
            author=request.user.get_username(),
            source=DecisionBatch.Source.ADMIN,
            reason=request.POST.get("reason", "").strip()[:500],
            gate_overrides=overrides_of(request.POST),
        )
    except decisions.DecisionRefused as refusal:
        return str(refusal)
    messages.success(request, "Retired. The spelling is undecided again.")
    return ""


def _undo(request: HttpRequest, undoing: UndoPlan) -> str:
    """Undo the batch; return why it was not undone, "" when it was."""
    if fault := _unconfirmed(request, undoing.shift):
        return fault
    try:
        result = decisions.undo(
            undoing.batch.pk,
            author=request.user.get_username(),
            source=DecisionBatch.Source.ADMIN,
            reason=request.POST.get("reason", "").strip()[:500],
            gate_overrides=overrides_of(request.POST),
        )
    except decisions.DecisionRefused as refusal:
        return str(refusal)
    messages.success(
        request,
        f"Batch {undoing.batch.pk} is undone, by batch {result.version}. Run the backfill.",
    )
    return ""


def _parts(undoing: UndoPlan) -> list[UndonePart]:
    restored = {each.key for each in undoing.restored}
    lost = [each for each in undoing.gone if each.key not in restored]
    return [
        UndonePart("Undecided again", "Their decisions go out of force.", lost),
        UndonePart(
            "As before the batch",
            "What the batch had changed or retired comes back, with its author and time.",
            undoing.restored,
        ),
        UndonePart(
            "Stays as it is",
            "A later batch decided these spellings again, or retired them.",
            undoing.overtaken,
        ),
    ]


def _page(request: HttpRequest, name: str, context: dict[str, Any]) -> HttpResponse:
    status = 409 if context.get("fault") else 200
    template = f"admin/ops/spellings/{name}.html"
    return TemplateResponse(request, template, context, status=status)
