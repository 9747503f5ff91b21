"""The operator's pages in the admin."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from normalization.admin import LedgerAdmin
from ops.alerts.models import WebhookDelivery
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


# -- Alerts -----------------------------------------------------------------------------------------


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(LedgerAdmin):
    """What came in over the webhook, and what became of it."""

    list_display = ("received_at", "endpoint", "outcome", "alert_names", "fingerprint", "actor", "version", "detail")
    list_filter = ("endpoint", "outcome")
    date_hierarchy = "received_at"
