"""The scratch database of a drill: named by a reserved prefix, locked in use, dropped at the end.

Its name contains the oid of the database it belongs to, and the lock is held in that database. So
a drill of one database never sweeps a running drill of another one in the same cluster.
"""

from __future__ import annotations

import contextlib
import secrets
import zlib
from collections.abc import Iterator
from typing import Final

import psycopg
import structlog
from django.conf import settings
from django.db import connections
from psycopg import sql

from ops.backups.outcomes import BackupRefused
from ops.backups.source import SourceConnection, one, source
from stagenorm.locks import RESTORE_DRILL_CLASS

log = structlog.get_logger(__name__)

PREFIX: Final = "stagenorm_drill_"
DROP_TURNS: Final = 3

LOCALE: Final = """
SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider::text,
       to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'
FROM pg_database d WHERE datname = current_database()
"""

LEFT: Final = """
SELECT datname FROM pg_database
WHERE starts_with(datname, %s) AND datname <> current_database()
  AND datdba = (SELECT oid FROM pg_roles WHERE rolname = current_user)
"""


@contextlib.contextmanager
def scratch_database(link: SourceConnection) -> Iterator[str]:
    """Yield the name of a new empty database with the same encoding and locale, then drop it.

    Raises `BackupRefused` if a configured database has a name under the reserved prefix.
    """
    _refuse_reserved_names()
    name = f"{_prefix(link)}{secrets.token_hex(6)}"
    link.execute(
        "SELECT pg_advisory_lock(%s, %s)", [RESTORE_DRILL_CLASS, _key(name)]
    )  # before the database can be seen
    try:
        _create(link, name)
        yield name
    finally:
        try:
            drop(link, name)
            link.execute("SELECT pg_advisory_unlock(%s, %s)", [RESTORE_DRILL_CLASS, _key(name)])
        except psycopg.Error as error:  # the next drill sweeps it
            log.warning("stage_backup_scratch_left", database=name, reason=type(error).__name__)


def sweep(link: SourceConnection) -> list[str]:
    """Drop the databases of killed drills; return their names. A running drill holds its lock."""
    dropped = []
    prefix = _prefix(link)
    for (name,) in link.execute(LEFT, [prefix]).fetchall():
        if (
            name in _configured()
            or not one(
                link.execute(
                    "SELECT pg_try_advisory_lock(%s, %s)", [RESTORE_DRILL_CLASS, _key(name)]
                )
            )[0]
        ):
            continue
        try:
            drop(link, name)
            dropped.append(name)
            log.warning("stage_backup_scratch_swept", database=name)
        finally:
            link.execute("SELECT pg_advisory_unlock(%s, %s)", [RESTORE_DRILL_CLASS, _key(name)])
    return dropped


def drop(link: SourceConnection, name: str) -> None:
    """Drop a scratch database and end its connections.

    FORCE is refused while a process is in the database that this role may not end, such as a
    vacuum worker. Without FORCE, PostgreSQL itself ends the worker and waits 5 s for it, which a
    busy machine exceeds. Both are therefore tried in turns. Raises `psycopg.Error`.
    """
    plain = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    forced = plain + sql.SQL(" WITH (FORCE)")
    for statement in (forced, plain) * DROP_TURNS:
        with contextlib.suppress(psycopg.errors.ObjectInUse, psycopg.errors.InsufficientPrivilege):
            link.execute(statement)
            return
    link.execute(forced)


def _create(link: SourceConnection, name: str) -> None:
    encoding, collate, ctype, provider, locale, icu_locale = one(link.execute(LOCALE))
    statement = sql.SQL(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}"
    ).format(sql.Identifier(name), sql.Literal(encoding), sql.Literal(collate), sql.Literal(ctype))
    if provider == "i":
        statement += sql.SQL(" LOCALE_PROVIDER icu ICU_LOCALE {}").format(
            sql.Literal(locale or icu_locale)
        )
    elif provider == "b":
        statement += sql.SQL(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(
            sql.Literal(locale)
        )
    else:
        statement += sql.SQL(" LOCALE_PROVIDER libc")
    link.execute(statement)
    # The copy has none of the grants that protect the original.
    link.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


def _prefix(link: SourceConnection) -> str:
    oid = one(
        link.execute("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
    )[0]
    return f"{PREFIX}{oid}_"


def _refuse_reserved_names() -> None:
    if taken := sorted(name for name in _configured() if name.startswith(PREFIX)):
        raise BackupRefused(
            f"The database {taken[0]} has a name that is reserved for scratch databases "
            f"({PREFIX}…): rename it."
        )


def _configured() -> set[str]:
    names = {str(each.settings_dict["NAME"]) for each in connections.all(initialized_only=False)}
    names |= {str(each["NAME"]) for each in settings.DATABASES.values()}
    return names | {source().parameters.get("dbname", "")}


def _key(name: str) -> int:
    return zlib.crc32(name.encode()) - 0x8000_0000  # a signed 32-bit number
