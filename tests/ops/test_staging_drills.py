"""Drills on another server: direct, or carried to staging and recorded from a signed result."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from ops.backups import signing, staging
from ops.backups.create import BackupRequest, create
from ops.backups.history import backup_verdict
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupRefused
from ops.backups.restore import restore
from ops.backups.sidecar import hash_file, record_file
from ops.backups.source import Source, elsewhere
from ops.backups.verify import verify
from ops.gates.rules import GateOutcome
from tests.backup_faults import companies, execute, flip, sign
from tests.children import run
from tests.servers import ROOT, PostgresServer, free_port

pytestmark = pytest.mark.django_db(transaction=True)

STAGING_SECRET = "the-secret-of-the-staging-server-" * 2
LEFT = "SELECT count(*) FROM pg_database WHERE datname LIKE 'stagenorm_drill_%'"


@pytest.fixture(scope="module")
def other_server() -> Iterator[PostgresServer]:
    """A second server with a role that may create databases."""
    server = PostgresServer()
    try:
        server.start()
        with psycopg.connect(server.url(), autocommit=True) as link:
            link.execute("CREATE ROLE drills LOGIN CREATEDB PASSWORD 'kept-off-argv'")
        yield server
        with psycopg.connect(server.url()) as link:
            assert link.execute(LEFT).fetchone() == (0,)
    finally:
        server.remove()


@pytest.fixture
def url(other_server: PostgresServer) -> str:
    """The address of the second server for the role of the drill."""
    return f"{other_server.url()}&user=drills"


@contextlib.contextmanager
def on_staging(settings: Settings) -> Iterator[None]:
    """Sign and verify as the staging server does."""
    production, key = settings.SECRET_KEY, signing.own_key()
    settings.SECRET_KEY, settings.BACKUP_VERIFICATION_KEYS = STAGING_SECRET, [key]
    settings.BACKUP_DRILL_KEYS = [signing.own_key()]
    try:
        yield
    finally:
        settings.SECRET_KEY, settings.BACKUP_VERIFICATION_KEYS = production, []


def carried(backup: Backup, directory: Path) -> Path:
    """Copy the three files of the backup; return the path of the dump."""
    directory.mkdir()
    for path in (backup.path, record_file(backup.path), hash_file(backup.path)):
        shutil.copy(path, directory)
    return directory / backup.name


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "manage.py", *arguments]
    return run(line, cwd=ROOT, env={**os.environ, **environment})


def test_a_drill_on_another_server_is_recorded_with_that_server_and_opens_the_gate(
    tmp_path: Path, other_server: PostgresServer, url: str
) -> None:
    companies(20)
    backup = create(BackupRequest(tmp_path))
    assert verify(backup).verdict == "passed"
    check = restore(backup, into=elsewhere(url))
    with psycopg.connect(other_server.url()) as link:
        [(cluster,)] = link.execute("SELECT system_identifier FROM pg_control_system()")
    assert check.verdict == "passed", check.reason
    assert check.target.endswith(f"(cluster {cluster})")
    assert f"tables restored on {check.target} and equal to the snapshot" in check.reason
    assert backup_verdict().outcome is GateOutcome.PASS


def test_staging_without_access_to_production_gives_a_result_that_opens_the_gate_once(
    tmp_path: Path, settings: Settings, url: str
) -> None:
    companies(20)
    backup = create(BackupRequest(tmp_path / "production"))
    verify(backup)
    dump, result = carried(backup, tmp_path / "staging"), tmp_path / "result.json"
    drilled = command(
        "test_restore",
        str(dump),
        "--into=env:DRILL_SERVER",
        f"--result={result}",
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/unreachable",
        DJANGO_SECRET_KEY=STAGING_SECRET,
        BACKUP_VERIFICATION_KEYS=signing.own_key(),
        DRILL_SERVER=f"{url}&password=kept-off-argv",
    )
    assert (drilled.returncode, "restore passed" in drilled.stdout) == (0, True), drilled.stderr
    assert backup_verdict().outcome is GateOutcome.FAIL
    with on_staging(settings):
        key = signing.own_key()
    settings.BACKUP_DRILL_KEYS = [key]
    call_command("record_drill", str(result))
    check = BackupCheck.objects.latest("id")
    assert (check.kind, check.verdict, check.sha256) == ("restore", "passed", backup.sha256)
    assert "on staging, recorded by" in check.reason
    assert backup_verdict().outcome is GateOutcome.PASS
    with pytest.raises(CommandError, match="was recorded before; it counts once"):
        call_command("record_drill", str(result))
    assert command("backup_key", DJANGO_SECRET_KEY=STAGING_SECRET).stdout == f"{key}\n"


def change_record(dump: Path) -> None:
    record = json.loads(record_file(dump).read_text())
    record["facts"]["tables"].popitem()
    record_file(dump).write_text(json.dumps(record))


def sign_as_another(dump: Path) -> None:
    record = json.loads(record_file(dump).read_text())
    record.pop(signing.SIGNATURE)
    record_file(dump).write_text(json.dumps(signing.signed(record)))  # with the key of staging


def no_signature(dump: Path) -> None:
    record = json.loads(record_file(dump).read_text())
    record.pop(signing.SIGNATURE)
    record_file(dump).write_text(json.dumps(record))


def older_release(dump: Path) -> None:
    record = json.loads(record_file(dump).read_text())
    record_file(dump).write_text(json.dumps({**record, "format": "stagenorm-backup/1"}))


def flip_a_byte(dump: Path) -> None:
    flip(dump, dump.stat().st_size // 2)


def test_a_copy_that_is_not_what_production_signed_is_not_restored(
    tmp_path: Path, settings: Settings
) -> None:
    backup = create(BackupRequest(tmp_path / "production"))
    unreachable = Source({"host": "127.0.0.1", "port": str(free_port())}, "")
    with pytest.raises(BackupRefused, match="BACKUP_VERIFICATION_KEYS is not set"):
        staging.drill_copy(backup.path, unreachable)
    cases: list[tuple[Callable[[Path], object], str]] = [
        (change_record, "its content was changed after it was signed"),
        (sign_as_another, "which is not trusted here"),
        (no_signature, "it has no signature"),
        (older_release, "was written by an older release: make a new backup"),
        (flip_a_byte, "SHA-256 differs from the signed record"),
        (lambda dump: hash_file(dump).unlink(), "is not in"),
        (lambda dump: dump.write_bytes(b""), "the file is empty"),
    ]
    with on_staging(settings):
        for number, (fault, reason) in enumerate(cases):
            dump = carried(backup, tmp_path / str(number))
            fault(dump)
            with pytest.raises(BackupRefused, match=f"was not restored: .*{reason}"):
                staging.drill_copy(dump, unreachable)


@pytest.fixture
def result(tmp_path: Path, settings: Settings, url: str) -> staging.DrillResult:
    """A passed result about a backup of this database, signed by a trusted staging server."""
    backup = create(BackupRequest(tmp_path))
    verify(backup)
    with on_staging(settings):
        found = staging.drill_copy(backup.path, elsewhere(url))
        found.write(tmp_path / "result.json")
    return found


def test_a_result_that_is_changed_untrusted_or_about_another_backup_is_refused(
    tmp_path: Path, settings: Settings, result: staging.DrillResult
) -> None:
    file = tmp_path / "result.json"
    signed = json.loads(file.read_text())
    other = {**signed["identity"], "database": "other"}
    now = timezone.now()
    foreign: list[tuple[dict[str, Any], str]] = [
        ({"verdict": "passed ", "reason": "x"}, "is malformed"),
        ({"identity": other}, "about a backup of another database"),
        ({"sha256": "0" * 64}, "about other bytes"),
        ({"name": "other.dump"}, "has no backup other.dump"),
        ({"format": "stagenorm-backup/2"}, "is not a drill result"),
        ({"started_at": (now - timedelta(hours=25)).isoformat()}, "has expired"),
        ({"started_at": (now + timedelta(minutes=6)).isoformat()}, "in the future"),
        ({"more": 1}, "is malformed"),
    ]
    unsigned = {name: value for name, value in signed.items() if name != signing.SIGNATURE}
    documents = [
        ({**signed, "sha256": "0" * 64}, "was changed after it was signed"),
        ({**signed, "verdict": "failed"}, "was changed after it was signed"),
        (unsigned, "it has no signature"),
        (signing.signed(unsigned), "which is not trusted here"),  # production's own key
    ]
    with on_staging(settings):
        documents += [(signing.signed({**unsigned, **new}), why) for new, why in foreign]
    for document, why in documents:
        file.write_text(json.dumps(document))
        with pytest.raises(BackupRefused, match=why):
            staging.record_result(file)
    file.write_text("[]")
    with pytest.raises(BackupRefused, match="not a JSON object"):
        staging.record_result(file)
    with pytest.raises(BackupRefused, match=r"none\.json is not in"):
        staging.record_result(tmp_path / "none.json")
    file.write_text(json.dumps(signed))
    settings.BACKUP_DRILL_KEYS = []
    with pytest.raises(BackupRefused, match="BACKUP_DRILL_KEYS is not set"):
        staging.record_result(file)
    assert not BackupCheck.objects.filter(kind="restore").exists()


def test_a_result_from_before_a_failed_check_is_refused_and_one_after_it_needs_both_checks(
    tmp_path: Path, settings: Settings, result: staging.DrillResult, url: str
) -> None:
    backup = Backup.objects.get()
    flip(backup.path, 200)
    assert verify(backup).verdict == "failed"
    flip(backup.path, 200)
    with pytest.raises(BackupRefused, match="failed verify after this drill started"):
        staging.record_result(tmp_path / "result.json")
    with on_staging(settings):
        staging.drill_copy(backup.path, elsewhere(url)).write(tmp_path / "later.json")
    assert staging.record_result(tmp_path / "later.json").verdict == "passed"
    assert backup_verdict().outcome is GateOutcome.FAIL
    verify(backup)
    assert backup_verdict().outcome is GateOutcome.PASS


def test_a_copy_that_differs_on_staging_fails_the_backup_here(
    tmp_path: Path, settings: Settings, url: str
) -> None:
    companies(5)
    backup = create(BackupRequest(tmp_path))
    verify(backup)
    facts = json.loads(record_file(backup.path).read_text())["facts"]
    facts["tables"]["public.portfolio_companies"]["rows"] = 4
    sign(backup, facts=facts)
    with on_staging(settings):
        staging.drill_copy(backup.path, elsewhere(url)).write(tmp_path / "result.json")
    with pytest.raises(CommandError, match=r"restore failed: .*the restored copy differs"):
        call_command("record_drill", str(tmp_path / "result.json"))
    assert "failed restore" in backup_verdict().sentence


def test_a_server_that_would_write_other_values_gives_no_verdict_about_the_backup(
    tmp_path: Path, other_server: PostgresServer, url: str
) -> None:
    backup = create(BackupRequest(tmp_path))
    with psycopg.connect(other_server.url(), autocommit=True) as link:
        link.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
    check = restore(backup, into=elsewhere(f"{other_server.url('latin')}&user=drills"))
    assert (check.verdict, "has the encoding LATIN1" in check.reason) == ("error", True)
    [[version]] = execute("SHOW server_version_num")
    sign(backup, server_version=int(version) - 10000)
    check = restore(backup, into=elsewhere(url))
    assert (check.verdict, "of the same major version" in check.reason) == ("error", True)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("postgresql://drills:secret@localhost/x", "A password on a command line"),
        ("host=localhost password=secret", "A password on a command line"),
        ("env:NOT_SET_ANYWHERE", "environment variable NOT_SET_ANYWHERE is not set"),
        ("staging", "is malformed"),
    ],
)
def test_a_server_is_given_without_a_password_or_by_a_variable(given: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as refused:
        call_command("test_restore", "x.dump", f"--into={given}", "--result=x.json")
    assert "secret" not in str(refused.value)


def test_a_result_needs_a_server_and_the_path_of_the_dump() -> None:
    with pytest.raises(CommandError, match="needs --into and the path of the dump"):
        call_command("test_restore", "--result=x.json")
