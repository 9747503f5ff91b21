"""The upkeep of backups: the cycle, what a prune keeps, and the status, metrics and admin."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from ops import exporter
from ops.backups import history
from ops.backups.create import BackupRequest, create
from ops.backups.cycle import prune
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupFailed, BackupRefused
from ops.backups.verify import verify
from tests.backup_faults import NO_SLOW_DRILL, SLOW_DRILL, companies, flip, schema, valid_backup
from tests.pages import Page

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def directory(settings: Settings, tmp_path: Path) -> Path:
    settings.BACKUP_DIR = tmp_path
    return tmp_path


def made(
    directory: Path, days_ago: float = 0, valid: bool = True, at: datetime | None = None
) -> Backup:
    """A backup with a snapshot of some days ago, or of a moment."""
    backup = valid_backup(directory) if valid else create(BackupRequest(directory))
    snapshot_at = at or backup.snapshot_at - timedelta(days=days_ago)
    Backup.objects.filter(pk=backup.pk).update(snapshot_at=snapshot_at)
    backup.refresh_from_db()
    return backup


def dumps(directory: Path) -> set[str]:
    return {path.name for path in directory.glob("*.dump")}


# -- Prune -------------------------------------------------------------------------------------


def test_the_newest_and_one_valid_backup_of_each_day_are_kept(directory: Path) -> None:
    # Around noon, so that no test runs so late in the day that two of one day fall into two.
    noon = (timezone.now() - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
    backups = [made(directory, at=noon - timedelta(days=days)) for days in (5, 4, 1, 0.001, 0)]
    done = prune(keep=1, keep_days=2)
    newest, day_before = backups[4], backups[2]
    assert set(done.kept) == {newest.name, day_before.name}
    assert dumps(directory) == set(done.kept)
    assert set(done.taken) == {backups[0].name, backups[1].name, backups[3].name}
    assert not [
        path for path in directory.iterdir() if any(name in path.name for name in done.taken)
    ]
    assert (directory / "ledger.jsonl").read_text().count('"pruned"') == len(done.taken)


def test_the_last_valid_backup_stays_however_many_newer_ones_do_not_count(directory: Path) -> None:
    valid = made(directory, 3)
    newer = [made(directory, days, valid=False) for days in (2, 1, 0)]
    done = prune(keep=1, keep_days=0)
    assert (done.assured, set(done.kept)) == (valid.name, {valid.name, newer[2].name})


def test_a_valid_record_whose_bytes_are_spoiled_does_not_save_only_itself(directory: Path) -> None:
    older, spoiled = made(directory, 2), made(directory, 1)
    flip(spoiled.path, 3_000)
    newest = made(directory, 0, valid=False)
    done = prune(keep=1, keep_days=0)
    assert (done.assured, set(done.kept)) == (older.name, {older.name, newest.name})
    assert spoiled.checks.first().verdict == "failed"  # type: ignore[union-attr]


def test_without_any_backup_that_counts_nothing_is_taken_away(directory: Path) -> None:
    for days in (2, 1, 0):
        made(directory, days, valid=False)
    done = prune(keep=0, keep_days=0)
    assert (done.assured, done.taken, len(done.kept)) == (None, [], 3)


def test_files_that_a_killed_prune_has_left_are_removed_by_the_next(directory: Path) -> None:
    old = made(directory, 2)
    made(directory, 0)
    Backup.objects.filter(pk=old.pk).update(pruned_at=old.created_at)
    call_command("prune_backups", "--keep", "5")
    assert old.name not in dumps(directory)


def test_a_negative_number_to_keep_is_refused(directory: Path) -> None:
    made(directory, 0)
    with pytest.raises(CommandError, match="not a whole number of at least 0"):
        call_command("prune_backups", "--keep=-1")
    with pytest.raises(BackupRefused, match="cannot be negative"):
        prune(keep=0, keep_days=-1)
    assert len(dumps(directory)) == 1


# -- Cycle -----------------------------------------------------------------------------


def test_a_cycle_makes_a_backup_that_counts(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    companies(30)
    call_command("backup_cycle", "--json")
    done = json.loads(capsys.readouterr().out)
    assert (done["passed"], [check["verdict"] for check in done["checks"]]) == (
        True,
        ["passed", "passed"],
    )
    assert done["seconds"] > 0
    newest = history.newest_valid()
    assert newest
    assert newest.backup.name == done["backup"]["name"]
    call_command("backup_cycle")
    assert "All in all" in capsys.readouterr().out


def test_a_cycle_whose_drill_has_no_verdict_exits_1_and_takes_nothing_away(
    directory: Path,
) -> None:
    companies(1)
    made(directory, 40)
    with (
        schema(SLOW_DRILL, NO_SLOW_DRILL),
        pytest.raises(CommandError, match=r"is not valid: pg_restore was stopped after 0\.5 s"),
    ):
        call_command("backup_cycle", "--time-limit", "0.5", "--keep", "1", "--keep-days", "0")
    assert len(dumps(directory)) == 2


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="set BACKUP_DIR"):
        call_command("create_backup", "--directory", str(tmp_path / "file" / "below"))


def test_a_snapshot_that_cannot_be_counted_publishes_nothing(directory: Path) -> None:
    # pg_dump leaves generated columns out, the counting computes them.
    change = """
    CREATE TABLE public.broken (n integer, bad integer GENERATED ALWAYS AS (1 / n) VIRTUAL);
    ALTER TABLE public.broken ALTER COLUMN n SET DEFAULT 0;
    INSERT INTO public.broken DEFAULT VALUES;
    """
    with (
        schema(change, "DROP TABLE public.broken"),
        pytest.raises(BackupFailed, match="counted: division by zero"),
    ):
        create(BackupRequest(directory))
    assert (dumps(directory), Backup.objects.count()) == (set(), 0)


# -- Status, metrics, admin --------------------------------------------------------------------


def test_status_exits_1_without_a_backup(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        CommandError, match=r"This database has no backup\. To fix: manage.py backup_cycle"
    ):
        call_command("backup_status", "--json")
    assert json.loads(capsys.readouterr().out) == {
        "fresh": False,
        "sentence": "This database has no backup.",
        "restore_seconds": None,
        "backups": [],
    }


def test_status_shows_each_backup_and_the_measured_restore_time(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    valid, unchecked = made(directory, 0.01), made(directory, 0, valid=False)
    call_command("backup_status", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["fresh"] is True
    assert [
        (line["name"], line["valid"], line["verify"], line["restore"]) for line in found["backups"]
    ] == [
        (unchecked.name, False, "never", "never"),
        (valid.name, True, "passed", "passed"),
    ]
    drill = BackupCheck.objects.get(backup=valid, kind="restore")
    assert found["restore_seconds"] == drill.seconds > 0
    call_command("backup_status")
    shown = capsys.readouterr().out
    assert valid.name in shown
    assert f"A restore takes about {drill.seconds:.1f} s" in shown


def test_status_exits_1_when_the_valid_backup_is_an_hour_old(directory: Path) -> None:
    made(directory, 1 / 24)
    with pytest.raises(
        CommandError, match=r"the limit is 3600 s\. To fix: manage.py backup_cycle"
    ) as refusal:
        call_command("backup_status")
    (age,) = re.findall(r"(\d+) s old", str(refusal.value))
    assert (
        3600 <= int(age) < 4000
    )  # as old as was said, and as many seconds more as the test has taken


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape waits long for the database, also on a machine that stalls."""
    monkeypatch.setattr(exporter, "DATABASE_SECONDS", 60.0)


def scraped(client: Client) -> list[str]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return [
        line for line in answer.content.decode().splitlines() if line.startswith("stage_backup_")
    ]


def test_metrics_show_0_while_no_backup_counts_and_the_snapshot_s_time_once_one_does(
    client: Client, directory: Path, patient: None
) -> None:
    assert scraped(client)[0] == "stage_backup_last_valid_timestamp_seconds 0.0"
    backup = made(directory, 0, valid=False)
    assert scraped(client)[0] == "stage_backup_last_valid_timestamp_seconds 0.0"
    verify(backup)
    valid = made(directory, 0)
    name, _, value = scraped(client)[0].partition(" ")
    assert name == "stage_backup_last_valid_timestamp_seconds"
    assert float(value) == pytest.approx(valid.snapshot_at.timestamp(), abs=1e-3)


def test_metrics_count_the_checks_by_verdict(
    client: Client, directory: Path, patient: None
) -> None:
    backup = made(directory, 0)
    flip(backup.path, 3_000)
    verify(backup)
    counted = dict(line.rsplit(" ", 1) for line in scraped(client)[1:])
    assert {name: float(value) for name, value in counted.items()} == {
        'stage_backup_checks_total{check="verify",verdict="passed"}': 1.0,
        'stage_backup_checks_total{check="verify",verdict="failed"}': 1.0,
        'stage_backup_checks_total{check="verify",verdict="error"}': 0.0,
        'stage_backup_checks_total{check="restore",verdict="passed"}': 1.0,
        'stage_backup_checks_total{check="restore",verdict="failed"}': 0.0,
        'stage_backup_checks_total{check="restore",verdict="error"}': 0.0,
    }


def test_the_admin_shows_backups_and_lets_nobody_write_them(
    client: Client, directory: Path
) -> None:
    backup = made(directory, 0)
    client.force_login(User.objects.create_superuser("operator"))
    page = Page.get(client, "/admin/ops/backup/")
    assert f"{backup.snapshot_at:%-d %b %Y %H:%M:%S}" in page.text
    assert "✓ valid" in [each.text for each in page.all("span", css="badge-good")]
    assert client.get("/admin/ops/backupcheck/").status_code == 200
    assert client.get("/admin/ops/heartbeat/").status_code == 200
    for address in (
        f"/admin/ops/backup/{backup.pk}/delete/",
        "/admin/ops/backup/add/",
        "/admin/ops/backupcheck/add/",
    ):
        assert client.post(address, {}).status_code == 403
    assert client.post(f"/admin/ops/backup/{backup.pk}/change/", {}).status_code == 403
