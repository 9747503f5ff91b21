"""`/admin/ops/rollout/`: the rollout as it is, who runs it, how it came about, and the form that changes it."""

from __future__ import annotations

from typing import Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from normalization import conf, instances, rollout_store
from normalization.models import RolloutChange
from ops.rollout_form import RolloutForm

HISTORY: Final = 25
# Looking is for every member of staff; changing takes the permission that the history's rows have by themselves.
PERMISSION: Final = "normalization.add_rolloutchange"


@require_http_methods(["GET", "HEAD", "POST"])
def rollout_page(request: HttpRequest) -> HttpResponse:
    """Show the page; a POST changes the rollout and comes back to it."""
    try:
        snapshot = rollout_store.newest()
        form = RolloutForm(snapshot.rollout, snapshot.version, request.POST if request.method == "POST" else None)
        if request.method == "POST" and _changed(request, form):
            return redirect("ops-rollout")
        return _page(request, snapshot, form)
    except StoreError:
        return TemplateResponse(request, "admin/ops/unavailable.html", admin.site.each_context(request), status=503)


def _changed(request: HttpRequest, form: RolloutForm) -> bool:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    if not form.is_valid():
        return False
    try:
        result = rollout_store.change(
            form.cleaned_data["rollout"],
            actor=request.user.get_username(),
            source="admin",
            reason=form.cleaned_data["reason"],
            expected_version=form.cleaned_data["expected_version"],
            override_reason=form.cleaned_data["override_reason"],
        )
    except rollout_store.ChangeRefused as error:
        form.add_error(None, str(error))
        return False
    level = messages.WARNING if result.spread is rollout_store.Spread.NOT_YET else messages.SUCCESS
    messages.add_message(request, level, f"Version {result.version}, mode {result.rollout.mode}: {result.spread}.")
    return True


def _page(request: HttpRequest, snapshot: rollout_store.Snapshot, form: RolloutForm) -> HttpResponse:
    history = list(RolloutChange.objects.order_by("-id")[:HISTORY])
    age = (timezone.now() - history[0].created_at).total_seconds() if history else float("inf")
    context = {
        **admin.site.each_context(request),
        "title": "Rollout",
        "rollout": snapshot.rollout,
        "version": snapshot.version,
        "last": history[0] if history else None,
        "seen": instances.convergence(snapshot.version, age),
        "history": history,
        "form": form,
        "may_change": request.user.has_perm(PERMISSION),
        "redis": conf.redis_configured(),
    }
    return TemplateResponse(request, "admin/ops/rollout.html", context)
