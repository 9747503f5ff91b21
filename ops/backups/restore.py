"""The second check, the drill: restore the verified bytes and compare the copy with the record.

Objects that the drill's role cannot create are left out (`ops.backups.drill_scope`).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import Final

from ops.backups import children, scratch
from ops.backups.children import ClientTools
from ops.backups.drill_scope import DrillScope, drill_role, drill_scope, read_entries
from ops.backups.facts import collect, differences
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupInvalid, CheckInconclusive
from ops.backups.records import CheckFindings, record_check
from ops.backups.sidecar import Sidecar
from ops.backups.source import (
    Source,
    SourceConnection,
    identity,
    require_primary,
    require_restoring_role,
    source,
)
from ops.backups.verify import authenticated
from ops.gates.backup_rule import CheckKind
from stagenorm.terminal import ReportProgress, no_progress

TIME_LIMIT_SECONDS: Final = 3600.0
SHOWN_DIFFERENCES: Final = 5

# These complaints are about the server or this machine, not about the backup.
ENVIRONMENT: Final = re.compile(
    r"No space left|could not connect|connection to server|server closed the connection|"
    r"terminating connection|the database system is|permission denied|"
    r"must be (?:superuser|owner)|out of (?:shared )?memory|canceling statement|"
    r"too many (?:clients|connections)|remaining connection slots|"
    r"could not (?:extend|write|fsync)",
    re.IGNORECASE,
)

# No owners and grants: the roles may be missing. No tablespaces and table access methods: they
# belong to a server. No publications and subscriptions: a subscription would connect to a
# publisher. Comments and security labels need the owner of an object, or a provider.
OPTIONS: Final = (
    "--format=custom", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges",
    "--no-tablespaces", "--no-table-access-method", "--no-comments", "--no-security-labels",
    "--no-publications", "--no-subscriptions", "--no-password",
)  # fmt: skip
# The copy is dropped after the drill, so its commits need not reach the disk; indexes are built in
# memory.
FASTER: Final = "-c synchronous_commit=off -c maintenance_work_mem=256MB"


def restore(
    backup: Backup,
    *,
    into: Source | None = None,
    time_limit: float = TIME_LIMIT_SECONDS,
    progress: ReportProgress = no_progress,
) -> BackupCheck:
    """Carry out the drill, at most `time_limit` seconds, and record its verdict.

    Its duration is the measured RTO. `into` is another server to restore on.
    """

    def examine(findings: CheckFindings) -> None:
        with authenticated(backup, findings, progress) as authentic:
            drill(findings, authentic.descriptor, authentic.record, into, time_limit, progress)

    return record_check(backup, CheckKind.RESTORE, examine)


def drill(
    findings: CheckFindings,
    dump: int,
    record: Sidecar,
    into: Source | None,
    time_limit: float,
    progress: ReportProgress,
) -> None:
    """Restore the open, authentic dump and compare the copy with its record.

    Adds to `findings`. Raises `BackupInvalid`, `CheckInconclusive`, `BackupRefused` and
    psycopg.Error.
    """
    database = into or source()
    with database.connect() as link:
        if into is not None:
            _require_alike(link, record)
            findings.target = _server(link)
        scope = _restored(link, database, dump, record, time_limit, progress)
    tables = record.facts["tables"]
    restored = [facts for name, facts in tables.items() if name not in scope.tables]
    rows = sum(table["rows"] for table in restored)
    place = f" on {findings.target}" if findings.target else ""
    findings.summary = (
        f"{rows:,} rows in {len(restored)} tables restored{place} and equal to the snapshot"
        f"{scope.sentence()}"
    )


def _server(link: SourceConnection) -> str:
    cluster = identity(link).system_identifier
    return f"{link.info.host}:{link.info.port} (cluster {cluster})"


def _require_alike(link: SourceConnection, record: Sidecar) -> None:
    """Raise `CheckInconclusive` unless the server writes values and definitions as the source."""
    theirs, ours = link.info.server_version // 10000, record.server_version // 10000
    if theirs != ours:
        raise CheckInconclusive(
            f"the server to restore on is PostgreSQL {theirs}, the backup is of {ours}: "
            "use a server of the same major version"
        )
    encoding = link.info.parameter_status("server_encoding")
    if record.encoding and encoding != record.encoding:
        raise CheckInconclusive(
            f"the database {link.info.dbname} has the encoding {encoding}, the backup "
            f"{record.encoding}: name a database with the same encoding"
        )


def _restored(
    link: SourceConnection,
    database: Source,
    dump: int,
    record: Sidecar,
    time_limit: float,
    progress: ReportProgress,
) -> DrillScope:
    require_primary(link)
    require_restoring_role(link)
    tools = children.find_tools(link.info.server_version)
    scratch.sweep(link)
    entries = read_entries(_listing(tools, database, dump, time_limit))
    scope = drill_scope(entries, record.facts, drill_role(link))
    with scratch.scratch_database(link) as name:
        target = f"--dbname={database.argument(name)}"
        with scope.options() as chosen:
            command = [str(tools.pg_restore), *OPTIONS, *chosen, target]
            _restore(command, database, dump, time_limit, progress)
        with database.connect(name) as copy:
            progress("comparing", 0, None)
            found = collect(copy)
    if wrong := differences(record.facts, found, scope.facts):
        more = (
            f" and {len(wrong) - SHOWN_DIFFERENCES} more" if len(wrong) > SHOWN_DIFFERENCES else ""
        )
        raise BackupInvalid(
            f"the restored copy differs: {'; '.join(wrong[:SHOWN_DIFFERENCES])}{more}"
        )
    return scope


def _listing(tools: ClientTools, database: Source, dump: int, time_limit: float) -> str:
    """Return the entries of the dump and their dependencies, as pg_restore prints them."""
    command = [str(tools.pg_restore), "--format=custom", "--list", "--verbose"]
    with tempfile.TemporaryFile() as output:
        _pg_restore(command, database, dump, time_limit, stdout=output.fileno())
        output.seek(0)
        return output.read().decode(errors="replace")


def _restore(
    command: Sequence[str],
    database: Source,
    dump: int,
    time_limit: float,
    progress: ReportProgress,
) -> None:
    size = os.fstat(dump).st_size

    def tick() -> None:
        # Parent and child share the open file, so its position is the progress of pg_restore.
        progress("restoring", os.lseek(dump, 0, os.SEEK_CUR), size)

    _pg_restore(command, database, dump, time_limit, tick)


def _pg_restore(
    command: Sequence[str],
    database: Source,
    dump: int,
    time_limit: float,
    tick: Callable[[], None] = lambda: None,
    stdout: int = subprocess.DEVNULL,
) -> None:
    """Run pg_restore on the open dump.

    Raises `BackupInvalid` if it refuses the dump, and `CheckInconclusive` if it could not run.
    """
    os.lseek(dump, 0, os.SEEK_SET)
    with children.running(
        command,
        environment=database.environment(FASTER),
        time_limit=time_limit,
        secret=database.password,
        stdin=dump,
        stdout=stdout,
    ) as restorer:
        try:
            status = restorer.wait(tick)
        except children.TimeLimitExceeded as error:
            raise CheckInconclusive(
                f"pg_restore was stopped after {time_limit:g} s (--time-limit)"
            ) from error
        _require_restored(status, restorer.complaint())


def _require_restored(status: int, complaint: str) -> None:
    if status < 0:
        raise CheckInconclusive(f"pg_restore was killed by signal {-status}")
    if status > 0 and ENVIRONMENT.search(complaint):
        raise CheckInconclusive(f"pg_restore could not run: {complaint}")
    if status > 0:
        raise BackupInvalid(f"pg_restore refused it: {complaint}")
