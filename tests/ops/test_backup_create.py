"""Making a backup: from one snapshot, whole or not at all, by a least-privilege role."""

from __future__ import annotations

import hashlib
import json
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from ops.backups import sidecar
from ops.backups.children import ClientTools
from ops.backups.create import BackupRequest, create
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupFailed, BackupRefused
from ops.backups.restore import restore
from ops.backups.verify import verify
from tests.backup_faults import address, client_program, companies, ended, execute, manage, schema
from tests.children import run
from tests.servers import PostgresServer, wait_until

LOCKED = """
SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE d.datname = current_database() AND l.locktype = 'advisory'
"""

pytestmark = pytest.mark.django_db(transaction=True)


def leftovers(directory: Path) -> list[str]:
    """Files that look like a backup or a draft of one."""
    return [path.name for path in directory.iterdir() if path.name != "ledger.jsonl"]


def test_a_backup_is_a_private_dump_with_both_sidecars_and_a_row(tmp_path: Path) -> None:
    companies(30, "Series A")
    companies(12, "seed round")
    backup = create(BackupRequest(tmp_path))
    content = backup.path.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (backup.size, backup.sha256)
    assert sorted(leftovers(tmp_path)) == [
        backup.name,
        f"{backup.name}.json",
        f"{backup.name}.sha256",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    check = run(["sha256sum", "-c", f"{backup.name}.sha256"], cwd=tmp_path)
    assert check.returncode == 0, check.stderr
    assert backup.facts["tables"]["public.portfolio_companies"]["rows"] == 42
    assert backup.facts["stages"]["public.portfolio_companies.stage"] == {
        "Series A": 30,
        "seed round": 12,
    }


def test_the_ledger_beside_the_backups_tells_what_the_tables_tell(tmp_path: Path) -> None:
    backup = create(BackupRequest(tmp_path))
    verify(backup)
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert [(line["event"], line["name"], line["sha256"]) for line in lines] == [
        ("backup", backup.name, backup.sha256),
        ("check", backup.name, backup.sha256),
    ]
    assert (lines[1]["check"], lines[1]["verdict"]) == ("verify", "passed")


@pytest.mark.parametrize(
    "statement", ["UPDATE ops_backupcheck SET verdict = 'passed'", "DELETE FROM ops_backupcheck"]
)
def test_checks_are_append_only_against_sql(tmp_path: Path, statement: str) -> None:
    verify(create(BackupRequest(tmp_path)))
    with pytest.raises(Exception, match="append-only"):
        execute(statement)
    with pytest.raises(TypeError, match="append-only"):
        BackupCheck.objects.get().delete()


@pytest.fixture
def roles() -> Iterator[str]:
    """The name of a role that does not exist yet; dropped at the end."""
    name = f"backup_{execute('SELECT current_database()')[0][0]}"
    yield name
    if execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]):
        execute(f"DROP OWNED BY {name}")
        execute(f"DROP ROLE {name}")


def test_createdb_and_pg_read_all_data_suffice_for_the_whole_cycle(
    tmp_path: Path, settings: Settings, roles: str
) -> None:
    companies(20)
    execute(f"CREATE ROLE {roles} LOGIN CREATEDB")
    execute(f"GRANT pg_read_all_data TO {roles}")
    settings.BACKUP_DATABASE_URL, settings.BACKUP_ALLOW_SUPERUSER = address(user=roles), False
    backup = create(BackupRequest(tmp_path))
    assert [(check.verdict, check.reason) for check in (verify(backup), restore(backup))] == [
        ("passed", f"{backup.size:,} bytes with the signed hash"),
        ("passed", BackupCheck.objects.first().reason),  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize(
    ("attributes", "grant", "said"),
    [
        (
            "SUPERUSER",
            "",
            "GRANT pg_read_all_data TO backup; and name that role in BACKUP_DATABASE_URL",
        ),
        ("CREATEDB", "", "may not read public.auth_group.*GRANT pg_read_all_data"),
    ],
)
def test_a_role_that_may_too_much_or_too_little_is_refused_with_the_statement_that_mends_it(
    tmp_path: Path, settings: Settings, roles: str, attributes: str, grant: str, said: str
) -> None:
    execute(f"CREATE ROLE {roles} LOGIN {attributes}")
    settings.BACKUP_DATABASE_URL, settings.BACKUP_ALLOW_SUPERUSER = address(user=roles), False
    with pytest.raises(BackupRefused, match=said):
        create(BackupRequest(tmp_path))
    assert leftovers(tmp_path) == []


def test_without_createdb_the_drill_has_no_verdict_and_says_how_to_give_it(
    tmp_path: Path, settings: Settings, roles: str
) -> None:
    execute(f"CREATE ROLE {roles} LOGIN")
    execute(f"GRANT pg_read_all_data TO {roles}")
    settings.BACKUP_DATABASE_URL = address(user=roles)
    check = restore(create(BackupRequest(tmp_path)))
    assert check.verdict == "error"
    assert f"ALTER ROLE {roles} CREATEDB" in check.reason


def test_rows_that_a_policy_hides_fail_the_backup_loudly(
    tmp_path: Path, settings: Settings, roles: str
) -> None:
    execute(f"CREATE ROLE {roles} LOGIN CREATEDB")
    execute(f"GRANT pg_read_all_data TO {roles}")
    settings.BACKUP_DATABASE_URL, settings.BACKUP_ALLOW_SUPERUSER = address(user=roles), False
    change = "ALTER TABLE portfolio_companies ENABLE ROW LEVEL SECURITY"
    with (
        schema(change, change.replace("ENABLE", "DISABLE")),
        pytest.raises(
            BackupRefused,
            match="row-level security of public.portfolio_companies hides rows from the role "
            f"{roles}: ALTER ROLE {roles} BYPASSRLS;",
        ),
    ):
        create(BackupRequest(tmp_path))
    assert leftovers(tmp_path) == []


def test_a_large_object_that_the_role_may_not_read_is_refused_with_the_statement_that_fixes_it(
    tmp_path: Path, settings: Settings, roles: str
) -> None:
    execute(f"CREATE ROLE {roles} LOGIN CREATEDB")
    execute(f"GRANT pg_read_all_data TO {roles}")
    settings.BACKUP_DATABASE_URL, settings.BACKUP_ALLOW_SUPERUSER = address(user=roles), False
    [[large]] = execute("SELECT lo_from_bytea(0, 'large')")
    try:
        with pytest.raises(BackupRefused, match=f"may not read the large object {large}: GRANT"):
            create(BackupRequest(tmp_path))
        execute(f"GRANT SELECT ON LARGE OBJECT {large} TO {roles}")
        assert restore(create(BackupRequest(tmp_path))).verdict == "passed"
    finally:
        execute("SELECT lo_unlink(%s)", [large])


def test_a_wrong_password_is_one_clear_line_without_it(
    tmp_path: Path, settings: Settings, postgres_server: PostgresServer
) -> None:
    settings.BACKUP_DATABASE_URL = postgres_server.url() + "&password=a-wrong-secret"
    with psycopg.connect(postgres_server.url(), autocommit=True) as link:
        link.execute("ALTER ROLE stagenorm PASSWORD 'the-right-secret'")
    (postgres_server.server.cluster / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    postgres_server.stop()
    postgres_server.start()
    with pytest.raises(CommandError) as refusal:
        call_command("create_backup", "--directory", str(tmp_path))
    text = str(refusal.value)
    assert "password authentication failed" in text
    assert len(text.splitlines()) == 1
    assert "a-wrong-secret" not in text
    assert leftovers(tmp_path) == []


def test_the_password_is_in_no_command_line(tmp_path: Path) -> None:
    companies(10)
    given = {"BACKUP_DATABASE_URL": address(password="not-for-ps")}
    with (
        psycopg.connect(address()) as blocker,
        manage("create_backup", "--directory", str(tmp_path), **given) as creating,
    ):
        blocker.execute("LOCK TABLE portfolio_fund")
        dumper = client_program(creating, "pg_dump")
        assert "not-for-ps" not in " ".join(dumper.cmdline())
        assert dumper.environ()["PGPASSWORD"] == "not-for-ps"
        assert "DJANGO_SECRET_KEY" not in dumper.environ()
        blocker.rollback()
        output, errors = creating.communicate(timeout=120)
    assert (creating.returncode, "not-for-ps" in output + errors) == (0, False), errors


def test_another_database_than_the_application_s_is_refused(
    tmp_path: Path, settings: Settings, postgres_server: PostgresServer
) -> None:
    settings.BACKUP_DATABASE_URL = postgres_server.url()
    with pytest.raises(BackupRefused, match="not the application's own"):
        create(BackupRequest(tmp_path))


@pytest.fixture
def waiting_create(
    tmp_path: Path,
) -> Iterator[tuple[subprocess.Popen[str], psutil.Process, psycopg.Connection[Any]]]:
    """A create_backup process whose pg_dump waits for a lock, and the connection that holds it."""
    with psycopg.connect(address()) as blocker:
        blocker.execute("LOCK TABLE portfolio_fund")
        with manage("create_backup", "--directory", str(tmp_path)) as creating:
            yield creating, client_program(creating, "pg_dump"), blocker


Waiting = tuple[subprocess.Popen[str], psutil.Process, psycopg.Connection[Any]]


def test_a_killed_pg_dump_publishes_nothing(tmp_path: Path, waiting_create: Waiting) -> None:
    creating, dumper, _ = waiting_create
    dumper.kill()
    _, errors = creating.communicate(timeout=120)
    assert creating.returncode == 1
    assert "pg_dump ended with status -9; nothing was published" in errors
    assert (leftovers(tmp_path), Backup.objects.count()) == ([], 0)


def test_a_killed_creator_takes_pg_dump_with_it_and_its_draft_is_swept(
    tmp_path: Path, waiting_create: Waiting
) -> None:
    creating, dumper, blocker = waiting_create
    creating.kill()
    wait_until(lambda: ended(dumper), "the orphan to end")
    assert [name.endswith(".part") for name in leftovers(tmp_path)] == [True]
    blocker.rollback()
    wait_until(lambda: not execute(LOCKED), "the killed creator's session to end")
    backup = create(BackupRequest(tmp_path))
    assert sorted(leftovers(tmp_path)) == [
        backup.name,
        f"{backup.name}.json",
        f"{backup.name}.sha256",
    ]


def test_of_two_creates_at_once_the_second_is_refused_and_spares_the_first_s_draft(
    tmp_path: Path, waiting_create: Waiting
) -> None:
    first, _, blocker = waiting_create
    with pytest.raises(BackupRefused, match=r"Database session \d+ is making or pruning backups"):
        create(BackupRequest(tmp_path))
    blocker.rollback()
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    assert len(leftovers(tmp_path)) == 3


def test_a_pg_dump_that_hangs_is_stopped_at_the_time_limit(tmp_path: Path) -> None:
    with psycopg.connect(address()) as blocker:
        blocker.execute("LOCK TABLE portfolio_fund")
        with pytest.raises(BackupFailed, match=r"stopped after 0\.5 s"):
            create(BackupRequest(tmp_path, time_limit=0.5))
    assert leftovers(tmp_path) == []


def test_too_little_room_is_told_before_anything_is_begun(
    tmp_path: Path, settings: Settings
) -> None:
    last = create(BackupRequest(tmp_path))
    Backup.objects.filter(pk=last.pk).update(size=2**60)
    with pytest.raises(BackupRefused, match="bytes free, the backup may need"):
        create(BackupRequest(tmp_path))


def test_a_disk_that_fills_up_during_the_dump_leaves_nothing(tmp_path: Path) -> None:
    create(BackupRequest(tmp_path / "before"))
    companies(3000, noise=190)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "full").mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
    try:
        with pytest.raises(BackupFailed, match=r"File too large.*nothing was published"):
            create(BackupRequest(tmp_path / "full"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert leftovers(tmp_path / "full") == []


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ((17, 5), True),
        ((17, 9), True),
        ((17, 10), False),
        ((18, 4), False),
        ((13, 22), True),
        ((19, 0), False),
    ],
)
def test_a_client_version_with_known_holes_is_named(version: tuple[int, int], named: bool) -> None:
    warning = ClientTools(Path("pg_dump"), Path("pg_restore"), version).warning
    assert ("CVE-2025-8714" in warning) is named


def test_client_programs_of_another_major_version_are_refused(
    tmp_path: Path, settings: Settings
) -> None:
    for name in ("pg_dump", "pg_restore"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 12.1'\n")
        program.chmod(0o755)
    settings.PG_BIN_DIR = tmp_path
    with pytest.raises(
        BackupRefused, match=r"is of version 12, the server of \d+: set PG_BIN_DIR"
    ):
        create(BackupRequest(tmp_path / "backups"))


def test_a_row_that_the_database_lost_comes_back_from_the_signed_record(tmp_path: Path) -> None:
    backup = create(BackupRequest(tmp_path))
    Backup.objects.all().delete()
    call_command("verify_backup", str(backup.path))
    assert Backup.objects.get().sha256 == backup.sha256
    assert sidecar.read(backup.path).facts["tables"].keys() == backup.facts["tables"].keys()
