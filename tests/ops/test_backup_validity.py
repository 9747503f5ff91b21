"""The validity of a backup over its limits: every place that shows it gives the same answer."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from ops import clock, exporter
from ops.admin.backups import GATE_BADGES, STATE_BADGES
from ops.backups import archive, history
from ops.backups.cycle import prune
from ops.backups.models import Backup, BackupCheck
from ops.backups.records import record_pruned
from ops.backups.sidecar import hash_file, record_file
from ops.backups.source import own_identity
from ops.backups.verify import verify
from ops.cli.backups import operation
from ops.gates import facts
from ops.gates.backup_rule import (
    UNCERTAIN,
    BackupFiles,
    BackupRecord,
    BackupState,
    FileState,
    validity,
)
from ops.gates.rules import GateOutcome, backup_valid
from ops.pages.home.state import state as home_state
from tests.backup_faults import flip, valid_backup
from tests.backup_pages import BackupPage, BackupsPage

pytestmark = pytest.mark.django_db(transaction=True)

PASS, FAIL, INCONCLUSIVE = GateOutcome.PASS, GateOutcome.FAIL, GateOutcome.INCONCLUSIVE
TONES = {PASS: "good", FAIL: "bad", INCONCLUSIVE: "unsure"}


@pytest.fixture(autouse=True)
def _directory(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BACKUP_DIR = tmp_path
    monkeypatch.setattr(exporter, "DATABASE_SECONDS", 60.0)


@dataclass
class Places:
    """The places that show the validity, at one moment of the database's clock."""

    operator: Client
    backup: Backup
    now: datetime

    def agree_on(self, state: BackupState, outcome: GateOutcome) -> None:
        """Compare what each place shows without reading a file."""
        listed = Backup.objects.get(pk=self.backup.pk)
        found = history.judge(listed, own_identity(), self.now).validity
        assert found.state is state, found
        verdict = history.backup_verdict(read_files=False)
        assert verdict.outcome is outcome, verdict
        assert backup_valid(facts.collect(0, read_files=False)) == verdict
        (row,) = [each for each in home_state(self.now) if each.label == "Newest valid backup"]
        assert row.tone == TONES[outcome]
        assert (row.detail == "fresh enough for the gate") == (outcome is PASS)
        assert outcome is PASS or row.detail == verdict.sentence
        self._pages_agree(state, outcome, found.sentence, verdict.sentence)
        assert self._metric() == (found.valid is not False) * self.backup.snapshot_at.timestamp()

    def gate_reads(self, outcome: GateOutcome) -> str:
        """Compare the gate that reads touched files with `backup_status`; return the sentence."""
        verdict = history.backup_verdict()
        assert verdict.outcome is outcome, verdict
        assert backup_valid(facts.collect(0)) == verdict
        out = io.StringIO()
        with contextlib.suppress(CommandError):
            call_command("backup_status", "--json", stdout=out)
        status = json.loads(out.getvalue())
        assert (status["fresh"], status["sentence"]) == (outcome is PASS, verdict.sentence)
        assert outcome is not PASS or [line["valid"] for line in status["backups"]] == [True]
        return verdict.sentence

    def _pages_agree(
        self, state: BackupState, outcome: GateOutcome, sentence: str, verdict: str
    ) -> None:
        page = BackupPage.open(self.operator, self.backup)
        badge = STATE_BADGES[state]
        assert (page.state, page.sentence) == (f"{badge.sign} {badge.word}", sentence)
        if state is BackupState.PRUNED:
            return  # only behind a filter, without the gate
        listed = BackupsPage.open(self.operator)
        assert listed.rows[0]["state"].startswith(page.state)
        gate = GATE_BADGES[outcome]
        assert listed.gate == f"{gate.sign} {gate.word}"
        assert listed.verdict.startswith(verdict)

    def _metric(self) -> float:
        text = Client().get("/metrics").content.decode()
        (line,) = (
            line
            for line in text.splitlines()
            if line.startswith("stage_backup_last_valid_timestamp_seconds ")
        )
        return float(line.split()[1])


@pytest.fixture
def places(
    operator: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], Places]:
    """A valid backup; called with an age in seconds, sets the database's clock to it."""
    backup = valid_backup(tmp_path)

    def at(age: float) -> Places:
        now = backup.snapshot_at + timedelta(seconds=age)
        monkeypatch.setattr(clock, "database_now", lambda: now)
        return Places(operator, backup, now)

    return at


def test_the_age_decides_alike_everywhere(places: Callable[[float], Places]) -> None:
    for age, outcome in ((0, PASS), (3599, PASS), (3600, FAIL), (-1, FAIL), (90_000, FAIL)):
        seen = places(age)
        seen.agree_on(BackupState.VALID, outcome)
        seen.gate_reads(outcome)


def move(backup: Backup) -> None:
    backup.path.rename(backup.path.with_name("moved"))


def touch(backup: Backup) -> None:
    backup.path.touch()


def change(backup: Backup) -> None:
    flip(backup.path, 2_000)


def cut(backup: Backup) -> None:
    os.truncate(backup.path, backup.size - 1)


def link(backup: Backup) -> None:
    backup.path.symlink_to(backup.path.rename(backup.path.with_name("moved")))


def remove_record(backup: Backup) -> None:
    record_file(backup.path).unlink()


def remove_hash(backup: Backup) -> None:
    hash_file(backup.path).unlink()


def touch_record(backup: Backup) -> None:
    record_file(backup.path).touch()


def change_record(backup: Backup) -> None:
    record = json.loads(record_file(backup.path).read_text())
    record_file(backup.path).write_text(json.dumps({**record, "created_by": "another"}))


def change_hash(backup: Backup) -> None:
    hash_file(backup.path).write_text(f"{'0' * 64}  {backup.name}\n")


def empty_record(backup: Backup) -> None:
    record_file(backup.path).write_bytes(b"")


def empty_hash(backup: Backup) -> None:
    hash_file(backup.path).write_bytes(b"")


def move_to_another_host(backup: Backup) -> None:
    move(backup)
    Backup.objects.update(host="another-host", directory="/nowhere/at/all")


def another_database(backup: Backup) -> None:
    Backup.objects.update(database_oid=1)


def fail(backup: Backup) -> None:
    flip(backup.path, 2_000)
    assert verify(backup).verdict == "failed"
    flip(backup.path, 2_000)
    assert verify(backup).verdict == "passed"  # the restore has to pass again, too


def forget_the_restore(backup: Backup) -> None:
    copied = Backup.objects.get(pk=backup.pk)
    copied.pk, copied.name = None, "copy.dump"
    Backup.objects.filter(pk=backup.pk).update(pruned_at=backup.created_at)
    copied.save()
    check = BackupCheck.objects.get(backup=backup, kind="verify")
    check.pk, check.backup = None, copied
    check.save()
    backup.pk = copied.pk


@pytest.mark.parametrize(
    ("fault", "state", "shown", "read", "sentence"),
    [
        (touch, BackupState.TOUCHED, INCONCLUSIVE, PASS, "passed both checks"),
        (touch_record, BackupState.VALID, PASS, PASS, "passed both checks"),
        (change, BackupState.TOUCHED, INCONCLUSIVE, FAIL, "its SHA-256 differs"),
        (change_record, BackupState.CHANGED, FAIL, FAIL, "the signature of"),
        (change_hash, BackupState.CHANGED, FAIL, FAIL, "differs from the signed record"),
        (empty_record, BackupState.CHANGED, FAIL, FAIL, ".dump.json is malformed"),
        (empty_hash, BackupState.CHANGED, FAIL, FAIL, "differs from the signed record"),
        (cut, BackupState.CHANGED, FAIL, FAIL, "bytes instead of"),
        (link, BackupState.CHANGED, FAIL, FAIL, "is a symbolic link"),
        (move, BackupState.MISSING, FAIL, FAIL, ".dump is not in"),
        (remove_record, BackupState.MISSING, FAIL, FAIL, ".dump.json is not in"),
        (remove_hash, BackupState.MISSING, FAIL, FAIL, ".dump.sha256 is not in"),
        (move_to_another_host, BackupState.ELSEWHERE, INCONCLUSIVE, INCONCLUSIVE, "on the host"),
        (another_database, BackupState.FOREIGN, FAIL, FAIL, "This database has no backup"),
        (record_pruned, BackupState.PRUNED, FAIL, FAIL, "This database has no backup"),
        (fail, BackupState.FAILED, FAIL, FAIL, "failed verify"),
        (forget_the_restore, BackupState.UNCHECKED, FAIL, FAIL, "has not passed restore"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_every_place_shows_the_same_of_a_backup_with_a_fault(
    places: Callable[[float], Places],
    fault: Callable[[Backup], None],
    state: BackupState,
    shown: GateOutcome,
    read: GateOutcome,
    sentence: str,
) -> None:
    seen = places(60)
    fault(seen.backup)
    seen.agree_on(state, shown)
    assert sentence in seen.gate_reads(read)


@pytest.mark.parametrize("fault", [move, cut, remove_record], ids=lambda each: each.__name__)
def test_a_prune_removes_nothing_if_the_only_valid_record_has_lost_its_files(
    places: Callable[[float], Places], fault: Callable[[Backup], None]
) -> None:
    fault(places(60).backup)
    assert prune(keep=0, keep_days=0).assured is None


@contextlib.contextmanager
def without_permission(*paths: Path) -> Iterator[None]:
    """Take the right to read the files away, also from root."""
    for path in paths:
        path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in paths:
            path.chmod(0o600)


@pytest.mark.parametrize("of", [lambda dump: dump, record_file, hash_file])
def test_files_that_this_user_may_not_read_are_inconclusive_and_the_verdict_names_user_and_file(
    places: Callable[[float], Places], of: Callable[[Path], Path]
) -> None:
    backup = places(60).backup
    path = of(backup.path)
    with without_permission(path):
        verdict = history.backup_verdict()
        check = verify(backup)
    assert verdict.outcome is INCONCLUSIVE
    assert " may not read " in verdict.sentence
    assert str(backup.path.parent) in verdict.sentence
    assert "as the user who owns the backups" in verdict.remedy
    assert (check.verdict, " may not read " in check.reason) == ("error", True)


def test_a_backup_without_a_row_that_this_user_may_not_read_is_not_called_missing(
    places: Callable[[float], Places],
) -> None:
    dump = places(60).backup.path
    copied = dump.with_name("copied.dump")
    record_file(copied).write_bytes(record_file(dump).read_bytes())
    # Imports the command: the other user may not be able to read the checkout either.
    call_command("verify_backup", dump.name)
    with (
        without_permission(record_file(copied)),
        pytest.raises(
            CommandError, match=r"copied.dump cannot be read: the user \w+ may not read"
        ),
    ):
        call_command("verify_backup", copied.name)


def test_a_draft_of_another_user_stays_and_does_not_stop_a_new_backup() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        draft = directory / "other.dump.part"
        draft.write_bytes(b"other")
        with without_permission(draft):
            assert archive.sweep_drafts(directory) == []
        assert draft.exists()
        assert archive.sweep_drafts(directory) == [draft.name]


def test_a_command_without_permission_names_the_user_and_the_file() -> None:
    with (
        pytest.raises(CommandError, match=r"\AThe user \w+ may not access /backups/a\.dump\.\Z"),
        operation({"json": True}),
    ):
        raise PermissionError(errno.EACCES, "Permission denied", "/backups/a.dump")


def test_every_state_has_a_badge_and_every_file_state_a_sentence() -> None:
    assert set(STATE_BADGES) == set(BackupState)
    assert set(GATE_BADGES) == set(GateOutcome)
    now = datetime(2026, 7, 1).astimezone()
    for state in FileState:
        record = BackupRecord("a.dump", "sha", now, checks=[_passed("verify"), _passed("restore")])
        found = validity(record, BackupFiles(state, "because"), now)
        assert found.sentence.startswith("a.dump ")
        assert (found.valid is None) == (found.state in UNCERTAIN)
        assert (found.remedy == "") == (state is FileState.SAME)


def _passed(kind: str) -> Any:
    return BackupCheck(kind=kind, verdict="passed", sha256="sha", reason="")


def test_a_stamp_of_an_older_release_is_recognized(tmp_path: Path) -> None:
    backup = valid_backup(tmp_path)
    checks = list(backup.checks.all())
    for check in checks:
        check.stamp = check.stamp.partition("/")[0]
    assert history.files_on_disk(backup, checks, read=False).state is FileState.SAME
    empty_hash(backup)
    assert history.files_on_disk(backup, checks, read=False).state is FileState.CHANGED
