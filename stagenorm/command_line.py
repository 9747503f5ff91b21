"""How a command ends that did not end well: one sentence for the operator and an exit status, instead of a traceback.

A fault of the program itself keeps its traceback, and `--traceback` shows every other one as well.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

import django.db
import psycopg
from django.core.management import execute_from_command_line
from psycopg.errors import InsufficientPrivilege, UndefinedColumn, UndefinedTable

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it


def run(argv: Sequence[str]) -> None:
    """Run the command; a database that is away, bare or closed to us ends it with status 1, Ctrl-C with 130."""
    try:
        execute_from_command_line(list(argv))
    except KeyboardInterrupt:
        if "--traceback" in argv:
            raise
        print("Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read has seen enough: `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (django.db.Error, psycopg.Error) as error:
        said = database_fault(error)
        if not said or "--traceback" in argv:
            raise
        sys.exit(said)


def database_fault(error: BaseException) -> str:
    """Return what the database's error means for the operator; "" for one that only the program can have caused."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error):
        return ""
    first = str(cause).partition("\n")[0].removesuffix(".")
    if isinstance(cause, UndefinedTable | UndefinedColumn):
        return f"The database lacks what this needs: {first}. Run manage.py migrate, or mend DATABASE_URL."
    if isinstance(cause, InsufficientPrivilege):
        return f"The database role may not do this: {first}. DATABASE_URL says which role is used."
    if not isinstance(cause, psycopg.OperationalError):
        return ""
    if cause.sqlstate is None or cause.sqlstate[:2] in _GONE:
        return f"The database does not answer: {first}. See that PostgreSQL runs and that DATABASE_URL is right."
    return f"The database could not do this: {first}."


_GONE: Final = ("08", "28", "3D", "57")
"""Classes of SQLSTATE: connection lost, login refused, no such database, shut down by an operator."""
