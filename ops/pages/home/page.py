"""`/admin/`: where the rollout stands, what needs the operator, and what is next.

Each part is read by itself (`softly`), so that one slow table costs its part and not the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import apnumber
from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from normalization import rollout_steps, rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout
from ops import clock
from ops.gates import traffic
from ops.pages.console import console_context
from ops.pages.home import attention
from ops.pages.home.attention import Attention
from ops.pages.home.latest import latest
from ops.pages.home.next_step import RolloutStep, next_step
from ops.pages.home.state import SECONDS, state
from ops.pages.home.steps import steps
from ops.pages.panels import GatePanel, GateRow, ask_gates, softly
from ops.pages.rollout.form import BackToWarnForm
from ops.pages.rollout.page import PERMISSION, unavailable
from ops.pages.rollout.status import clients_since, meaning

HOME: Final = "admin:index"
HISTORY: Final = 200


@require_safe
def home_page(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    try:
        return _page(request)
    except StoreError:
        return unavailable(request)


def _page(request: HttpRequest) -> HttpResponse:
    now = clock.database_now()
    snapshot = rollout_store.newest()
    rollout = snapshot.rollout
    history = list(RolloutChange.objects.order_by("-id")[:HISTORY])
    plan = rollout_steps.plan()
    ahead = plan.next_enforcing(rollout)
    asked = ahead.applied_to(rollout) if ahead is not None else None
    found = softly("steps", lambda: rollout_steps.standing(snapshot), SECONDS)
    panel = softly("checks", lambda: ask_gates(snapshot.version, asked, found), SECONDS)
    clients = softly("clients", lambda: clients_since(traffic.WINDOW, now), SECONDS) or []
    matters = list(_matters(rollout, history, panel, now))
    step = next_step(rollout, plan.next(rollout), panel, clients)
    context = {
        **console_context(request, "Home", HOME, rollout),
        "app_list": admin.site.get_app_list(request),
        "heading": _heading(rollout, matters, step),
        "lede": meaning(rollout),
        "matters": matters,
        "steps": steps(plan, rollout, history, _clean(panel), now),
        "step": step,
        "prepare": _prepare(rollout, panel),
        "open": _open(rollout),
        "state": state(now),
        "latest": softly("latest changes", lambda: latest(history), SECONDS) or [],
        "back": _back(request, rollout),
    }
    return TemplateResponse(request, "admin/index.html", context)


def _matters(
    rollout: Rollout, history: Sequence[RolloutChange], panel: GatePanel | None, now: datetime
) -> Iterator[Attention]:
    yield from attention.way_back(rollout, history, now)
    yield from _softly_all("run", attention.stopped_run)
    if panel is not None:
        yield from attention.stale_backup(rollout, panel)
        yield from attention.unproven_way_back(rollout, panel)
    yield from _softly_all("clocks", attention.clocks)
    if panel is not None:
        yield from attention.servers(panel, history, now)


def _softly_all(part: str, read: Callable[[], Iterable[Attention]]) -> list[Attention]:
    return softly(part, lambda: list(read()), SECONDS) or []


def _heading(rollout: Rollout, matters: Sequence[Attention], step: RolloutStep | None) -> str:
    if matters:
        count = str(apnumber(len(matters))).capitalize()
        return f"{count} thing{' needs' if len(matters) == 1 else 's need'} you"
    if rollout.mode is Mode.ENFORCE:
        return "All is well"
    if rollout.mode is Mode.WARN and step is not None and step.ready:
        return "Ready for the next step"
    return "Observing" if rollout.mode is Mode.OFF else "Warning clients"


def _clean(panel: GatePanel | None) -> bool | None:
    return None if panel is None else panel.row("stored_stages_clean").passes


def _prepare(rollout: Rollout, panel: GatePanel | None) -> list[GateRow]:
    """Return the checks that later steps need and that do not pass, while nothing asks them."""
    if rollout.mode is not Mode.OFF or panel is None:
        return []
    return [row for row in panel.rows if not row.passes]


def _open(rollout: Rollout) -> list[str]:
    """Return what stays milder than the mode, in sentences."""
    found = []
    if rollout.holdouts:
        found.append(f"Held out, never enforced: {', '.join(sorted(rollout.holdouts))}.")
    if rollout.overrides:
        caps = ", ".join(f"{name} ({mode})" for name, mode in sorted(rollout.overrides.items()))
        found.append(f"Endpoints with a mode of their own: {caps}.")
    return found


def _back(request: HttpRequest, rollout: Rollout) -> BackToWarnForm | None:
    may_change = request.user.has_perm(PERMISSION)
    return BackToWarnForm() if may_change and rollout.mode is Mode.ENFORCE else None
