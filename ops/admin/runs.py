"""Runs in the admin: the list, the page of one run, and the buttons that call `control`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods

from ops.admin import run_actions, run_report
from ops.admin.run_actions import RunAction
from ops.admin_ui.ledgers import BAD, GOOD, QUIET, WARN, Badge, PagedLedger, cell, spoken
from ops.backfill.guards import GateClosed, RunRefused, unfinished
from ops.backfill.models import BackfillCheckpoint, BackfillRun, RunKind
from ops.backfill.progress import RunProgress, RunShare
from ops.backfill.states import RunState, TransitionRefused, state_in_words

REFUSALS: Final = (RunRefused, GateClosed, TransitionRefused, OperationalError)

_TONES: Final = {
    RunState.PLANNED: QUIET,
    RunState.RUNNING: ("busy", "▶"),
    RunState.PAUSED: ("warn", "‖"),
    RunState.FAILED: BAD,
    RunState.COMPLETED: GOOD,
    RunState.CANCELLED: ("quiet", "–"),
    RunState.UNDONE: ("quiet", "↶"),
}


@admin.register(BackfillRun)
class BackfillRunAdmin(PagedLedger):
    """Runs over the stored stages; the buttons call the same functions as the command line."""

    noun = "run"
    list_display = ("run", "state_now", "progress", "written", "left_unknown", "begun", "steer")
    list_display_links = None
    list_per_page = 25
    ordering = ("-id",)
    actions = None

    class Media:
        js = ("ops/ledgers.js",)

    # -- The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillRun]:
        """Prefetch the checkpoints, which each line sums up. The plan may be large: defer it."""
        return BackfillRun.objects.defer("plan", "unknown").prefetch_related("checkpoints")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list; it refreshes itself while a run is running or paused."""
        left = unfinished()
        context = {
            "unfinished": left,
            "refresh": bool(left and left.state in (RunState.RUNNING, RunState.PAUSED)),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return the columns; the buttons only for users with the permission."""
        steers = self.has_steer_permission(request)
        return [name for name in self.list_display if steers or name != "steer"]

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may steer runs: that takes the permission to change them."""
        return request.user.has_perm("ops.change_backfillrun")

    @admin.display(description="run", ordering="id")
    def run(self, run: BackfillRun) -> str:
        """Its number, linked to its page, and its tables."""
        return cell("run", run=run, tables=[each.table_name for each in run.checkpoints.all()])

    @admin.display(description="state")
    def state_now(self, run: BackfillRun) -> str:
        """The state, and what the run waits for."""
        progress = _progress(run)
        return cell("state", badge=state_badge(progress), note=progress.waiting_for)

    @admin.display(description="scanned")
    def progress(self, run: BackfillRun) -> str:
        """Rows scanned, all rows, the rate, and the time left."""
        return cell("progress", label=f"Run {run.pk}", **_pace(_progress(run)))

    @admin.display(description="written")
    def written(self, run: BackfillRun) -> str:
        """Rows written so far."""
        word = "restored" if run.kind == RunKind.UNDO else "written"
        return cell("number", number=_progress(run).changed, word=word)

    @admin.display(description="unknown")
    def left_unknown(self, run: BackfillRun) -> str:
        """Rows with values that stay."""
        return cell("number", number=_progress(run).unknown, word="unknown")

    @admin.display(description="by", ordering="actor")
    def begun(self, run: BackfillRun) -> str:
        """Who began it, and when."""
        begun_at = run.started_at or run.created_at
        return cell("by", actor=run.actor, at=begun_at, finished_at=run.finished_at)

    @admin.display(description="actions")
    def steer(self, run: BackfillRun) -> str:
        """The buttons that its state allows."""
        return cell("steer", run=run, actions=run_actions.offered(_progress(run)))

    # -- The page of one run

    def get_urls(self) -> list[URLPattern]:
        """Return the list, the pages, and one address for each action."""
        steer = require_http_methods(["GET", "HEAD", "POST"])(self.steer_view)
        address = "<int:run_id>/steer/<slug:name>/"
        name = "ops_backfillrun_steer"
        return [path(address, self.admin_site.admin_view(steer), name=name), *super().get_urls()]

    def objects_for_page(self) -> QuerySet[BackfillRun]:
        """Return the runs with their checkpoints, from which the progress is computed."""
        return BackfillRun.objects.prefetch_related("checkpoints")

    def show(self, request: HttpRequest, run: BackfillRun, /) -> HttpResponse:
        """Show everything about one run; the page is read-only, actions have own addresses."""
        progress = RunProgress(run)
        steers = self.has_steer_permission(request)
        context = {
            "title": f"Run {run.pk}",
            "run": run,
            "progress": progress,
            "badge": state_badge(progress),
            "facts": _facts(progress),
            "written": _written(run),
            "log": f"{reverse('admin:ops_normalizationlog_changelist')}?run_id={run.pk}",
            "pace": _pace(progress),
            "columns": [_column(at, share) for at, share in progress.columns],
            "history": [_moment(each) for each in run.history],
            "next": run_actions.next_step(progress),
            "actions": run_actions.offered(progress) if steers else [],
            "pairs": run_report.pairs(run),
            "unknown": run_report.unknown(run),
            "batches": run_report.batches(run),
            "undo_runs": run.undo_runs.order_by("-pk").values_list("pk", flat=True),
            "may_decide": request.user.has_perm("normalization.add_stagedecision"),
            "refresh": run.state == RunState.RUNNING or progress.alive,
        }
        return self.page(request, "admin/ops/backfillrun/run.html", context)

    def steer_view(self, request: HttpRequest, run_id: int, name: str) -> HttpResponse:
        """Carry out an action. A GET, or an action that needs confirmation, asks first."""
        run = self.find(request, str(run_id))
        if name not in run_actions.ACTIONS:
            raise Http404
        if not self.has_steer_permission(request):
            raise PermissionDenied
        action = run_actions.ACTIONS[name]
        confirmed = not action.confirmation or request.POST.get("confirmed") == "yes"
        if request.method == "POST" and confirmed:
            return self._steered(request, run, action)
        progress = RunProgress(run)
        context = {
            "title": f"{action.label} run {run.pk}?",
            "button": f"{action.label} run {run.pk}",
            "run": run,
            "action": action,
            "progress": progress,
            "badge": state_badge(progress),
            "possible": action in run_actions.offered(progress),
        }
        return self.page(request, "admin/ops/backfillrun/confirm.html", context)

    def _steered(
        self, request: HttpRequest, run: BackfillRun, action: RunAction
    ) -> HttpResponseRedirect:
        try:
            run = action.carry_out(run.pk, request.user.get_username())
        except REFUSALS as error:
            self.message_user(request, f"Run {run.pk}: {error}", messages.ERROR)
        else:
            self.message_user(request, f"Run {run.pk} is {run.state}.", messages.SUCCESS)
        return redirect(reverse("admin:ops_backfillrun_change", args=[run.pk]))


def state_badge(progress: RunProgress) -> Badge:
    """Return the badge of a run's state; a dead running run gets its own."""
    state = RunState(progress.run.state)
    words = state_in_words(state, alive=progress.alive)
    tone = _TONES[state] if words == state else WARN
    return Badge(words, *tone)


def _progress(run: BackfillRun) -> RunProgress:
    # Computed once for a line of the list: several cells use it.
    if not hasattr(run, "line_progress"):
        run.line_progress = RunProgress(run)  # type: ignore[attr-defined]
    return run.line_progress  # type: ignore[attr-defined,no-any-return]


def _pace(progress: RunProgress) -> dict[str, Any]:
    left = progress.seconds_left
    return {
        "share": progress.share,
        "rate": progress.rate,
        "left": None if left is None else spoken(left),
    }


def _written(run: BackfillRun) -> str:
    return "Restored" if run.kind == RunKind.UNDO else "Written"


def _facts(progress: RunProgress) -> list[tuple[str, str]]:
    """Return (term, value) for the head of the page; what a run does not have is left out."""
    run = progress.run
    held = "Held by" if progress.alive else "Last held by"
    heartbeat = f"{run.heartbeat_at:%-d %b %Y %H:%M:%S}" if run.heartbeat_at else ""
    unknown = "" if run.kind == RunKind.UNDO else f"{progress.unknown:,} rows"
    facts = [
        (_written(run), f"{progress.changed:,} rows"),
        ("Unknown, left as they are", unknown),
        ("Batches", f"{run.batch:,}, now of {run.batch_size:,} rows"),
        ("Started by", run.actor),
        ("Plan", run.plan_hash),
        ("Version of the decisions", f"{run.alias_version}"),
        ("Strategy", run.strategy),
        (held, run.lease_holder),
        ("Last heartbeat (UTC)", heartbeat),
    ]
    return [(term, value) for term, value in facts if value]


def _column(at: BackfillCheckpoint, share: RunShare) -> dict[str, Any]:
    left_alone = [{"reason": reason, **each} for reason, each in at.left_alone.items()]
    return {
        "name": f"{at.table_name}.{at.column_name}",
        "at": at,
        "share": share,
        "left_alone": left_alone,
        "checkpoint": _checkpoint(at),
    }


def _checkpoint(at: BackfillCheckpoint) -> str:
    """Return how far a column is, in words."""
    if at.finished:
        return "finished"
    after = "" if at.cursor is None else f"after row {at.cursor}"
    if at.undo_batch is not None:
        return f"batch {at.undo_batch}" + (f", {after}" if after else "")
    if at.until is not None:
        return f"{after} of {at.until}"
    return after or "not begun"


def _moment(entry: dict[str, Any]) -> dict[str, Any]:
    state = RunState(entry["state"])
    at = datetime.fromisoformat(entry["at"])
    return {**entry, "at": at, "badge": Badge(state, *_TONES[state])}
