"""Which database errors are transient, and how a batch is retried after one."""

from collections.abc import Callable
from typing import TypeVar

from django.db import Error, InterfaceError, OperationalError, connection

T = TypeVar("T")

ATTEMPTS = 8
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0

TIME_LIMITS = {"55P03": "a lock was not available in time", "57014": "the statement took too long"}
CONFLICTS = {"40P01": "a deadlock was resolved", "40001": "a concurrent change conflicted"}
# 57P01-57P03: the server ends the session or does not accept one yet; class 08: the connection.
LOST = {"57P01", "57P02", "57P03", "57P05", "25P03"}


class BatchFailed(RuntimeError):
    """A batch failed permanently; the message names the rows and the database's reason."""


class ConnectionLost(RuntimeError):
    """The database does not answer; committed batches are safe, and the run can be resumed."""


def transient(error: Error) -> str | None:
    """Return why the next attempt may succeed; None for a permanent error."""
    state = sqlstate(error)
    if reason := TIME_LIMITS.get(state) or CONFLICTS.get(state):
        return reason
    return "the connection was lost" if lost(error) else None


def lost(error: Error) -> bool:
    """Return whether the connection is gone."""
    state = sqlstate(error)
    if not state:
        return isinstance(error, OperationalError | InterfaceError)
    return state in LOST or state.startswith("08")


def timed_out(error: Error) -> bool:
    """Return whether a time limit ended the statement: a smaller batch may then succeed."""
    return sqlstate(error) in TIME_LIMITS


def sqlstate(error: Error) -> str:
    """Return the error's SQLSTATE; "" without one, as when a connection breaks."""
    return getattr(error.__cause__, "sqlstate", None) or ""


def persist(
    call: Callable[[], T],
    *,
    before_retry: Callable[[Error, str, float], None],
    reconnect: Callable[[], None],
    may_reconnect: bool = True,
) -> T:
    """Return `call()`; retry after transient errors, with growing waits.

    `before_retry(error, reason, seconds)` waits. `reconnect()` registers a new connection. Raises
    the last error when the attempts are used up or the error is permanent, and ConnectionLost when
    the database stays away.
    """
    away = False
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if away:
                reconnect()
                away = False
            return call()
        except Error as error:
            reason = transient(error)
            away = lost(error)
            if away and may_reconnect:
                connection.close()
            final = attempt == ATTEMPTS or (away and not may_reconnect)
            if away and final:
                message = f"The database does not answer: {first_line(error)}"
                raise ConnectionLost(message) from error
            if reason is None or final:
                raise
            before_retry(error, reason, _wait_seconds(attempt))
    raise AssertionError("unreachable")


def first_line(error: BaseException) -> str:
    """Return the database's message without its context lines."""
    return str(error).strip().partition("\n")[0][:500]


def _wait_seconds(attempt: int) -> float:
    doubled: float = FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
    return min(LONGEST_WAIT_SECONDS, doubled)
