"""Leftovers of killed creators: drafts that nobody writes any more."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


def forget_drafts(directory: Path) -> list[str]:
    """Remove drafts whose writer is gone (a live one holds a lock on its file); return their names."""
    removed = []
    for draft in sorted(directory.glob("*.part")):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()
            finally:
                os.close(descriptor)
            removed.append(draft.name)
            log.warning("stage_backup_draft_swept", name=draft.name)
    return removed
