"""System checks of database sessions: a command behind a pooler, and wrong parameters.

They run with `manage.py check --database default` and with `migrate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseFault

from stagenorm.sessions import PooledSession, SessionFault, faults, require_session

POOLED = "stagenorm.E001"
NOT_AS_NEEDED = "stagenorm.E002"
UNREACHED = "stagenorm.W001"


def check_sessions(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Refuse a command's connection through a pooler, and a session that is not as needed.

    Runs with `check --database default` and `migrate`. Where the service goes through a pooler, a
    session of its own is examined as well. Without a database it reports nothing, as Django's
    own checks of a database.
    """
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        messages = _of_this_process()
    except DatabaseFault:
        return []
    if settings.SERVICE_DATABASE is None or any(each.id == POOLED for each in messages):
        return messages
    try:
        return messages + _of_the_service(settings.SERVICE_DATABASE)
    except psycopg.Error as fault:
        reason = str(fault).partition("\n")[0]
        text = f"The service's sessions could not be examined through the pooler: {reason}"
        unreached = checks.Warning(text, "Check DATABASE_URL and the pooler.", id=UNREACHED)
        return [*messages, unreached]


def _of_this_process() -> list[checks.CheckMessage]:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        try:
            require_session(cursor.connection)
        except PooledSession as fault:
            return [checks.Error(str(fault), id=POOLED)]
        return [_message(each, "") for each in faults(cursor, settings.SESSION_NEEDS)]


def _of_the_service(parameters: Mapping[str, Any]) -> list[checks.CheckMessage]:
    """Examine a session as the service has it. Raises `psycopg.Error`."""
    with psycopg.connect(**parameters) as link, link.cursor() as cursor:
        cursor.execute("SELECT quote_ident(current_user), quote_ident(current_database())")
        role, database = cursor.fetchone() or ("", "")
        line = f"ALTER ROLE {role} IN DATABASE {database} SET "
        return [_message(each, line) for each in faults(cursor, settings.SERVICE_SESSION_NEEDS)]


def _message(fault: SessionFault, line: str) -> checks.CheckMessage:
    needed = fault.needed if fault.name == "search_path" else f"'{fault.needed}'"
    hint = f"{line}{fault.name} = {needed}; and reconnect the pooler." if line else None
    hint = hint or "If the options of DATABASE_URL set it on purpose, nothing needs to be done."
    report = checks.Error if line else checks.Warning
    return report(f"{fault}.", hint, id=NOT_AS_NEEDED)


def register() -> None:
    """Register the system check."""
    checks.register(check_sessions, checks.Tags.database)
