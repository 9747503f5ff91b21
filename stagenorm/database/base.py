"""The database backend (`ENGINE`): Django's, with pinned limits and a cheaper check of the pool.

Limits: `transaction_timeout` exists since PostgreSQL 17. An older server refuses to start a
session with it, so it is set on each new connection instead of in the startup options. The pool
calls the same function for its connections, so a request takes no round trip for it.

The check: between two requests a pooled connection may end. The server restarts, or an
administrator or a pooler closes it. Django's check (`CONN_HEALTH_CHECKS`) sends an empty statement
before each request, which costs a round trip, and a server connection behind PgBouncer. Every
orderly end arrives as data at the socket, so it is enough to look whether there is any. Only then
is the statement sent: the data may also be a notice, or a parameter that the server reports after
a reload. A network that drops packets in silence is found by neither check: the empty statement
waits for it as long as the request's own statement does.
"""

from __future__ import annotations

import select
from typing import Any, Final

from django.db.backends.postgresql import base
from psycopg import Connection, Error
from psycopg_pool import ConnectionPool

from stagenorm import sessions

_AT_ONCE: Final = 0  # milliseconds


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper. `CONN_HEALTH_CHECKS` must be off, or the pool checks by a statement."""

    def _configure_connection(self, connection: Any) -> bool:
        """Set the parameters of `sessions.pin_late`; return whether a commit is needed.

        Behind a pooler in transaction mode (`DISABLE_SERVER_SIDE_CURSORS`) nothing is set: the
        session belongs to other clients too.
        """
        # The stubs of Django lack the hook.
        changed: bool = super()._configure_connection(connection)  # type: ignore[misc]
        if self.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            return changed
        return sessions.pin_late(connection) or changed

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection that the server has not ended: from the pool, or a new one.

        Raises `psycopg_pool.PoolTimeout` if the pool can open none in time.
        """
        connection = super().get_new_connection(conn_params)
        while self.pool and not is_alive(connection):
            connection.close()
            self.pool.putconn(connection)
            connection = super().get_new_connection(conn_params)
        return connection


def is_alive(connection: Connection[Any]) -> bool:
    """Return whether the server has not ended the connection, as far as this host knows."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(_AT_ONCE):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except Error:
        return False
    return True
