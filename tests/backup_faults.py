"""Shared by the tests of backups: rows to protect, real faults, and commands as processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psutil
from django.db import connection

from ops.backups import signing
from ops.backups.create import BackupRequest, create
from ops.backups.models import Backup
from ops.backups.restore import restore
from ops.backups.sidecar import record_file
from ops.backups.verify import verify
from tests.children import start
from tests.servers import ROOT, wait_until

# Only this database's: other tests run beside this one on the same server.
SCRATCH = """
SELECT d.datname FROM pg_database d, pg_database own
WHERE own.datname = current_database()
  AND starts_with(d.datname, 'stagenorm_drill_' || own.oid || '_')
ORDER BY 1
"""

# Each row that a drill restores makes it wait; other sessions are not affected.
SLOW_DRILL = """
CREATE FUNCTION public.slow_in_a_drill(bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_database() LIKE 'stagenorm_drill_%' THEN PERFORM pg_sleep(120); END IF;
    RETURN true;
END $$;
ALTER TABLE portfolio_fund ADD CONSTRAINT slow CHECK (public.slow_in_a_drill(id));
"""
NO_SLOW_DRILL = """
ALTER TABLE portfolio_fund DROP CONSTRAINT slow;
DROP FUNCTION public.slow_in_a_drill(bigint);
"""


def execute(statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    """Run SQL over the application's connection; return the rows, if there are any."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def companies(rows: int, stage: str = "Series A", noise: int = 0) -> None:
    """Store a fund with `rows` companies, every column filled.

    `noise` bytes of each row do not compress.
    """
    fund = execute(
        "INSERT INTO portfolio_fund (name, created_at) "
        "VALUES (gen_random_uuid()::text, now()) RETURNING id"
    )
    execute(
        "INSERT INTO portfolio_companies "
        "(fund_id, name, stage_raw, stage, status, sector, invested_usd, invested_at, "
        "created_at, updated_at) "
        "SELECT %s, left('company ' || n || "
        "coalesce((SELECT string_agg(md5(n::text || piece || random()), '') "
        "FROM generate_series(1, %s / 32) piece), ''), 200), %s, %s, 'active', "
        "(ARRAY['fintech', 'healthcare', 'climate', 'logistics', 'security'])[1 + n %% 5], "
        "round((random() * 20000000)::numeric, 2), current_date - (random() * 3650)::int, "
        "now() - random() * interval '10 years', now() "
        "FROM generate_series(1, %s) AS s(n)",
        [fund[0][0], noise, stage, stage, rows],
    )


def valid_backup(directory: Path) -> Backup:
    """Make a backup that passed both checks."""
    backup = create(BackupRequest(directory))
    assert [(check.verdict, check.reason)[0] for check in (verify(backup), restore(backup))] == [
        "passed",
        "passed",
    ]
    return backup


def sign(backup: Backup, **members: Any) -> None:
    """Change members of the record, and sign it as this installation does."""
    document = json.loads(record_file(backup.path).read_text())
    document.pop(signing.SIGNATURE)
    record_file(backup.path).write_text(json.dumps(signing.signed({**document, **members})))


@contextlib.contextmanager
def schema(change: str, undo: str) -> Iterator[None]:
    """Change the schema for the block."""
    execute(change)
    try:
        yield
    finally:
        execute(undo)


@contextlib.contextmanager
def manage(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a management command on this test's database; the end of the block is its end too."""
    given = {**os.environ, "DATABASE_URL": address(), **environment}
    command = [sys.executable, "manage.py", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(command, cwd=ROOT, env=given, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def address(**other: str) -> str:
    """The libpq address of this test's database; `other` replaces parts of it."""
    configured = connection.settings_dict
    parts = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    given = {part: str(configured[key]) for part, key in parts.items() if configured[key]} | other
    name = quote(str(configured["NAME"]), safe="")
    return f"postgresql:///{name}?{urlencode(given, quote_via=quote)}"


def client_program(parent: subprocess.Popen[str], name: str) -> psutil.Process:
    """Wait for the pg_dump or pg_restore of the command, except the call of `--version`."""
    found: list[psutil.Process] = []

    def started() -> bool:
        if parent.poll() is not None:
            raise AssertionError(f"the command has ended: {parent.communicate()}")
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(parent.pid).children(recursive=True):
                program, *arguments = child.cmdline() or [""]
                if Path(program).name == name and arguments and "--version" not in arguments:
                    found.append(child)
        return bool(found)

    wait_until(started, name)
    return found[0]


def scratch_databases() -> list[str]:
    """The scratch databases of drills that exist now."""
    return [name for (name,) in execute(SCRATCH)]


def flip(path: Path, position: int, mask: int = 0x01) -> None:
    """Change one byte of a file in place; a second call changes it back."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ mask]))


def ended(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie has."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
