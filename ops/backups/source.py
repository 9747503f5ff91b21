"""The database to back up: its address, its identity, and what the role must be allowed to do.

Child processes get the password through their environment only; `argument()` never contains it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import connection
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from ops.backups.outcomes import BackupRefused
from stagenorm.sessions import (
    MEANING,
    UNLIMITED,
    PooledSession,
    pin_late,
    require_session,
    startup_options,
)

SourceConnection = psycopg.Connection[TupleRow]

IDENTITY: Final = """
SELECT (SELECT system_identifier::text FROM pg_control_system()), d.datname, d.oid::bigint
FROM pg_database d WHERE d.datname = current_database()
"""

ROLE: Final = "SELECT rolname, rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"

UNREADABLE_TABLE: Final = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
ORDER BY 1 LIMIT 1
"""

# A dump would contain the visible rows only, so pg_dump refuses. Tables of extensions count if
# their rows are dumped.
FILTERED_TABLE: Final = """
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND row_security_active(c.oid)
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
                    AND c.oid <> ALL (coalesce(e.extconfig, '{}')))
ORDER BY 1 LIMIT 1
"""

UNREADABLE_LARGE_OBJECT: Final = """
SELECT oid FROM pg_largeobject_metadata
WHERE NOT current_setting('lo_compat_privileges')::boolean
  AND NOT pg_has_role(lomowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM aclexplode(lomacl) a WHERE a.privilege_type = 'SELECT'
                    AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
ORDER BY 1 LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class DatabaseIdentity:
    """Which database of which cluster; the name alone does not identify it."""

    system_identifier: str
    database: str
    oid: int


@dataclass(frozen=True, slots=True)
class Source:
    """The libpq parameters of the database, without the password, and the password."""

    parameters: dict[str, str]
    password: str

    def connect(self, database: str | None = None, *, autocommit: bool = True) -> SourceConnection:
        """Open a connection without time limits: a dump may take long.

        Raises `psycopg.OperationalError`, and `BackupRefused` for a pooler, before anything in
        the session is set.
        """
        secret = make_conninfo(
            self.argument(database), **({"password": self.password} if self.password else {})
        )
        link = psycopg.connect(secret, autocommit=True, client_encoding="utf8")
        try:
            require_session(link)
        except PooledSession as fault:
            link.close()
            raise BackupRefused(str(fault)) from fault
        pin_late(link)
        limits = {
            name: value for name, value in UNLIMITED.items() if name != "transaction_timeout"
        }
        for name, value in {**MEANING, **limits, "lock_timeout": "30s"}.items():
            link.execute("SELECT set_config(%s, %s, false)", [name, value])
        link.autocommit = autocommit
        return link

    def argument(self, database: str | None = None) -> str:
        """Return the connection string for a command line: without the password."""
        return make_conninfo(**{**self.parameters, **({"dbname": database} if database else {})})

    def environment(self, options: str = "") -> dict[str, str]:
        """Return the environment of a client program, without the secrets of this process."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("PG") or name in _PASSED_ON
        }
        pinned = startup_options({**MEANING, **UNLIMITED}, options)
        given = {"LC_ALL": "C", "TZ": "UTC", "PGOPTIONS": pinned, "PGCLIENTENCODING": "UTF8"}
        return {**kept, **given, **({"PGPASSWORD": self.password} if self.password else {})}


_PASSED_ON: Final = {"PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR", "KRB5CCNAME"}


def source() -> Source:
    """Return how to reach the database: by `BACKUP_DATABASE_URL`, else as the application does."""
    if settings.BACKUP_DATABASE_URL:
        found = {
            name: str(value)
            for name, value in conninfo_to_dict(settings.BACKUP_DATABASE_URL).items()
        }
    else:
        found = _of_django(connection.settings_dict)
    return _commands_source(found)


def elsewhere(given: str) -> Source:
    """Return how to reach another server: `given` is a libpq address, or `env:NAME` of one.

    Raises `BackupRefused` for a malformed address, and for a password on the command line, which
    every user of the machine can read.
    """
    named = given.startswith("env:")
    address = os.environ.get(given.removeprefix("env:"), "") if named else given
    if named and not address:
        raise BackupRefused(f"The environment variable {given.removeprefix('env:')} is not set.")
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(address).items()}
    except psycopg.ProgrammingError as error:
        raise BackupRefused(
            "The address of the server to restore on is malformed: "
            "use postgresql://user@host:port/database."
        ) from error
    if not named and {"password", "sslpassword"} & set(found):
        raise BackupRefused(
            "A password on a command line can be read by every user of this machine: put the "
            "address into an environment variable and give env:NAME, or the password into a "
            "password file."
        )
    return _commands_source(found)


def _commands_source(found: dict[str, str]) -> Source:
    password = found.pop("password", "")
    return Source(
        {**found, "application_name": "stagenorm backup", "connect_timeout": "10"}, password
    )


def _of_django(configured: dict[str, Any]) -> dict[str, str]:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    named = {
        "dbname": "NAME",
        "user": "USER",
        "password": "PASSWORD",
        "host": "HOST",
        "port": "PORT",
    }
    options = {name: str(value) for name, value in configured["OPTIONS"].items() if name in known}
    options.pop("options", None)  # time limits of web requests
    return {
        **options,
        **{name: str(configured[key]) for name, key in named.items() if configured[key]},
    }


def identity(link: SourceConnection) -> DatabaseIdentity:
    """Return which database `link` reaches."""
    return DatabaseIdentity(*one(link.execute(IDENTITY)))


def own_identity() -> DatabaseIdentity:
    """Return which database the application uses."""
    with connection.cursor() as cursor:
        cursor.execute(IDENTITY)
        return DatabaseIdentity(*cursor.fetchone())


def one(cursor: psycopg.Cursor[TupleRow]) -> TupleRow:
    """Return the single row of a query that always has one."""
    row = cursor.fetchone()
    if row is None:
        raise LookupError("The query gave no row.")
    return row


def require_primary(link: SourceConnection) -> None:
    """Raise `BackupRefused` for a standby: it exports no snapshot and creates no database."""
    if one(link.execute("SELECT pg_is_in_recovery()"))[0]:
        raise BackupRefused(
            f"The database is read-only: {link.info.host}:{link.info.port} is a standby, and a "
            "backup is made and drilled on a primary. Wait for the end of the failover, or let "
            "several hosts with target_session_attrs=read-write in BACKUP_DATABASE_URL find it."
        )


def require_dumping_role(link: SourceConnection) -> None:
    """Raise `BackupRefused` unless the role can read everything without being a superuser."""
    role, superuser, _ = one(link.execute(ROLE))
    if superuser and not settings.BACKUP_ALLOW_SUPERUSER:
        raise BackupRefused(
            f"The role {role} is a superuser, and a backup needs none: "
            "CREATE ROLE backup LOGIN CREATEDB; GRANT pg_read_all_data TO backup; "
            "and name that role in BACKUP_DATABASE_URL."
        )
    if unreadable := link.execute(UNREADABLE_TABLE).fetchone():
        raise BackupRefused(
            f"The role {role} may not read {unreadable[0]}: GRANT pg_read_all_data TO {role};"
        )
    if filtered := link.execute(FILTERED_TABLE).fetchone():
        raise BackupRefused(
            f"The row-level security of {filtered[0]} hides rows from the role {role}: "
            f"ALTER ROLE {role} BYPASSRLS;"
        )
    if unreadable := link.execute(UNREADABLE_LARGE_OBJECT).fetchone():
        raise BackupRefused(
            f"The role {role} may not read the large object {unreadable[0]}: "
            f"GRANT SELECT ON LARGE OBJECT {unreadable[0]} TO {role};"
        )


def require_restoring_role(link: SourceConnection) -> None:
    """Raise `BackupRefused` unless the role can make the scratch database of a drill."""
    role, superuser, creates = one(link.execute(ROLE))
    if not (creates or superuser):
        raise BackupRefused(
            f"The role {role} may not create the scratch database: ALTER ROLE {role} CREATEDB;"
        )


def require_same_database(link: SourceConnection) -> DatabaseIdentity:
    """Return the identity of `link`.

    Raises `BackupRefused` if the application uses another one.
    """
    found, own = identity(link), own_identity()
    if found != own:
        raise BackupRefused(
            f"BACKUP_DATABASE_URL names the database {found.database}, "
            f"not the application's own {own.database}: "
            "both must name the same database of the same cluster."
        )
    return found
