"""Reasons to wait before the next batch: replicas that lag, and others who wait long for a lock on the table."""

from time import monotonic
from typing import Any

from django.db import connection

from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn, regclass

LOOK_EVERY_SECONDS = 1.0
LONG_LOCK_SECONDS = 2.0


class Throttle:
    """Asks the database at most once a second. `reason` is what to tell the operator, or None to go on."""

    def __init__(self, max_lag_seconds: float) -> None:
        self.max_lag_seconds = max_lag_seconds
        self._looked = float("-inf")

    def reason(self, column: StageColumn) -> str | None:
        """Why not to write to `column` now. Lag shows only to roles that may read pg_stat_replication (pg_monitor)."""
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
        return (
            row
            and f"replica {row[0] or '?'} is {row[1]:.1f} s behind (limit {self.max_lag_seconds:g} s)"
        )

    def _lock_wait(self, column: StageColumn) -> str | None:
        with connection.cursor() as cursor:
            parameters: dict[str, Any] = {
                "table_name": regclass(column.table),
                "seconds": LONG_LOCK_SECONDS,
            }
            cursor.execute(statements.LONG_LOCK_WAIT, parameters)
            row = cursor.fetchone()
        return (
            row
            and f"server process {row[0]} has waited {row[1]:.1f} s for {row[2]} on {column.table}"
        )
