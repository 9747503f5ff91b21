"""`/admin/ops/rollout/`: the rollout as it is, what holds or follows from it, and the forms that change it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from normalization import conf, instances, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout, without_enforcement
from ops.gates.rules import UNKNOWN_WINDOW
from ops.pages import outcome_counts
from ops.pages.outcome_chart import WINDOWS, Chart, draw
from ops.pages.panels import ask_gates, softly
from ops.pages.rollout import unknown_spellings
from ops.pages.rollout.effects import Effects, effects
from ops.pages.rollout.form import BackToWarnForm, RolloutForm
from ops.pages.rollout.proposals import proposed

HISTORY: Final = 25
FIRST_WINDOW: Final = WINDOWS["60m"]
# Looking is for every member of staff; changing takes the permission that the history's rows have by themselves.
PERMISSION: Final = "normalization.add_rolloutchange"


@require_http_methods(["GET", "HEAD", "POST"])
def rollout_page(request: HttpRequest) -> HttpResponse:
    """Show the page; a POST changes the rollout and comes back to it, or with `preview` says what it would do."""
    try:
        snapshot = rollout_store.newest()
        form = _form(request, snapshot)
        if request.method == "POST":
            _refuse_others(request)
            if form.is_valid() and "preview" not in request.POST:
                try:
                    return _changed(request, form)
                except rollout_store.ChangeRefused as error:
                    snapshot, form = _after_refusal(form, error)
        return _page(request, snapshot, form)
    except StoreError:
        return unavailable(request)


@require_POST
def back_to_warn(request: HttpRequest) -> HttpResponse:
    """Take enforcement back, whatever version the operator was looking at; no gate is asked for less."""
    _refuse_others(request)
    form = BackToWarnForm(request.POST)
    try:
        if form.is_valid():
            result = rollout_store.change(
                without_enforcement,
                actor=request.user.get_username(),
                source="admin",
                reason=form.cleaned_data["reason"],
            )
            return _told(request, result)
        snapshot = rollout_store.newest()
        return _page(request, snapshot, RolloutForm(snapshot.rollout, snapshot.version), form)
    except StoreError:
        return unavailable(request)


def _form(request: HttpRequest, snapshot: rollout_store.Snapshot) -> RolloutForm:
    if request.method == "POST":
        return RolloutForm(snapshot.rollout, snapshot.version, request.POST)
    return RolloutForm(
        snapshot.rollout, snapshot.version, proposed=proposed(snapshot.rollout, request.GET)
    )


def _refuse_others(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied


def _changed(request: HttpRequest, form: RolloutForm) -> HttpResponse:
    result = rollout_store.change(
        form.cleaned_data["rollout"],
        actor=request.user.get_username(),
        source="admin",
        reason=form.cleaned_data["reason"],
        expected_version=form.cleaned_data["expected_version"],
        override_reason=form.cleaned_data["override_reason"],
    )
    return _told(request, result)


def _told(request: HttpRequest, result: rollout_store.ChangeResult) -> HttpResponse:
    level = messages.WARNING if result.spread is rollout_store.Spread.NOT_YET else messages.SUCCESS
    messages.add_message(
        request, level, f"Version {result.version}, mode {result.rollout.mode}: {result.spread}."
    )
    return redirect("ops-rollout")


def _after_refusal(
    form: RolloutForm, error: rollout_store.ChangeRefused
) -> tuple[rollout_store.Snapshot, RolloutForm]:
    # After a conflict the page shows the newer version, and the next click is a decision about that one.
    snapshot = rollout_store.newest()
    if isinstance(error, rollout_store.VersionConflict):
        form = form.of_version(snapshot.version, snapshot.rollout)
        form.is_valid()
    form.gates_refused = isinstance(error, rollout_store.GateRefused)
    form.add_error(None, str(error))
    return snapshot, form


def _page(
    request: HttpRequest,
    snapshot: rollout_store.Snapshot,
    form: RolloutForm,
    back: BackToWarnForm | None = None,
) -> HttpResponse:
    now = timezone.now()
    history = list(RolloutChange.objects.order_by("-id")[:HISTORY])
    age = (now - history[0].created_at).total_seconds() if history else float("inf")
    window = WINDOWS.get(request.GET.get("window", ""), FIRST_WINDOW)
    context = {
        **admin.site.each_context(request),
        "title": "Rollout",
        "rollout": snapshot.rollout,
        "version": snapshot.version,
        "last": history[0] if history else None,
        "gates": softly("gates", lambda: ask_gates(snapshot.version)),
        "gates_are_asked": conf.gatekeeper() is not None,
        "windows": WINDOWS.values(),
        "window": window,
        "chart": softly("outcomes", lambda: _chart(window.name, now, history)),
        "unknown": softly("unknown spellings", lambda: unknown_spellings.most_frequent(now)),
        "unknown_days": unknown_spellings.DAYS,
        "may_add_alias": request.user.has_perm("normalization.add_stagedecision"),
        "seen": instances.convergence(snapshot.version, age),
        "history": history,
        "form": form,
        "effects": _effects(snapshot.rollout, form, now),
        "back": (back or BackToWarnForm()) if snapshot.rollout.mode is Mode.ENFORCE else None,
        "may_change": request.user.has_perm(PERMISSION),
        "redis": conf.redis_configured(),
    }
    return TemplateResponse(request, "admin/ops/rollout.html", context)


def _chart(window: str, now: datetime, history: list[RolloutChange]) -> Chart:
    counts = outcome_counts.by_step(WINDOWS[window], now)
    return draw(WINDOWS[window], now, counts, outcome_counts.changes_of_mode(history))


def _effects(now_in_force: Rollout, form: RolloutForm, now: datetime) -> Effects | None:
    asked = form.asked()
    if asked is None:
        return None
    clients = (
        softly("clients", lambda: outcome_counts.clients_of_the_last(UNKNOWN_WINDOW, now)) or []
    )
    return effects(now_in_force, asked, clients, conf.stage_endpoints())


def unavailable(request: HttpRequest) -> HttpResponse:
    """Say that the database does not answer, with 503."""
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "Rollout"}
    return TemplateResponse(request, "admin/ops/unavailable.html", context, status=503)
