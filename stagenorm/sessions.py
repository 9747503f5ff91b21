"""What a database session rests on, in spite of settings of a role, a database or a pooler.

A direct connection sends its parameters when it starts. A pooler in transaction mode, such as
PgBouncer, refuses them, and a `SET` through it would reach the sessions of others. With
`DATABASE_POOLER=transaction` the role carries them instead (`ALTER ROLE … IN DATABASE … SET`);
`/readyz` and `session_checks` compare what a session has with what is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.errors import (
    InsufficientPrivilege,
    ReadOnlySqlTransaction,
    UndefinedColumn,
    UndefinedTable,
)
from psycopg.rows import TupleRow

UNLIMITED: Final[Mapping[str, str]] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}

TRANSACTION_TIMEOUT_SINCE: Final = 170000
"""An older server refuses to start a session with `transaction_timeout`."""

MEANING: Final[Mapping[str, str]] = {
    "search_path": '"$user", public',
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",  # otherwise a NULL in an array is the text NULL
    "quote_all_identifiers": "off",
    "extra_float_digits": "1",
    "row_security": "off",  # a policy that hides rows is an error, not a smaller count
}
"""What answers and counts depend on. The names are those that PostgreSQL's SHOW gives."""

NEEDS_SESSION: Final = (
    "This connection goes through a pooler, and this command needs a session of its own. "
    "Set COMMAND_DATABASE_URL (backups: BACKUP_DATABASE_URL) to the server's own address."
)


def is_read_only(error: BaseException) -> bool:
    """Whether a write was refused because the server is a standby, or set to read only.

    `error` is psycopg's own or Django's around it.
    """
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    return isinstance(cause, ReadOnlySqlTransaction)


def condition(error: BaseException) -> str:
    """Return what is wrong with the database, to follow "The database"."""
    return "is read-only" if is_read_only(error) else "does not answer"


def database_fault(error: BaseException) -> str:
    """Return a sentence for the operator about a database error; "" if the error is a bug."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error):
        return ""
    first = str(cause).partition("\n")[0].removesuffix(".")
    if isinstance(cause, UndefinedTable | UndefinedColumn):
        return (
            f"The database lacks a table or column: {first}. "
            "Run manage.py migrate, or correct DATABASE_URL."
        )
    if isinstance(cause, InsufficientPrivilege):
        return f"The database role may not do this: {first}. DATABASE_URL names the role."
    if is_read_only(cause):
        return (
            f"The database is read-only: {first}. Wait for the end of the failover, or let "
            "DATABASE_URL find the primary: several hosts with target_session_attrs=read-write."
        )
    if not isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError):
        return ""
    if cause.sqlstate is None or cause.sqlstate[:2] in _GONE:
        return (
            f"The database does not answer: {first}. "
            "Check that PostgreSQL runs and that DATABASE_URL is correct."
        )
    return f"The database could not do this: {first}."


_GONE: Final = ("08", "28", "3D", "57")
"""SQLSTATE classes: connection lost, login refused, unknown database, shut down by an operator."""


class PooledSession(RuntimeError):
    """A command that needs a session was about to run through a pooler."""


@dataclass(frozen=True, slots=True)
class SessionFault:
    """A parameter of a session that is not as needed."""

    name: str
    value: str
    needed: str

    def __str__(self) -> str:
        return f"{self.name} is {self.value!r} in a database session, not {self.needed!r}"


def startup_options(needed: Mapping[str, str], own: str = "") -> str:
    """Return the parameters as libpq's `options`, which a direct server applies at the start.

    `own` are the options of DATABASE_URL: they may change what is read, such as `search_path`, but
    not the limits.
    """
    early = {name: value for name, value in needed.items() if name != "transaction_timeout"}
    limits = {name: value for name, value in early.items() if name.endswith("_timeout")}
    meaning = {name: value for name, value in early.items() if name not in limits}
    return " ".join(part for part in (_options(meaning), own, _options(limits)) if part)


def pin_late(link: psycopg.Connection[TupleRow]) -> bool:
    """Set what the startup options cannot contain; return whether anything was set."""
    if link.info.server_version < TRANSACTION_TIMEOUT_SINCE:
        return False
    link.execute("SET transaction_timeout = 0")
    return True


def faults(cursor: Any, needed: Mapping[str, str]) -> list[SessionFault]:
    """Return the parameters of the cursor's session that are not as needed.

    A parameter that the server does not have is left out.
    """
    names = list(needed)
    cursor.execute("SELECT n, current_setting(n, true) FROM unnest(%s::text[]) n", [names])
    return [
        SessionFault(name, value, needed[name])
        for name, value in cursor.fetchall()
        if value is not None and not _equal(name, value, needed[name])
    ]


def require_session(link: psycopg.Connection[TupleRow]) -> None:
    """Raise `PooledSession` if `link` goes through a pooler.

    A pooler answers the protocol with a process id of its own. Nothing in the session changes.
    """
    with link.cursor() as cursor:
        row = cursor.execute("SELECT pg_backend_pid()").fetchone()
    if row is None or row[0] != link.info.backend_pid:
        raise PooledSession(NEEDS_SESSION)


def _options(parameters: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in parameters.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def _equal(name: str, value: str, needed: str) -> bool:
    if name.endswith("_timeout"):
        return _milliseconds(value) == _milliseconds(needed)
    return value.lower() == needed.lower()


_UNITS: Final = {"us": 0.001, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def _milliseconds(value: str) -> float:
    """Read a time as PostgreSQL writes it: "15s", "1500ms", "0"."""
    digits = value.rstrip("abcdefghijklmnopqrstuvwxyz")
    return float(digits) * _UNITS[value[len(digits) :] or "ms"]
