"""Taking old backups away: never the last one that counts, and never on the word of a record alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from ops.backups import history, sidecar
from ops.backups.create import alone
from ops.backups.models import Backup
from ops.backups.outcomes import BackupRefused, CheckVerdict
from ops.backups.records import present, record_pruned
from ops.backups.source import source
from ops.backups.verify import verify
from stagenorm.terminal import ReportProgress, no_progress

KEEP: Final = 12  # four hours of a cycle every 20 minutes
KEEP_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was taken away, what stays, and the backup that was read again to be sure of it."""

    taken: list[str]
    kept: list[str]
    assured: str | None


def prune(keep: int, keep_days: int, progress: ReportProgress = no_progress) -> Pruned:
    """Keep the newest `keep` backups and the newest valid one of each of the last `keep_days` days that have one.

    The newest valid one whose bytes are still right is always kept: it is read again before anything is removed, and
    without such a one nothing is.
    """
    if keep < 0 or keep_days < 0:
        raise BackupRefused("How many to keep cannot be negative.")
    with source().connect() as holder, alone(holder):
        _finish_earlier()
        assured = _assured(progress)
        backups = list(present())
        kept = _kept(backups, keep, keep_days) | (
            {assured.pk} if assured else {each.pk for each in backups}
        )
        taken = [each for each in backups if each.pk not in kept]
        for backup in taken:
            record_pruned(backup)
            _remove(backup)
    return Pruned(
        taken=[each.name for each in taken],
        kept=[each.name for each in backups if each.pk in kept],
        assured=assured.name if assured else None,
    )


def _assured(progress: ReportProgress) -> Backup | None:
    """Read valid backups again, newest first, until one has the right bytes; the verdicts are recorded."""
    for backup, state, _ in list(history.with_validity()):
        if state.valid and verify(backup, progress).verdict == CheckVerdict.PASSED:
            return backup
    return None


def _kept(backups: list[Backup], keep: int, keep_days: int) -> set[int]:
    newest_of_day: dict[date, int] = {}
    for backup, state, _ in history.with_validity():
        if state.valid:
            newest_of_day.setdefault(backup.snapshot_at.date(), backup.pk)
    days = sorted(newest_of_day, reverse=True)[:keep_days]
    return {each.pk for each in backups[:keep]} | {newest_of_day[day] for day in days}


def _finish_earlier() -> None:
    """Remove files that a killed prune has left: their rows say that they are gone."""
    for backup in Backup.objects.filter(pruned_at__isnull=False).order_by("-pruned_at")[:100]:
        _remove(backup)


def _remove(backup: Backup) -> None:
    for part in (sidecar.record_file(backup.path), sidecar.hash_file(backup.path), backup.path):
        part.unlink(missing_ok=True)
