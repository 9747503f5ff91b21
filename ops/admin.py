"""The operator's pages in the admin."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin, messages
from django.db import OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest

from normalization.admin import LedgerAdmin
from ops.alerts.models import WebhookDelivery
from ops.backfill import control
from ops.backfill.models import BackfillCheckpoint, BackfillRun, NormalizationLog
from ops.backfill.states import TransitionRefused
from ops.backups import history
from ops.backups.models import Backup, BackupCheck
from ops.backups.validity import validity
from ops.heartbeats import Heartbeat

# -- Backups ----------------------------------------------------------------------------------------


@admin.register(Backup)
class BackupAdmin(LedgerAdmin):
    """Backups, and which of them count."""

    list_display = ("name", "snapshot_at", "size", "seconds", "counts", "because", "restored_in", "host", "pruned_at")
    list_filter = (("pruned_at", admin.EmptyFieldListFilter),)
    date_hierarchy = "snapshot_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Backup]:
        """Fetch the checks along: each line is judged by them."""
        return Backup.objects.prefetch_related("checks")

    @admin.display(boolean=True)
    def counts(self, backup: Backup) -> bool:
        """Whether both checks passed and none failed since."""
        return validity(backup.name, backup.sha256, history.in_order(backup)).valid

    @admin.display(description="why")
    def because(self, backup: Backup) -> str:
        """What the records say."""
        return validity(backup.name, backup.sha256, history.in_order(backup)).reason

    @admin.display(description="restored in")
    def restored_in(self, backup: Backup) -> str:
        """How long the last passed drill took."""
        seconds = history.restore_seconds(history.in_order(backup))
        return "" if seconds is None else f"{seconds:.1f} s"


@admin.register(BackupCheck)
class BackupCheckAdmin(LedgerAdmin):
    """The ledger of checks."""

    list_display = ("checked_at", "backup", "kind", "verdict", "reason", "seconds", "checked_by", "host")
    list_filter = ("kind", "verdict")
    list_select_related = ("backup",)


@admin.register(Heartbeat)
class HeartbeatAdmin(LedgerAdmin):
    """When the alert path proved itself."""

    list_display = ("received_at", "fingerprint")


# -- Backfill ---------------------------------------------------------------------------------------


class CheckpointInline(admin.TabularInline[BackfillCheckpoint, BackfillRun]):
    """How far the run is in each column."""

    model = BackfillCheckpoint
    fields = readonly_fields = (
        "table_name",
        "column_name",
        "progress",
        "cursor",
        "until",
        "passes",
        "changed",
        "skipped",
        "unknown",
        "left_alone",
        "finished",
        "updated_at",
    )
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: BackfillRun | None = None) -> bool:
        """Nobody adds checkpoints by hand."""
        return False

    @admin.display(description="looked at")
    def progress(self, checkpoint: BackfillCheckpoint) -> str:
        """Rows looked at, of how many."""
        return f"{checkpoint.scanned:,} of {checkpoint.total:,}"


@admin.register(BackfillRun)
class BackfillRunAdmin(LedgerAdmin):
    """Runs over the stored stages. They are steered by actions, through the functions that the command line uses."""

    list_display = (
        "id",
        "kind",
        "state",
        "waiting_for",
        "rows_changed",
        "rows_looked_at",
        "lease_holder",
        "heartbeat_at",
        "actor",
        "created_at",
        "finished_at",
    )
    list_filter = ("state", "kind")
    inlines = (CheckpointInline,)
    actions = ("pause", "resume", "cancel", "undo")
    readonly_fields = ("pairs",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackfillRun]:
        """Fetch the checkpoints along: each line adds them up."""
        return BackfillRun.objects.prefetch_related("checkpoints")

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Who may change runs may steer them; nobody edits them."""
        return request.user.has_perm("ops.change_backfillrun")

    @admin.display(description="changed")
    def rows_changed(self, run: BackfillRun) -> str:
        """Rows written so far."""
        return f"{sum(each.changed for each in run.checkpoints.all()):,}"

    @admin.display(description="looked at")
    def rows_looked_at(self, run: BackfillRun) -> str:
        """Rows looked at so far, of how many."""
        done = list(run.checkpoints.all())
        return f"{sum(each.scanned for each in done):,} of {sum(each.total for each in done):,}"

    @admin.display(description="written")
    def pairs(self, run: BackfillRun) -> str:
        """What became of each value, with rows, the most frequent first."""
        return "\n".join(f"{before!r} → {after}: {rows:,}" for before, after, rows in control.written(run))

    @admin.action(description="Pause before the next batch", permissions=["steer"])
    def pause(self, request: HttpRequest, queryset: QuerySet[BackfillRun]) -> None:
        """Pause the chosen runs."""
        self._steer(request, queryset, control.pause)

    @admin.action(description="Resume", permissions=["steer"])
    def resume(self, request: HttpRequest, queryset: QuerySet[BackfillRun]) -> None:
        """Let the waiting processes of the chosen runs go on."""
        self._steer(request, queryset, control.resume)

    @admin.action(description="Cancel before the next batch", permissions=["steer"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[BackfillRun]) -> None:
        """Cancel the chosen runs."""
        self._steer(request, queryset, control.cancel)

    @admin.action(description="Plan an undo (a process carries it out)", permissions=["steer"])
    def undo(self, request: HttpRequest, queryset: QuerySet[BackfillRun]) -> None:
        """Plan an undo of the chosen runs."""
        self._steer(request, queryset, lambda run, actor: control.begin_undo(run, control.Options(), actor))

    def _steer(
        self, request: HttpRequest, queryset: QuerySet[BackfillRun], change: Callable[[int, str], BackfillRun]
    ) -> None:
        for run_id in queryset.order_by("-pk").values_list("pk", flat=True):
            try:
                run = change(run_id, request.user.get_username())
            except (control.RunRefused, TransitionRefused, OperationalError) as error:
                self.message_user(request, f"Run {run_id}: {error}", messages.ERROR)
            else:
                take_up = " Carry it out: manage.py normalize_stages --apply --resume" if run.state == "planned" else ""
                self.message_user(request, f"Run {run.pk} is {run.state}.{take_up}", messages.SUCCESS)


@admin.register(NormalizationLog)
class NormalizationLogAdmin(LedgerAdmin):
    """Every write of every run. The ids are left out of the list: a batch has thousands."""

    list_display = ("run", "batch", "table_name", "column_name", "before", "after", "rows", "written_at")
    list_filter = ("table_name", "after")
    search_fields = ("before",)
    list_select_related = ("run",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[NormalizationLog]:
        """Leave the ids in the database until one row is opened."""
        return NormalizationLog.objects.defer("ids")


# -- Alerts -----------------------------------------------------------------------------------------


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(LedgerAdmin):
    """What came in over the webhook, and what became of it."""

    list_display = ("received_at", "endpoint", "outcome", "alert_names", "fingerprint", "actor", "version", "detail")
    list_filter = ("endpoint", "outcome")
    date_hierarchy = "received_at"
