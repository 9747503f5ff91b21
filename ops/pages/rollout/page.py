"""`/admin/ops/rollout/`: the rollout in force, its effects, and the forms that change it.

Each part of the page is read by itself (`softly`). Only the newest row of the rollout is needed
for the page to come up, because the operator takes enforcement back here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import Error as StoreError
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince
from django.views.decorators.http import require_http_methods, require_POST

from normalization import conf, instances, rollout_steps, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout, without_enforcement
from normalization.rollout_steps import StepStanding
from normalization.rollout_store import Snapshot
from ops.gates import traffic
from ops.pages import charts
from ops.pages.panels import GatePanel, StatusFact, ask_gates, refusal, softly
from ops.pages.periods import HOUR, ROLLOUT_PERIODS, Period, asked_period, period_links
from ops.pages.rollout import unknown_spellings
from ops.pages.rollout.changes import checks_sentence, effects, percent_text, proposed
from ops.pages.rollout.form import BackToWarnForm, RolloutForm

HISTORY: Final = 25
CLIENTS_LISTED: Final = 1_000
# Every member of staff may look. A change needs the permission to add rows to the history.
PERMISSION: Final = "normalization.add_rolloutchange"

OUTCOMES_BY_STEP: Final = """
SELECT date_bin(%(seconds)s * interval '1 second', minute, %(begin)s), outcome,
       sum(requests)::bigint
FROM normalization_outcometally
WHERE minute >= %(begin)s AND minute < %(end)s
GROUP BY 1, 2
"""

CLIENTS_SINCE: Final = """
SELECT DISTINCT client FROM normalization_outcometally
WHERE minute >= %s ORDER BY client LIMIT %s
"""


@require_http_methods(["GET", "HEAD", "POST"])
def rollout_page(request: HttpRequest) -> HttpResponse:
    """Show the page. A POST changes the rollout; with `preview` it only shows the effects."""
    try:
        snapshot = rollout_store.newest()
        form = _form(request, snapshot)
        if request.method == "POST":
            _require_permission(request)
            if form.is_valid() and "preview" not in request.POST:
                try:
                    return _change(request, form)
                except rollout_store.ChangeRefused as error:
                    snapshot, form = _after_refusal(form, error)
        return _page(request, snapshot, form)
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
        snapshot = rollout_store.newest()
        return _page(request, snapshot, RolloutForm(snapshot.rollout, snapshot.version), form)
    except StoreError:
        return unavailable(request)


def unavailable(request: HttpRequest) -> HttpResponse:
    """Answer 503: the database does not answer."""
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "Rollout"}
    return TemplateResponse(request, "admin/ops/unavailable.html", context, status=503)


def outcomes_by_step(period: Period, now: datetime) -> dict[tuple[datetime, str], int]:
    """Return the requests of each step of `period` by outcome. Steps without any are absent."""
    begin = period.begin(now)
    values: dict[str, Any] = {
        "seconds": period.step.total_seconds(),
        "begin": begin,
        "end": begin + period.step * period.columns,
    }
    with connection.cursor() as cursor:
        cursor.execute(OUTCOMES_BY_STEP, values)
        return {(start, outcome): requests for start, outcome, requests in cursor.fetchall()}


def clients_since(age: timedelta, now: datetime) -> list[str]:
    """Return the names of the clients that sent stages within `age`, CLIENTS_LISTED at most."""
    with connection.cursor() as cursor:
        cursor.execute(CLIENTS_SINCE, [now - age, CLIENTS_LISTED])
        return [client for (client,) in cursor.fetchall()]


def _form(request: HttpRequest, snapshot: Snapshot) -> RolloutForm:
    if request.method == "POST":
        return RolloutForm(snapshot.rollout, snapshot.version, request.POST)
    proposal = proposed(snapshot.rollout, request.GET)
    return RolloutForm(snapshot.rollout, snapshot.version, proposed=proposal)


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied


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
    late = result.spread is rollout_store.Spread.NOT_YET
    messages.add_message(
        request,
        messages.WARNING if late else messages.SUCCESS,
        f"Version {result.version}, mode {result.rollout.mode}: {result.spread}.",
    )
    return redirect("ops-rollout")


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
        form.add_error(None, refusal(error.held))
    else:
        form.add_error(None, str(error))
    return snapshot, form


def _page(
    request: HttpRequest,
    snapshot: Snapshot,
    form: RolloutForm,
    back: BackToWarnForm | None = None,
) -> HttpResponse:
    now = timezone.now()
    rollout = snapshot.rollout
    history = list(RolloutChange.objects.order_by("-id")[:HISTORY])
    found = softly("steps", lambda: rollout_steps.standing(snapshot))
    gates = softly("gates", lambda: ask_gates(snapshot.version, _judged(form, found), found))
    may_change = request.user.has_perm(PERMISSION)
    context = {
        **admin.site.each_context(request),
        "title": "Rollout",
        "rollout": rollout,
        "version": snapshot.version,
        "meaning": meaning(rollout),
        "facts": list(_facts(snapshot, history, gates, now)),
        "gates": gates,
        "gates_are_on": conf.gatekeeper() is not None,
        "history": history,
        "form": form,
        "back": (back or BackToWarnForm()) if may_change and _enforces(rollout) else None,
        "may_change": may_change,
        "may_decide": request.user.has_perm("normalization.add_stagedecision"),
        "unknown": softly("unknown spellings", lambda: unknown_spellings.most_frequent(now)),
        "unknown_days": unknown_spellings.DAYS,
        "redis": conf.redis_configured(),
        **_outcomes(request, history, now),
        **_servers(snapshot, history, now),
        **_effects(rollout, form, gates, now),
    }
    return TemplateResponse(request, "admin/ops/rollout/page.html", context)


def _judged(form: RolloutForm, found: StepStanding | None) -> Rollout | None:
    """Return the rollout that the checks judge: the one asked for, or the next step."""
    asked = form.asked()
    if asked is not None and _enforces(asked):
        return asked
    step = found.plan.next_enforcing(found.rollout) if found is not None else None
    return step.applied_to(found.rollout) if found is not None and step is not None else None


def _enforces(rollout: Rollout) -> bool:
    return rollout.mode is Mode.ENFORCE


def meaning(rollout: Rollout) -> str:
    """Return what a rollout does, in a sentence."""
    if rollout.mode is Mode.OFF:
        return "Stages are observed and counted. Clients see nothing."
    if rollout.mode is Mode.WARN:
        return "Clients are warned about unknown stages. Nothing is refused."
    if rollout.enforce_percent == 100:
        return "Refusing unknown stages for every client."
    return f"Refusing unknown stages for {percent_text(rollout.enforce_percent)} % of the clients."


def _facts(
    snapshot: Snapshot, history: list[RolloutChange], gates: GatePanel | None, now: datetime
) -> Iterator[StatusFact]:
    rollout = snapshot.rollout
    later = "" if _enforces(rollout) else "once in enforce"
    yield StatusFact("Share enforced", f"{percent_text(rollout.enforce_percent)} %", later)
    yield StatusFact("Version", str(snapshot.version))
    announced = f"{rollout.enforce_at:%Y-%m-%d %H:%M} UTC" if rollout.enforce_at else ""
    yield StatusFact("Enforce date announced", announced, "" if announced else "none")
    yield _way_back_fact(gates)
    yield from _last_change(history, now)
    wire = rollout.to_wire()
    if rollout.pilots:
        yield StatusFact("Pilots", ", ".join(wire["pilots"]), css="wide")
    if rollout.holdouts:
        yield StatusFact("Holdouts", ", ".join(wire["holdouts"]), css="wide")
    if rollout.overrides:
        caps = ", ".join(f"{name} → {mode}" for name, mode in wire["overrides"].items())
        yield StatusFact("Caps", caps, css="wide")


def _way_back_fact(gates: GatePanel | None) -> StatusFact:
    term = "Automatic way back"
    if gates is None:
        return StatusFact(term, "", "not known: this part is slow right now")
    way_back = gates.way_back
    return StatusFact(
        term, way_back.word, way_back.verdict.sentence, badge=way_back.verdict.outcome.value
    )


def _last_change(history: list[RolloutChange], now: datetime) -> Iterator[StatusFact]:
    if not history:
        yield StatusFact("Since", "Never changed: the default is in force.", css="wide")
        return
    last = history[0]
    ago = f"{timesince(last.created_at, now)} ago"
    yield StatusFact("Since", f"{last.created_at:%Y-%m-%d %H:%M:%S} UTC", ago)
    yield StatusFact("By", f"{last.actor} ({last.source})")
    yield StatusFact("Reason", last.reason, css="wide reason")


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
