"""The models of `ops`. Django imports this module; each room defines its own models."""

from ops.alerts.models import Heartbeat, UsedSignature, WebhookDelivery
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
