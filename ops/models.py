"""The operator's tables, gathered here because this is where Django looks."""

from ops.backfill.models import BackfillCheckpoint, BackfillRun, NormalizationLog

__all__ = ["BackfillCheckpoint", "BackfillRun", "NormalizationLog"]
