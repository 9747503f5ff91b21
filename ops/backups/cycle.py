"""Everything that a timer runs: make a backup, put it to both checks, take old ones away."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ops.backups.create import Wish, create
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import CheckVerdict
from ops.backups.prune import Pruned, prune
from ops.backups.restore import TIME_LIMIT_SECONDS, restore
from ops.backups.verify import verify
from stagenorm.terminal import ReportProgress, no_progress


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one round did. `pruned` is None when the new backup did not pass: then nothing is taken away."""

    backup: Backup
    checks: list[BackupCheck]
    pruned: Pruned | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the new backup counts."""
        return self.pruned is not None


def run(
    wish: Wish | None = None,
    *,
    keep: int,
    keep_days: int,
    time_limit: float = TIME_LIMIT_SECONDS,
    progress: ReportProgress = no_progress,
) -> Cycle:
    """Carry out one round. A backup that fails its verification is not restored.

    Raises `BackupRefused` or `BackupFailed` when no backup could be made.
    """
    started = time.perf_counter()
    backup = create(wish, progress)
    checks = [verify(backup, progress)]
    if checks[0].verdict == CheckVerdict.PASSED:
        checks.append(restore(backup, time_limit=time_limit, progress=progress))
    passed = all(check.verdict == CheckVerdict.PASSED for check in checks)
    pruned = prune(keep, keep_days, progress) if passed else None
    return Cycle(backup, checks, pruned, time.perf_counter() - started)
