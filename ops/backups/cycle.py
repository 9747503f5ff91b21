"""The upkeep of backups: the cycle that a timer runs, and the removal of old backups."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date
from typing import Final

from ops.backups import history, sidecar
from ops.backups.create import BackupRequest, alone, create
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupRefused
from ops.backups.records import present, record_pruned
from ops.backups.restore import TIME_LIMIT_SECONDS, restore
from ops.backups.source import Source, source
from ops.backups.verify import verify
from ops.gates.backup_rule import CheckVerdict
from stagenorm.terminal import ReportProgress, no_progress

KEEP: Final = 12  # four hours of a cycle every 20 minutes
KEEP_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The names of removed and kept backups.

    `assured` is the backup that was verified before; None if nothing was removed.
    """

    taken: list[str]
    kept: list[str]
    assured: str | None


@dataclass(frozen=True, slots=True)
class CycleResult:
    """The result of one cycle.

    `pruned` is None if the new backup did not pass: then nothing is removed.
    """

    backup: Backup
    checks: list[BackupCheck]
    pruned: PruneResult | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the new backup is valid."""
        return self.pruned is not None


def run(
    request: BackupRequest | None = None,
    *,
    keep: int,
    keep_days: int,
    into: Source | None = None,
    time_limit: float = TIME_LIMIT_SECONDS,
    progress: ReportProgress = no_progress,
) -> CycleResult:
    """Make a backup, verify it, test its restore (`time_limit` in seconds) and prune.

    `into` is another server for the restore. A backup that fails its verification is not
    restored. Raises `BackupRefused` or `BackupFailed` if no backup could be made.
    """
    started = time.perf_counter()
    backup = create(request, progress)
    checks = [verify(backup, progress)]
    if checks[0].verdict == CheckVerdict.PASSED:
        checks.append(restore(backup, into=into, time_limit=time_limit, progress=progress))
    passed = all(check.verdict == CheckVerdict.PASSED for check in checks)
    pruned = prune(keep, keep_days, progress) if passed else None
    return CycleResult(backup, checks, pruned, time.perf_counter() - started)


def prune(keep: int, keep_days: int, progress: ReportProgress = no_progress) -> PruneResult:
    """Remove old backups.

    Kept are the newest `keep` backups, and the newest valid one of each of the last `keep_days`
    days that have one.

    The newest valid backup is always kept. It is verified again first; if no backup passes,
    nothing is removed. Raises `BackupRefused` for negative numbers and while another process makes
    or prunes backups.
    """
    if keep < 0 or keep_days < 0:
        raise BackupRefused("The number of backups to keep cannot be negative.")
    with source().connect() as holder, alone(holder):
        _finish_earlier()
        assured = _assured(progress)
        backups = list(present())
        if assured is None:
            return PruneResult([], [each.name for each in backups], None)
        kept = _kept(backups, keep, keep_days) | {assured.pk}
        taken = [each for each in backups if each.pk not in kept]
        for backup in taken:
            record_pruned(backup)
            _remove(backup)
    kept_names = [each.name for each in backups if each.pk in kept]
    return PruneResult([each.name for each in taken], kept_names, assured.name)


def _assured(progress: ReportProgress) -> Backup | None:
    """Verify valid backups, newest first, until one passes; the verdicts are recorded."""
    for each in list(history.judged()):
        if each.validity.valid is False:
            continue
        if verify(each.backup, progress).verdict == CheckVerdict.PASSED:
            return each.backup
    return None


def _kept(backups: list[Backup], keep: int, keep_days: int) -> set[int]:
    newest_of_day: dict[date, int] = {}
    for each in history.judged():
        if each.validity.valid is not False:
            newest_of_day.setdefault(each.backup.snapshot_at.date(), each.backup.pk)
    days = sorted(newest_of_day, reverse=True)[:keep_days]
    return {each.pk for each in backups[:keep]} | {newest_of_day[day] for day in days}


def _finish_earlier() -> None:
    """Remove the files that a killed prune has left: their rows are marked as pruned."""
    for backup in Backup.objects.filter(pruned_at__isnull=False).order_by("-pruned_at")[:100]:
        _remove(backup)


def _remove(backup: Backup) -> None:
    for part in (sidecar.record_file(backup.path), sidecar.hash_file(backup.path), backup.path):
        part.unlink(missing_ok=True)
