"""Which database errors pass, and taking a batch again after one that does."""

from collections.abc import Callable
from typing import TypeVar

from django.db import Error, InterfaceError, OperationalError, connection

T = TypeVar("T")

ATTEMPTS = 8
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0

TIME_LIMITS = {"55P03": "a lock was not to be had in time", "57014": "the statement took too long"}
CONFLICTS = {"40P01": "a deadlock was resolved", "40001": "a concurrent change got in between"}
# 57P01-57P03: the server ends the session or does not take one yet; class 08: the connection.
LOST = {"57P01", "57P02", "57P03", "57P05", "25P03"}


class BatchFailed(RuntimeError):
    """A batch failed for good; the message names the rows and the database's reason."""


class ConnectionLost(RuntimeError):
    """The database does not answer; what was committed stands, and the run can be taken up again."""


def passing(error: Error) -> str | None:
    """Why `error` may be gone with the next attempt; None for one that will not."""
    state = sqlstate(error)
    if reason := TIME_LIMITS.get(state) or CONFLICTS.get(state):
        return reason
    return "the connection was lost" if lost(error) else None


def lost(error: Error) -> bool:
    """Whether the connection is gone."""
    state = sqlstate(error)
    return (
        state in LOST
        or state.startswith("08")
        or (not state and isinstance(error, OperationalError | InterfaceError))
    )


def timed_out(error: Error) -> bool:
    """Whether a time limit ended the statement, so that fewer rows may fit into it."""
    return sqlstate(error) in TIME_LIMITS


def sqlstate(error: Error) -> str:
    """The error's SQLSTATE, "" when it has none (a connection that broke)."""
    return getattr(error.__cause__, "sqlstate", None) or ""


def persist(
    take: Callable[[], T],
    *,
    before_retry: Callable[[Error, str, float], None],
    reconnect: Callable[[], None],
    may_reconnect: bool = True,
) -> T:
    """`take()`, again after errors that pass, with growing waits in `before_retry(error, reason, seconds)`.

    A lost connection is opened anew (`reconnect`). Raises the last error when the attempts are used up or it does not
    pass; ConnectionLost when the database stays away.
    """
    away = False
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if away:
                reconnect()
                away = False
            return take()
        except Error as error:
            reason = passing(error)
            away = lost(error)
            if away and may_reconnect:
                connection.close()
            if reason is None or attempt == ATTEMPTS or (away and not may_reconnect):
                if away:
                    raise ConnectionLost(
                        f"The database does not answer: {first_line(error)}"
                    ) from error
                raise
            before_retry(
                error, reason, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
            )
    raise AssertionError("unreachable")


def first_line(error: BaseException) -> str:
    """The database's message without its context lines."""
    return str(error).strip().partition("\n")[0][:500]
