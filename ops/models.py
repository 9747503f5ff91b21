"""The operator's tables, gathered here because this is where Django looks."""

from ops.alerts.heartbeats import Heartbeat
from ops.alerts.models import UsedSignature, WebhookDelivery
from ops.backfill.models import BackfillCheckpoint, BackfillRun, NormalizationLog
from ops.backups.models import Backup, BackupCheck

__all__ = [
    "BackfillCheckpoint",
    "BackfillRun",
    "Backup",
    "BackupCheck",
    "Heartbeat",
    "NormalizationLog",
    "UsedSignature",
    "WebhookDelivery",
]
