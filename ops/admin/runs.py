"""Runs in the admin: the list, the page of one run, and the buttons that steer it through `control`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods

from ops.admin import run_actions as steering
from ops.admin.run_badges import state_badge
from ops.admin_ui.ledgers import OperatorLedger, cell, spoken
from ops.backfill import control, findings
from ops.backfill.models import BackfillRun, Kind
from ops.backfill.standing import Standing
from ops.backfill.states import State, TransitionRefused


@admin.register(BackfillRun)
class BackfillRunAdmin(OperatorLedger):
    """Runs over the stored stages. They are steered through the functions that the command line uses."""

    list_display = ("run", "state_now", "progress", "written", "left_unknown", "begun", "steer")
    list_display_links = None
    list_per_page = 25
    ordering = ("-id",)
    actions = None

    class Media:
        js = ("ops/ledgers.js",)

    # -- The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillRun]:
        """Fetch the checkpoints along: each line adds them up. The plan may be large and stays in the database."""
        return BackfillRun.objects.defer("plan", "unknown").prefetch_related("checkpoints")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; it refreshes itself while a run is at work."""
        left = control.unfinished()
        context = {
            "unfinished": left,
            "refresh": bool(left and left.state in (State.RUNNING, State.PAUSED)),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """The columns; the buttons only for whoever may press them."""
        return [
            name
            for name in self.list_display
            if name != "steer" or self.has_steer_permission(request)
        ]

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Who may change runs may steer them; nobody edits them."""
        return request.user.has_perm("ops.change_backfillrun")

    @admin.display(description="run")
    def run(self, run: BackfillRun) -> str:
        """Its number, with the way to its page, and the tables."""
        return cell("run", run=run, tables=[each.table_name for each in run.checkpoints.all()])

    @admin.display(description="state")
    def state_now(self, run: BackfillRun) -> str:
        """The state, and what the run waits for."""
        return cell(
            "state",
            badge=state_badge(run.state, held=_standing(run).held),
            note=_standing(run).waiting_for,
        )

    @admin.display(description="looked at")
    def progress(self, run: BackfillRun) -> str:
        """Rows looked at, of how many, how fast, and how long it will take."""
        return cell("progress", label=f"Run {run.pk}", **_pace(_standing(run)))

    @admin.display(description="written")
    def written(self, run: BackfillRun) -> str:
        """Rows written so far."""
        return cell(
            "number",
            number=_standing(run).changed,
            word="given back" if run.kind == Kind.UNDO else "written",
        )

    @admin.display(description="unknown")
    def left_unknown(self, run: BackfillRun) -> str:
        """Rows with values that stay."""
        return cell("number", number=_standing(run).unknown, word="unknown")

    @admin.display(description="by")
    def begun(self, run: BackfillRun) -> str:
        """Who began it, and when."""
        return cell(
            "by", actor=run.actor, at=run.started_at or run.created_at, finished_at=run.finished_at
        )

    @admin.display(description="actions")
    def steer(self, run: BackfillRun) -> str:
        """What its state allows."""
        return cell("steer", run=run, wishes=_offered(_standing(run)))

    # -- The page of one run

    def get_urls(self) -> list[URLPattern]:
        """The list, the pages, and one address for each wish."""
        steer = self.admin_site.admin_view(
            require_http_methods(["GET", "HEAD", "POST"])(self.steer_view)
        )
        return [
            path("<int:run_id>/steer/<slug:name>/", steer, name="ops_backfillrun_steer"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Everything about one run. It is read only: what changes runs has addresses of its own."""
        run = self._found(request, object_id)
        if request.method == "POST":
            raise PermissionDenied
        standing = Standing(run)
        context = {
            "title": f"Run {run.pk}",
            "run": run,
            "standing": standing,
            "badge": state_badge(run.state, held=standing.held),
            "pace": _pace(standing),
            "columns": [(at, share, _left_alone(at.left_alone)) for at, share in standing.columns],
            "history": [_moment(each) for each in run.history],
            "next": steering.next_step(run, held=standing.held, unknown=standing.unknown),
            "wishes": _offered(standing) if self.has_steer_permission(request) else [],
            "pairs": findings.pairs(run),
            "unknown": findings.unknown(run),
            "batches": findings.batches(run),
            "undo_runs": run.undo_runs.order_by("-pk").values_list("pk", flat=True),
            "may_add_alias": request.user.has_perm("normalization.add_stagedecision"),
            "refresh": run.state == State.RUNNING or standing.held,
        }
        return self._page(request, "admin/ops/backfillrun/run.html", context)

    def steer_view(self, request: HttpRequest, run_id: int, name: str) -> HttpResponse:
        """Fulfil a wish; ask first where it has to be confirmed, or where somebody only followed the address."""
        run = self._found(request, str(run_id))
        if name not in steering.WISHES:
            raise Http404
        if not self.has_steer_permission(request):
            raise PermissionDenied
        wish = steering.WISHES[name]
        if request.method == "POST" and (not wish.asks or request.POST.get("confirmed") == "yes"):
            return self._steered(request, run, wish)
        standing = Standing(run)
        context = {
            "title": f"{wish.label} run {run.pk}?",
            "run": run,
            "wish": wish,
            "standing": standing,
            "badge": state_badge(run.state, held=standing.held),
            "possible": wish in _offered(standing),
        }
        return self._page(request, "admin/ops/backfillrun/confirm.html", context)

    def _steered(
        self, request: HttpRequest, run: BackfillRun, wish: steering.Wish
    ) -> HttpResponseRedirect:
        try:
            run = wish.carry_out(run.pk, request.user.get_username())
        except (control.RunRefused, TransitionRefused, OperationalError) as error:
            self.message_user(request, f"Run {run.pk}: {error}", messages.ERROR)
        else:
            self.message_user(request, f"Run {run.pk} is {run.state}.", messages.SUCCESS)
        return redirect(reverse("admin:ops_backfillrun_change", args=[run.pk]))

    def _found(self, request: HttpRequest, object_id: str) -> BackfillRun:
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = (
            BackfillRun.objects.prefetch_related("checkpoints").filter(pk=object_id).first()
            if object_id.isdecimal()
            else None
        )
        if run is None:
            raise Http404(f"There is no run {object_id}.")
        return run

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, template, {**common, **context})


def _standing(run: BackfillRun) -> Standing:
    # Once a line of the list, for several of its cells.
    if not hasattr(run, "standing"):
        run.standing = Standing(run)  # type: ignore[attr-defined]
    return run.standing  # type: ignore[attr-defined,no-any-return]


def _offered(standing: Standing) -> list[steering.Wish]:
    return steering.offered(standing.run, held=standing.held, wrote=standing.changed > 0)


def _pace(standing: Standing) -> dict[str, Any]:
    left = standing.seconds_left
    return {
        "share": standing.share,
        "rate": standing.rate,
        "left": None if left is None else spoken(left),
    }


def _moment(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        **entry,
        "at": datetime.fromisoformat(entry["at"]),
        "badge": state_badge(entry["state"]),
    }


def _left_alone(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"reason": reason, **each} for reason, each in found.items()]
