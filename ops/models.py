"""The models of `ops`. Django imports this module; each room defines its own models."""

from ops.alerts.models import Heartbeat, UsedSignature, WebhookDelivery
from ops.backfill.models import BackfillCheckpoint, BackfillRun, NormalizationLog
from ops.backups.models import Backup, BackupCheck
from ops.consumers.models import ConsumerDecision
from ops.pages.letters.models import LetterLinkSeries
from ops.pages.spellings.models import (
    DecisionDraft,
    OpenedSpelling,
    SpellingCount,
    SpellingWeight,
)

__all__ = [
    "BackfillCheckpoint",
    "BackfillRun",
    "Backup",
    "BackupCheck",
    "ConsumerDecision",
    "DecisionDraft",
    "Heartbeat",
    "LetterLinkSeries",
    "NormalizationLog",
    "OpenedSpelling",
    "SpellingCount",
    "SpellingWeight",
    "UsedSignature",
    "WebhookDelivery",
]
