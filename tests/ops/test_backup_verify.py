"""The first check: it refuses altered, exchanged, foreign and half-empty backups unparsed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils.crypto import salted_hmac
from pytest_django import Settings

from ops.backups import sidecar
from ops.backups.create import BackupRequest, create
from ops.backups.models import Backup, BackupCheck
from ops.backups.restore import restore
from ops.backups.sidecar import hash_file, record_file
from ops.backups.verify import verify
from stagenorm.postgres import binaries
from tests.backup_faults import companies, execute, flip, sign, valid_backup
from tests.children import run

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 100_000
FLIPS = 500


def test_every_flip_and_every_cut_is_refused_and_a_checker_without_the_hash_misses_some(
    tmp_path: Path, settings: Settings
) -> None:
    companies(ROWS, noise=32)
    backup = create(BackupRequest(tmp_path))
    assert verify(backup).verdict == "passed"
    settings.PG_BIN_DIR = tmp_path / "nothing-may-parse-it"
    chosen = random.Random(5)
    for _ in range(FLIPS):
        position, mask = chosen.randrange(backup.size), 1 << chosen.randrange(8)
        flip(backup.path, position, mask)
        assert verify(backup).verdict == "failed", position
        flip(backup.path, position, mask)
    whole = backup.path.read_bytes()
    for length in (0, len(whole) // 100, len(whole) // 2, len(whole) * 99 // 100, len(whole) - 1):
        os.truncate(backup.path, length)
        assert (verify(backup).verdict, restore(backup).verdict) == ("failed", "failed"), length
        backup.path.write_bytes(whole)
    assert verify(backup).verdict == "passed"
    # The control: parsing alone, as `pg_restore` does. It finds most flips in the table of
    # contents, and not all.
    assert any(_parses(backup.path, chosen.randrange(8_000)) for _ in range(60))


def _parses(dump: Path, position: int) -> bool:
    flip(dump, position)
    done = run([binaries() / "pg_restore", "--file=/dev/null", dump])
    flip(dump, position)
    return done.returncode == 0


def forget_record(backup: Backup) -> None:
    record_file(backup.path).unlink()


def forget_hash(backup: Backup) -> None:
    hash_file(backup.path).unlink()


def malform_record(backup: Backup) -> None:
    record_file(backup.path).write_text("{")


def nest_record(backup: Backup) -> None:
    record_file(backup.path).write_text("[" * 200_000)


def scalar_record(backup: Backup) -> None:
    record_file(backup.path).write_text("7")


def swap_sidecars(backup: Backup) -> None:
    other = create(BackupRequest(backup.path.parent))
    record_file(other.path).replace(record_file(backup.path))
    hash_file(other.path).replace(hash_file(backup.path))


def replace_by_another_backup(backup: Backup) -> None:
    execute("UPDATE portfolio_companies SET stage = 'seed'")
    other = create(BackupRequest(backup.path.parent))
    other.path.replace(backup.path)
    _claim(backup, sha256=other.sha256, size=other.size)


def empty(backup: Backup) -> None:
    backup.path.write_bytes(b"")
    _claim(backup, sha256=hashlib.sha256(b"").hexdigest(), size=0)


def empty_with_a_right_signature(backup: Backup) -> None:
    backup.path.write_bytes(b"")
    _sign(backup, sha256=hashlib.sha256(b"").hexdigest(), size=0)


def another_database(backup: Backup) -> None:
    record = json.loads(record_file(backup.path).read_text())
    _sign(backup, identity={**record["identity"], "oid": record["identity"]["oid"] + 1})


def another_cluster(backup: Backup) -> None:
    record = json.loads(record_file(backup.path).read_text())
    _sign(backup, identity={**record["identity"], "system_identifier": "1"})


def symlink(backup: Backup) -> None:
    moved = backup.path.rename(backup.path.with_name("moved"))
    backup.path.symlink_to(moved)


def pipe(backup: Backup) -> None:
    backup.path.unlink()
    os.mkfifo(backup.path)


def delete(backup: Backup) -> None:
    backup.path.unlink()


def plain_text(backup: Backup) -> None:
    content = b"-- PostgreSQL database dump\n"
    backup.path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    _sign(backup, sha256=sha256, size=len(content))
    Backup.objects.filter(pk=backup.pk).update(sha256=sha256)
    backup.refresh_from_db()


def _claim(backup: Backup, **members: object) -> None:
    """Write sidecars that fit the replaced dump but keep the old signature."""
    record = json.loads(record_file(backup.path).read_text())
    record_file(backup.path).write_text(json.dumps({**record, **members}))
    hash_file(backup.path).write_text(f"{members['sha256']}  {backup.name}\n")


def _sign(backup: Backup, **members: object) -> None:
    """Write sidecars with a right signature."""
    sign(backup, **members)
    sha256 = json.loads(record_file(backup.path).read_text())["sha256"]
    hash_file(backup.path).write_text(f"{sha256}  {backup.name}\n")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (forget_record, ".json is not in"),
        (forget_hash, ".sha256 is not in"),
        (malform_record, "is malformed"),
        (nest_record, "is malformed"),
        (scalar_record, "is malformed"),
        (swap_sidecars, "is the record of"),
        (replace_by_another_backup, "signature"),
        (empty, "signature"),
        (empty_with_a_right_signature, "the file is empty"),
        (another_database, "a backup of another database"),
        (another_cluster, "a backup of another database"),
        (symlink, "is a symbolic link"),
        (pipe, "is not a regular file"),
        (delete, ".dump is not in"),
        (plain_text, "not a dump in PostgreSQL's custom format"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_backup_that_is_not_the_one_that_was_made_fails_both_checks(
    tmp_path: Path, fault: Callable[[Backup], None], said: str
) -> None:
    companies(20)
    backup = create(BackupRequest(tmp_path))
    fault(backup)
    for check in (verify(backup), restore(backup)):
        assert (check.verdict, said in check.reason) == ("failed", True), check.reason


def test_a_changed_secret_key_invalidates_and_a_fallback_keeps_the_signatures(
    tmp_path: Path, settings: Settings
) -> None:
    backup, old = create(BackupRequest(tmp_path)), settings.SECRET_KEY
    settings.SECRET_KEY = "another-key-" * 5
    assert "DJANGO_SECRET_KEY was changed since" in verify(backup).reason
    settings.SECRET_KEY_FALLBACKS = [old]
    assert verify(backup).verdict == "passed"


def test_the_record_of_an_older_release_is_valid_until_its_hmac_does_not_fit(
    tmp_path: Path, settings: Settings
) -> None:
    backup = create(BackupRequest(tmp_path))
    record = json.loads(record_file(backup.path).read_text())
    for member in ("ed25519", "encoding"):
        del record[member]
    record["format"] = "stagenorm-backup/1"
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    key = salted_hmac("ops.backups.sidecar", text, settings.SECRET_KEY, algorithm="sha256")
    for signature, verdict in ((key.hexdigest(), "passed"), ("0" * 64, "failed")):
        record_file(backup.path).write_text(json.dumps({**record, "hmac": signature}))
        assert verify(backup).verdict == verdict


def test_half_the_rows_gone_since_the_last_valid_backup_fails_unless_it_is_meant(
    tmp_path: Path,
) -> None:
    companies(100)
    valid_backup(tmp_path)
    execute("DELETE FROM portfolio_companies WHERE id % 2 = 0")
    check = verify(create(BackupRequest(tmp_path)))
    assert check.verdict == "failed"
    assert "portfolio_companies has 50 rows, the last valid backup had 100" in check.reason
    assert "--accept-fewer-rows REASON" in check.reason
    assert (
        verify(create(BackupRequest(tmp_path, accept_fewer_rows="closed the fund"))).verdict
        == "passed"
    )


def test_fewer_rows_than_half_lost_are_a_day_s_work(tmp_path: Path) -> None:
    companies(100)
    valid_backup(tmp_path)
    execute(
        "DELETE FROM portfolio_companies WHERE id IN (SELECT id FROM portfolio_companies LIMIT 49)"
    )
    assert verify(create(BackupRequest(tmp_path))).verdict == "passed"


def test_a_renamed_backup_is_not_a_backup(tmp_path: Path) -> None:
    backup = create(BackupRequest(tmp_path))
    for path in list(tmp_path.glob(f"{backup.name}*")):
        path.rename(path.with_name(path.name.replace("-", "-2", 1)))
    with pytest.raises(CommandError, match="is the record of"):
        call_command("verify_backup", str(next(tmp_path.glob("*.dump"))))


def test_a_backup_that_is_moved_and_touched_keeps_the_age_of_its_snapshot(tmp_path: Path) -> None:
    backup = create(BackupRequest(tmp_path))
    copy = tmp_path / "copy"
    shutil.copy(backup.path, copy)
    copy.replace(backup.path)
    os.utime(backup.path, (2**31, 2**31))
    assert verify(backup).verdict == "passed"
    backup.refresh_from_db()
    assert backup.snapshot_at == sidecar.read(backup.path).snapshot_at


def test_an_unreadable_file_says_nothing_about_the_backup(tmp_path: Path) -> None:
    backup = create(BackupRequest(tmp_path))
    backup.path.unlink()
    Backup.objects.filter(pk=backup.pk).update(host="another-host", directory="/nowhere/at/all")
    backup.refresh_from_db()
    check = verify(backup)
    assert (check.verdict, check.reason) == (
        "error",
        "/nowhere/at/all is on the host another-host: check it there",
    )


def test_the_command_exits_1_for_a_failed_backup_and_0_for_a_passed_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = create(BackupRequest(tmp_path))
    call_command("verify_backup", "--json")
    assert json.loads(capsys.readouterr().out)["verdict"] == "passed"
    flip(backup.path, 100)
    with pytest.raises(CommandError, match="the bytes on disk are not the ones that were written"):
        call_command("verify_backup", backup.name)
    assert [check.verdict for check in BackupCheck.objects.all()] == ["failed", "passed"]
