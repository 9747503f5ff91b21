"""The clients by name: who holds an API key that can be used, and who sent stages lately.

The model of keys belongs to another app, which this one does not import. Its tables are found by
the base class that all models of keys share. `misspelt` finds a name of the rollout that is
probably a mistake: a misspelt holdout protects no client.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from difflib import get_close_matches
from typing import Final

from django.apps import apps
from django.db import connection
from django.utils import timezone
from psycopg import sql
from rest_framework_api_key.models import AbstractAPIKey

NAMES: Final = """
SELECT name::text AS client FROM {table}
WHERE NOT revoked AND (expiry_date IS NULL OR expiry_date > %(now)s)
"""

NO_NAMES: Final = "SELECT NULL::text AS client WHERE false"

KNOWN: Final = """
SELECT client FROM ({holders}) AS holder
UNION
SELECT client::text FROM normalization_outcometally WHERE minute > %(now)s - interval '24 hours'
"""

SIMILAR: Final = 0.8  # of 1, as difflib counts: one letter of five may differ

KEYS_OF: Final = "SELECT count(*) FROM ({holders}) AS holder WHERE client = %(client)s"


def holders_statement() -> sql.Composed:
    """Return the query of the holders' names, one row for each key. Its parameter is `now`."""
    tables = [
        model._meta.db_table for model in apps.get_models() if issubclass(model, AbstractAPIKey)
    ]
    names: list[sql.Composable] = [
        sql.SQL(NAMES).format(table=sql.Identifier(table)) for table in tables
    ]
    return sql.SQL(" UNION ALL ").join(names or [sql.SQL(NO_NAMES)])


def keys_of(client: str, now: datetime) -> int:
    """Return how many keys of the client are neither revoked nor expired."""
    statement = sql.SQL(KEYS_OF).format(holders=holders_statement())
    with connection.cursor() as cursor:
        cursor.execute(statement, {"client": client, "now": now})
        count: int = cursor.fetchone()[0]
        return count


def names(now: datetime) -> frozenset[str]:
    """Return the clients that hold a key, or sent a stage within 24 hours."""
    statement = sql.SQL(KNOWN).format(holders=holders_statement())
    with connection.cursor() as cursor:
        cursor.execute(statement, {"now": now})
        return frozenset(client for (client,) in cursor.fetchall() if client)


def misspelt(given: Iterable[str]) -> dict[str, str]:
    """Return {name: the client that is probably meant} for the names of no known client.

    A name that is like no known client is not among them: it may be a client of tomorrow.
    """
    wanted = sorted(given)
    if not wanted:
        return {}
    known = names(timezone.now())
    meant = {name: similar(name, known) for name in wanted if name not in known}
    return {name: client for name, client in meant.items() if client}


def similar(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like `name`, "" without one.

    Names that differ in their digits, as app-1 and app-2, are different clients.
    """
    folded = {each.casefold(): each for each in known if _digits(each) == _digits(name)}
    found = get_close_matches(name.casefold(), folded, 1, SIMILAR)
    return folded[found[0]] if found else ""


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))
