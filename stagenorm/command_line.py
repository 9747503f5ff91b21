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

from stagenorm.sessions import database_fault

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
