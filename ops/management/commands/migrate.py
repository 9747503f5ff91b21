"""`manage.py migrate`: Django's command, run by one process at a time.

Instances that are deployed together often migrate at the same moment. The first one holds an
advisory lock for its session; the others wait, then find nothing left to apply.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import Error as StoreError
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from stagenorm.locks import MIGRATION
from stagenorm.sessions import PooledSession, require_session

# The lock is polled. A session that waits inside a statement holds a snapshot, and CREATE INDEX
# CONCURRENTLY of the other process waits for the end of every older snapshot: a deadlock.
POLL_SECONDS: Final = 0.5


class Command(migrate.Command):
    """Django's command, system checks included, under an advisory lock."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Run Django's command under the lock. Options that change nothing take no lock."""
        if options["plan"] or options["check_unapplied"]:
            super().handle(*args, **options)
            return
        with self._alone(connections[options["database"]]):
            super().handle(*args, **options)

    @contextlib.contextmanager
    def _alone(self, database: BaseDatabaseWrapper) -> Iterator[None]:
        """Hold the lock. Raises CommandError through a pooler, `django.db.Error` otherwise."""
        database.ensure_connection()
        try:
            require_session(database.connection)
        except PooledSession as fault:
            raise CommandError(str(fault)) from fault
        self._wait(database)
        try:
            yield
        finally:
            # The end of the session releases the lock too: a failed migration may have ended it.
            with contextlib.suppress(StoreError):
                _ask(database, "SELECT pg_advisory_unlock(%s)")

    def _wait(self, database: BaseDatabaseWrapper) -> None:
        told = False
        while not _ask(database, "SELECT pg_try_advisory_lock(%s)"):
            if not told:
                self.stderr.write("Another process migrates this database: waiting for its end.")
                told = True
            time.sleep(POLL_SECONDS)


def _ask(database: BaseDatabaseWrapper, statement: str) -> bool:
    with database.cursor() as cursor:
        cursor.execute(statement, [MIGRATION])
        return bool(cursor.fetchone()[0])
