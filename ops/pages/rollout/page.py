"""`/admin/ops/rollout/`: the rollout in force, its next step, and the forms that change it.

Each part of the page is read by itself (`softly`). Only the newest row of the rollout is needed
for the page to come up, because the operator takes enforcement back here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from normalization import conf, instances, rollout_steps, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout, without_enforcement
from normalization.rollout_plan import PlanInvalid
from normalization.rollout_steps import StepStanding
from normalization.rollout_store import Snapshot
from ops import clock
from ops.gates import traffic
from ops.gates.traffic import SentTraffic
from ops.pages import charts
from ops.pages.console import console_context
from ops.pages.panels import GatePanel, ask_gates, refusal, softly
from ops.pages.periods import HOUR, ROLLOUT_PERIODS, asked_period, period_links
from ops.pages.rollout import unknown_spellings
from ops.pages.rollout.changes import checks_sentence, effects, proposed
from ops.pages.rollout.form import BackToWarnForm, RolloutForm
from ops.pages.rollout.status import (
    clients_since,
    meaning,
    moment_text,
    outcomes_by_step,
    status_facts,
)
from ops.pages.rollout.step_effects import step_effects
from ops.pages.rollout.steps import (
    NextStepForm,
    PlanFormSet,
    PlanInput,
    PlanReasonForm,
    step_panel,
)

HISTORY: Final = 25
# Every member of staff may look. A change needs the permission to add rows to the history.
PERMISSION: Final = "normalization.add_rolloutchange"


@dataclass(frozen=True, slots=True)
class PageForms:
    """The forms of the page that hold input; None for those that are filled in anew."""

    change: RolloutForm | None = None
    step: NextStepForm | None = None
    plan: PlanInput | None = None
    back: BackToWarnForm | None = None


@dataclass(frozen=True, slots=True)
class ChangeShown:
    """The change that the page was opened after: what it means, and its differences."""

    row: RolloutChange
    meaning: str
    differences: Sequence[str]


@require_http_methods(["GET", "HEAD", "POST"])
def rollout_page(request: HttpRequest) -> HttpResponse:
    """Show the page. A POST changes the rollout; with `preview` it only shows the effects."""
    try:
        snapshot = rollout_store.newest()
        if request.method != "POST":
            return _page(request, snapshot, PageForms())
        _require_permission(request)
        form = RolloutForm(snapshot.rollout, snapshot.version, request.POST)
        if form.is_valid() and "preview" not in request.POST:
            try:
                return _change(request, form)
            except rollout_store.ChangeRefused as error:
                snapshot, form = _after_refusal(form, error)
        return _page(request, snapshot, PageForms(change=form))
    except StoreError:
        return unavailable(request)


@require_POST
def back_to_warn(request: HttpRequest) -> HttpResponse:
    """Take enforcement back, also from a page with an older version. Asks no gate."""
    _require_permission(request)
    form = BackToWarnForm(request.POST)
    try:
        if form.is_valid():
            result = rollout_store.change(
                without_enforcement,
                actor=request.user.get_username(),
                source="admin",
                reason=form.cleaned_data["reason"],
            )
            return _changed(request, result)
        return _page(request, rollout_store.newest(), PageForms(back=form))
    except StoreError:
        return unavailable(request)


@require_POST
def next_step(request: HttpRequest) -> HttpResponse:
    """Take the next step of the plan."""
    _require_permission(request)
    form = NextStepForm(request.POST)
    try:
        if form.is_valid():
            try:
                return _changed(request, _take_next(request, form))
            except rollout_store.ChangeRefused as error:
                form.add_error(None, _why_refused(error))
        return _page(request, rollout_store.newest(), PageForms(step=form))
    except StoreError:
        return unavailable(request)


@require_POST
def change_plan(request: HttpRequest) -> HttpResponse:
    """Record a new plan."""
    _require_permission(request)
    given = PlanInput(PlanFormSet(request.POST, prefix="steps"), PlanReasonForm(request.POST))
    try:
        try:
            changed = rollout_steps.change_plan(
                given.plan(),
                actor=request.user.get_username(),
                source="admin",
                reason=given.reason.cleaned_data["reason"],
            )
        except (PlanInvalid, rollout_store.ChangeRefused) as error:
            given = replace(given, error=str(error))
            return _page(request, rollout_store.newest(), PageForms(plan=given))
        words = "The plan has changed." if changed else "The plan is already like this."
        messages.success(request, words)
        return redirect("ops-rollout")
    except StoreError:
        return unavailable(request)


def unavailable(request: HttpRequest) -> HttpResponse:
    """Answer 503: the database does not answer."""
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "Rollout"}
    return TemplateResponse(request, "admin/ops/unavailable.html", context, status=503)


def _empty_form(request: HttpRequest, snapshot: Snapshot) -> RolloutForm:
    """Return the form as it is before any input, filled in by the link that led here."""
    proposal = proposed(snapshot.rollout, request.GET)
    return RolloutForm(snapshot.rollout, snapshot.version, proposed=proposal)


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied


def _take_next(request: HttpRequest, form: NextStepForm) -> rollout_store.ChangeResult:
    return rollout_steps.take_next(
        actor=request.user.get_username(),
        source="admin",
        reason=form.cleaned_data["reason"],
        expected_version=form.cleaned_data["expected_version"],
        gate_overrides=form.gate_overrides(),
    )


def _change(request: HttpRequest, form: RolloutForm) -> HttpResponse:
    result = rollout_store.change(
        form.cleaned_data["rollout"],
        actor=request.user.get_username(),
        source="admin",
        reason=form.cleaned_data["reason"],
        expected_version=form.cleaned_data["expected_version"],
        gate_overrides=form.gate_overrides(),
    )
    return _changed(request, result)


def _changed(request: HttpRequest, result: rollout_store.ChangeResult) -> HttpResponse:
    """Go to the page, which shows the change at its top."""
    if not result.changed or result.spread is rollout_store.Spread.NOT_YET:
        level = messages.WARNING if result.changed else messages.SUCCESS
        text = f"Version {result.version}, mode {result.rollout.mode}: {result.spread}."
        messages.add_message(request, level, text)
    page = reverse("ops-rollout")
    return redirect(f"{page}?changed={result.version}" if result.changed else page)


def _why_refused(error: rollout_store.ChangeRefused) -> str:
    return refusal(error.held) if isinstance(error, rollout_store.GateRefused) else str(error)


def _after_refusal(
    form: RolloutForm, error: rollout_store.ChangeRefused
) -> tuple[Snapshot, RolloutForm]:
    """Return what the page shows after a refused change.

    After a conflict that is the newer version, and the next click is a decision about that one.
    """
    snapshot = rollout_store.newest()
    if isinstance(error, rollout_store.VersionConflict):
        form = form.of_version(snapshot.version, snapshot.rollout)
        form.is_valid()
    if isinstance(error, rollout_store.GateRefused):
        form.held_gates = tuple(each.gate for each in error.held if each.overridable)
    form.add_error(None, _why_refused(error))
    return snapshot, form


def _page(request: HttpRequest, snapshot: Snapshot, forms: PageForms) -> HttpResponse:
    now = timezone.now()
    rollout = snapshot.rollout
    form = forms.change or _empty_form(request, snapshot)
    history = list(RolloutChange.objects.order_by("-id")[:HISTORY])
    found = softly("steps", lambda: rollout_steps.standing(snapshot))
    sent = softly("requests", lambda: traffic.sent_lately(clock.database_now()))
    gates = softly("gates", lambda: ask_gates(snapshot.version, _judged(form, found), found, sent))
    may_change = request.user.has_perm(PERMISSION)
    context = {
        **console_context(request, "Rollout", "ops-rollout", rollout),
        "rollout": rollout,
        "version": snapshot.version,
        "meaning": meaning(rollout),
        "since": moment_text(history[0].created_at) if history else "",
        "facts": list(status_facts(snapshot, history, gates, now)),
        "gates": gates,
        "gates_are_on": conf.gatekeeper() is not None,
        "changed": _change_shown(request, snapshot, history),
        "history": history,
        "form": form,
        "back": (forms.back or BackToWarnForm()) if may_change and _enforces(rollout) else None,
        "may_change": may_change,
        "may_decide": request.user.has_perm("normalization.add_stagedecision"),
        "unknown": softly("unknown spellings", lambda: unknown_spellings.most_frequent(now)),
        "unknown_days": unknown_spellings.DAYS,
        "redis": conf.redis_configured(),
        **_steps(snapshot, forms, found, gates, sent),
        **_outcomes(request, history, now),
        **_servers(snapshot, history, now),
        **_effects(rollout, form, gates, now),
    }
    return TemplateResponse(request, "admin/ops/rollout/page.html", context)


def _steps(
    snapshot: Snapshot,
    forms: PageForms,
    found: StepStanding | None,
    gates: GatePanel | None,
    sent: SentTraffic | None,
) -> dict[str, Any]:
    """Return the parts of the next step and of the plan."""
    if found is None:
        return {"panel": None, "step_effects": None, "heading": meaning(snapshot.rollout)}
    step, effects_of_step = found.plan.next_enforcing(found.rollout), None
    if step is not None and sent is not None:
        limit = conf.guard().limits.share
        effects_of_step = step_effects(
            found.plan, found.rollout, step, sent, conf.stage_endpoints(), limit
        )
    panel = step_panel(found, gates, effects_of_step, conf.gatekeeper() is not None)
    return {
        "panel": panel,
        "heading": panel.heading,
        "step_effects": effects_of_step,
        "step_form": forms.step or NextStepForm(),
        "plan": forms.plan or PlanInput.of_plan(found.plan),
        "limit_percent": f"{100 * conf.guard().limits.share:g}",
    }


def _change_shown(
    request: HttpRequest, snapshot: Snapshot, history: Sequence[RolloutChange]
) -> ChangeShown | None:
    """Return the change that the page was opened after, if nothing has changed since."""
    if request.GET.get("changed") != str(snapshot.version) or not history:
        return None
    newest = history[0]
    before = history[1].rollout() if len(history) > 1 else Rollout(Mode(newest.previous_mode))
    differences = effects(before, snapshot.rollout, [], []).differences
    return ChangeShown(newest, meaning(snapshot.rollout), differences)


def _judged(form: RolloutForm, found: StepStanding | None) -> Rollout | None:
    """Return the rollout that the checks judge: the one asked for, or the next step."""
    asked = form.asked()
    if asked is not None and _enforces(asked):
        return asked
    step = found.plan.next_enforcing(found.rollout) if found is not None else None
    return step.applied_to(found.rollout) if found is not None and step is not None else None


def _enforces(rollout: Rollout) -> bool:
    return rollout.mode is Mode.ENFORCE


def _outcomes(request: HttpRequest, history: list[RolloutChange], now: datetime) -> dict[str, Any]:
    period = asked_period(request, ROLLOUT_PERIODS, HOUR)
    chart = softly(
        "outcomes",
        lambda: charts.draw(
            period, now, outcomes_by_step(period, now), charts.changes_of_mode(history)
        ),
    )
    page = reverse("ops-rollout")
    links = period_links(
        ROLLOUT_PERIODS, period, lambda each: f"{page}?window={each.name}#outcomes"
    )
    return {"period": period, "period_links": links, "chart": chart}


def _servers(snapshot: Snapshot, history: list[RolloutChange], now: datetime) -> dict[str, Any]:
    age = (now - history[0].created_at).total_seconds() if history else float("inf")
    return {"servers": instances.convergence(snapshot.version, age)}


def _effects(
    in_force: Rollout, form: RolloutForm, gates: GatePanel | None, now: datetime
) -> dict[str, Any]:
    asked = form.asked()
    if asked is None:
        return {"effects": None}
    clients = softly("clients", lambda: clients_since(traffic.WINDOW, now)) or []
    found = effects(in_force, asked, clients, conf.stage_endpoints())
    checks = checks_sentence(found.asks_gates, conf.gatekeeper() is not None, gates)
    return {"effects": found, "checks_sentence": checks}
