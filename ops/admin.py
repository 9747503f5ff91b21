"""The operator's pages in the admin, gathered where Django looks for them; each topic has its module."""

from ops.alerts.admin import HeartbeatAdmin, WebhookDeliveryAdmin
from ops.backfill.admin import BackfillRunAdmin
from ops.backfill.log_admin import NormalizationLogAdmin
from ops.backups.admin import BackupAdmin, BackupCheckAdmin

__all__ = [
    "BackfillRunAdmin",
    "BackupAdmin",
    "BackupCheckAdmin",
    "HeartbeatAdmin",
    "NormalizationLogAdmin",
    "WebhookDeliveryAdmin",
]
