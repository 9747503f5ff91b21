"""The Django admin of ops, gathered where Django looks for it; each topic has its module."""

from ops.admin.alerts import HeartbeatAdmin, WebhookDeliveryAdmin
from ops.admin.backups import BackupAdmin, BackupCheckAdmin
from ops.admin.consumers import ConsumerDecisionAdmin
from ops.admin.normalization_log import NormalizationLogAdmin
from ops.admin.runs import BackfillRunAdmin

__all__ = [
    "BackfillRunAdmin",
    "BackupAdmin",
    "BackupCheckAdmin",
    "ConsumerDecisionAdmin",
    "HeartbeatAdmin",
    "NormalizationLogAdmin",
    "WebhookDeliveryAdmin",
]
