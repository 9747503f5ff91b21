"""The register of serving processes in the database.

Each process reports itself every two seconds, on the ticker's thread: the version that it serves,
when its guard last ticked, and how far its clock is from the database's. The register needs no
Redis, and it forgets no process by itself: one that is frozen stays listed as behind until it is
restarted, or removed by name. Reports in Redis (`instances`) are faster and expire; `instances`
joins both. `instance_reporter` writes the row of this process.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

# A process of this host that is gone is removed after this silence. It reports every two seconds.
GONE_SECONDS: Final = 3.0

# The second table keeps the time of the first report of each version.
REPORT: Final = """
WITH reported AS (
INSERT INTO normalization_servinginstance (name, host, pid, version, mode, age_seconds, guard,
                                           guard_age_seconds, skew_seconds, store, seen_at)
VALUES (%(name)s, %(host)s, %(pid)s, %(version)s, %(mode)s, %(age)s, %(guard)s,
        %(guard_age)s, %(skew)s, %(store)s, statement_timestamp())
ON CONFLICT (name) DO UPDATE SET
    version = excluded.version, mode = excluded.mode, age_seconds = excluded.age_seconds,
    guard = excluded.guard, guard_age_seconds = excluded.guard_age_seconds,
    skew_seconds = excluded.skew_seconds, store = excluded.store, seen_at = excluded.seen_at
)
INSERT INTO normalization_servedversion (version, name, served_at)
VALUES (%(version)s, %(name)s, statement_timestamp())
ON CONFLICT (version, name) DO NOTHING
"""

# A process that reported an older version, and had not reported `version` when it was recorded,
# had to follow. One that started later did not.
FOLLOWED: Final = """
SELECT count(*), extract(epoch FROM max(first_at) - %(recorded)s)::float8
FROM (SELECT name, min(served_at) FILTER (WHERE version >= %(version)s) AS first_at,
             bool_or(version < %(version)s) AS followed
      FROM normalization_servedversion GROUP BY name) AS process
WHERE followed AND first_at >= %(recorded)s
"""

CLOCK: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"

REGISTERED: Final = """
SELECT name, host, pid, version, mode, age_seconds, guard, guard_age_seconds, skew_seconds,
       store, greatest(0, extract(epoch FROM clock_timestamp() - seen_at))::float8
FROM normalization_servinginstance ORDER BY host, pid
"""

REMOVE: Final = "DELETE FROM normalization_servinginstance WHERE name = ANY(%s)"


@dataclass(frozen=True, slots=True)
class RegisteredInstance:
    """A row of the register.

    `store` is the process's `conf.shared_store()`, "" of an earlier release. `silent` is the time
    in seconds since the process reported.
    """

    name: str
    host: str
    pid: int
    version: int
    mode: str
    age: float
    guard: str
    guard_age: float | None
    skew: float
    store: str
    silent: float

    @property
    def gone(self) -> bool:
        """Whether this is a process of this host that has ended without removing its row."""
        return (
            self.host == socket.gethostname()
            and self.silent > GONE_SECONDS
            and not _exists(self.pid)
        )


def write(row: dict[str, Any]) -> None:
    """Insert or replace the row of this process; raises `django.db.Error`.

    `row` has the parameters of REPORT that `identity` does not give.
    """
    with connection.cursor() as cursor:
        cursor.execute(REPORT, {**identity(), **row})


def identity() -> dict[str, Any]:
    """Return the name, host and process id of this process."""
    host, pid = socket.gethostname(), os.getpid()
    return {"name": f"{host}:{pid}", "host": host, "pid": pid}


def measured_skew() -> float:
    """Return the clock of this process minus the database's, in seconds.

    Raises `django.db.Error`.
    """
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute(CLOCK)
        (there,) = cursor.fetchone()
    return round((before + time.time()) / 2 - float(there), 3)


def registered() -> tuple[RegisteredInstance, ...]:
    """Return the serving processes; raises `django.db.Error`."""
    return tuple(each for each in rows() if not each.gone)


def followed(version: int, recorded: datetime) -> tuple[int, float | None]:
    """Return how many processes took over `version`, and the seconds until the last one did.

    `recorded` is the time of the change. The seconds are None if no process reported it. Raises
    `django.db.Error`.
    """
    with connection.cursor() as cursor:
        cursor.execute(FOLLOWED, {"version": version, "recorded": recorded})
        processes, seconds = cursor.fetchone()
        return int(processes), seconds


def rows() -> tuple[RegisteredInstance, ...]:
    """Return every row, also of processes that are gone; raises `django.db.Error`."""
    with connection.cursor() as cursor:
        cursor.execute(REGISTERED)
        return tuple(RegisteredInstance(*row) for row in cursor.fetchall())


def remove(names: list[str]) -> int:
    """Delete the rows of these processes and return how many there were."""
    if not names:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(REMOVE, [names])
        return int(cursor.rowcount)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True
