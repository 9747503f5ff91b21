"""Who holds an API key that can be used.

The model of keys belongs to another app, which `ops` does not import. Its tables are found by the
base class that all models of keys share.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.apps import apps
from django.db import connection
from psycopg import sql
from rest_framework_api_key.models import AbstractAPIKey

NAMES: Final = """
SELECT name::text AS client FROM {table}
WHERE NOT revoked AND (expiry_date IS NULL OR expiry_date > %(now)s)
"""

NO_NAMES: Final = "SELECT NULL::text AS client WHERE false"

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
