"""Error output of management commands: one sentence and an exit status instead of a traceback.

A bug in the program keeps its traceback. `--traceback` shows the traceback of every error.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

import django.db
import psycopg
from django.core.management import execute_from_command_line
from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable

from stagenorm.sessions import is_read_only

INTERRUPTED: Final = 130  # 128 + SIGINT, as in a shell


def run(argv: Sequence[str]) -> None:
    """Run the command.

    Exits with status 1 when the database is unreachable, not migrated or refuses the role, and
    with 130 after Ctrl-C.
    """
    try:
        execute_from_command_line(list(argv))
    except KeyboardInterrupt:
        if "--traceback" in argv:
            raise
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader closed the pipe, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (django.db.Error, psycopg.Error) as error:
        message = database_fault(error)
        if not message or "--traceback" in argv:
            raise
        sys.exit(message)


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
