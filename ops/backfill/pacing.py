"""The pace of a run: the size of a batch, the rest after it, and when the run waits."""

from dataclasses import dataclass
from time import monotonic
from typing import Any

from django.db import connection

from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn
from ops.backfill.models import LARGEST_BATCH

TARGET_SECONDS = 0.5
SMALLEST = 100
# While clients wait for rows of the run, batches shrink to a size that clients hardly notice.
SMALLEST_CONTENDED = 500

LOOK_EVERY_SECONDS = 1.0
LONG_LOCK_SECONDS = 2.0


@dataclass
class Pace:
    """Steers `size`, the rows of the next batch, towards TARGET_SECONDS a batch.

    `size` never exceeds `largest`, and shrinks while clients wait for rows. After each batch the
    run rests `backoff_ms`, or `backoff_share` of the batch's time when given.
    """

    size: int
    backoff_ms: int = 100
    backoff_share: float | None = None
    largest: int = LARGEST_BATCH
    ceiling: float = LARGEST_BATCH

    def note(self, seconds: float, contended: bool) -> None:
        """Adapt to a batch of `size` rows that took `seconds`: at most double, or shrink."""
        if contended:
            self.ceiling = max(SMALLEST_CONTENDED, min(self.ceiling, self.size) / 2)
        else:
            self.ceiling = min(LARGEST_BATCH, self.ceiling * 1.1)
        factor = min(2.0, TARGET_SECONDS / max(seconds, 1e-6))
        wanted = max(SMALLEST, min(self.size * factor, self.ceiling))
        self.size = min(self.largest, int(wanted))

    def shrink(self) -> None:
        """Halve the next batch: the last one ran into a time limit."""
        self.size = max(min(SMALLEST, self.size), self.size // 2)

    def rest(self, seconds: float) -> float:
        """Return the seconds to rest after a batch that took `seconds`."""
        if self.backoff_share is not None:
            return seconds * self.backoff_share
        return self.backoff_ms / 1000


class Throttle:
    """Finds reasons to wait: a replica that lags, or a session that waits long for the table.

    Asks the database at most once a second.
    """

    def __init__(self, max_lag_seconds: float) -> None:
        self.max_lag_seconds = max_lag_seconds
        self._looked = float("-inf")

    def reason(self, column: StageColumn) -> str | None:
        """Return why the run must not write to `column` now, or None.

        Replica lag is visible only to roles that may read pg_stat_replication (pg_monitor).
        """
        if monotonic() - self._looked < LOOK_EVERY_SECONDS:
            return None
        found = self._lag() or self._lock_wait(column)
        if found is None:
            self._looked = monotonic()
        return found

    def _lag(self) -> str | None:
        with connection.cursor() as cursor:
            cursor.execute(statements.REPLICA_LAG, {"seconds": self.max_lag_seconds})
            row = cursor.fetchone()
        if row is None:
            return None
        name, lag = row
        return f"replica {name or '?'} is {lag:.1f} s behind (limit {self.max_lag_seconds:g} s)"

    def _lock_wait(self, column: StageColumn) -> str | None:
        parameters: dict[str, Any] = {"table": column.regclass, "seconds": LONG_LOCK_SECONDS}
        with connection.cursor() as cursor:
            cursor.execute(statements.LONG_LOCK_WAIT, parameters)
            row = cursor.fetchone()
        if row is None:
            return None
        pid, seconds, mode = row
        return f"server process {pid} has waited {seconds:.1f} s for {mode} on {column.table}"
