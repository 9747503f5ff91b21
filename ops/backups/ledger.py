"""`ledger.jsonl` beside the backups: the same story as the tables tell, for the day when the tables are gone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import structlog
from django.utils import timezone

log = structlog.get_logger(__name__)

NAME: Final = "ledger.jsonl"


def append(directory: Path, event: str, **members: Any) -> None:
    """Add one line. A directory that cannot be written is logged, never raised: the table has the row already."""
    line = (
        json.dumps({"at": timezone.now().isoformat(), "event": event, **members}, default=str)
        + "\n"
    )
    try:
        descriptor = os.open(
            directory / NAME,
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        try:
            os.write(descriptor, line.encode())  # one write: lines of several processes do not mix
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("stage_backup_ledger_not_written", error=type(error).__name__)
