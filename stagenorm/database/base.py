"""The database backend of direct connections: the name of this module is Django's.

`transaction_timeout` exists since PostgreSQL 17. An older server refuses to start a session with
it, so it is set on each new connection instead of in the startup options. The pool calls the same
function for its connections, so that a request takes no further round trip.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from stagenorm import sessions


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL with a session that pins every limit."""

    def _configure_connection(self, connection: Any) -> bool:
        """Set the parameters of `sessions.pin_late`; return whether a commit is needed."""
        # The stubs of Django lack the hook.
        changed = super()._configure_connection(connection)  # type: ignore[misc]
        return sessions.pin_late(connection) or changed
