"""The operator's tables, gathered here because this is where Django looks."""

from ops.backfill.models import BackfillCheckpoint, BackfillRun, NormalizationLog
from ops.backups.models import Backup, BackupCheck
from ops.heartbeats import Heartbeat

__all__ = ["BackfillCheckpoint", "BackfillRun", "Backup", "BackupCheck", "Heartbeat", "NormalizationLog"]
