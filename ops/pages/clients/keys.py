"""Who holds a key with which requests can be made: asked of whichever model of API keys is installed.

The platform has its own model of keys, which this app does not import; it finds it by the class that all of them have.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.apps import apps
from django.db import connection
from psycopg import sql
from rest_framework_api_key.models import AbstractAPIKey

NAMES: Final = """
SELECT name::text AS client FROM {table} WHERE NOT revoked AND (expiry_date IS NULL OR expiry_date > %(now)s)
"""

NOBODY: Final = "SELECT NULL::text AS client WHERE false"

KEYS_OF: Final = "SELECT count(*) FROM ({holders}) AS holder WHERE client = %(client)s"


def statement() -> sql.Composed:
    """Return the query of the holders' names, one row a key; its parameter is `now`."""
    tables = [
        model._meta.db_table for model in apps.get_models() if issubclass(model, AbstractAPIKey)
    ]
    names: list[sql.Composable] = [
        sql.SQL(NAMES).format(table=sql.Identifier(table)) for table in tables
    ]
    return sql.SQL(" UNION ALL ").join(names or [sql.SQL(NOBODY)])


def keys_of(client: str, now: datetime) -> int:
    """Return how many keys of the client's are neither revoked nor past."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(KEYS_OF).format(holders=statement()), {"client": client, "now": now}
        )
        count: int = cursor.fetchone()[0]
        return count
