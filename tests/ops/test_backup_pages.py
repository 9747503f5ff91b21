"""The pages of backups: validity, reasons, remedies and the measured restore time."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from ops.backups.models import Backup, BackupCheck
from ops.backups.records import record_pruned
from ops.backups.verify import verify
from tests.backup_faults import flip, valid_backup
from tests.backup_pages import CHECKS, LIST, BackupPage, BackupsPage, ChecksPage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def directory(settings: Settings, tmp_path: Path) -> Path:
    settings.BACKUP_DIR = tmp_path / "backups"
    return settings.BACKUP_DIR  # type: ignore[no-any-return]


def recorded(seconds_ago: float) -> Backup:
    """The record of a valid backup without a file. (Real ones take a second each.)"""
    twin = Backup.objects.order_by("id")[0]
    checks = list(twin.checks.all())
    twin.pk, twin.name = None, f"twin-{seconds_ago:.0f}.dump"
    twin.snapshot_at -= timedelta(seconds=seconds_ago)
    twin.save()
    for check in checks:
        check.pk, check.backup = None, twin
        check.save()
    return twin


def test_the_empty_list_names_both_commands_and_the_timer(operator: Client) -> None:
    page = BackupsPage.open(operator)
    assert "No backup yet" in page.text
    assert page.commands == ["manage.py backup_cycle", "manage.py backup_status"]
    assert "docs/backups.md" in page.text


def test_a_valid_backup_is_shown_with_age_size_verdicts_and_the_measured_restore_time(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    listed = BackupsPage.open(operator)
    (row,) = listed.rows
    assert (listed.gate, row["state"]) == ("✓ open", "✓ valid")
    assert row["verified"].startswith("✓ passed")
    assert row["restored"].startswith("✓ passed")
    assert re.search(r"^[\d.]+ KB", row["size"])
    assert re.search(r"^[\d.]+ m?s, as the last drill measured$", listed.restore_time)
    assert re.search(
        r"passed both checks and is \d+ s old\. Fresh for (1 h|59 min)", listed.verdict
    )
    assert listed.next_step == ""
    page = BackupPage.open(operator, backup)
    assert (page.state, page.remedy) == ("✓ valid", "")
    drill = backup.checks.get(kind="restore")
    assert drill.reason in [check[3] for check in page.checks]
    assert page.offered_checks == [
        f"manage.py verify_backup {backup.name}",
        f"manage.py test_restore {backup.name}",
    ]


def test_the_checks_of_a_backup_are_shown_oldest_first_with_their_reasons(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    flip(backup.path, backup.size // 2)
    failure = verify(backup)
    assert failure.verdict == "failed"
    listed, page = BackupsPage.open(operator), BackupPage.open(operator, backup)
    (row,) = listed.rows
    assert row["state"].startswith("✕ failed")
    assert row["state"].endswith("manage.py backup_cycle")
    assert (failure.reason in row["state"], failure.reason in page.sentence) == (True, True)
    assert (page.state, page.remedy) == ("✕ failed", "To fix: manage.py backup_cycle")
    recorded_reasons = [check.reason for check in backup.checks.order_by("id")]
    assert [check[3] for check in page.checks] == recorded_reasons
    assert listed.gate == "✕ closed"


def test_a_file_that_was_touched_or_is_gone_is_not_called_valid(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    backup.path.touch()
    listed = BackupsPage.open(operator)
    assert listed.rows[0]["state"].startswith("! files touched")
    assert listed.gate == "! inconclusive"
    assert f"manage.py verify_backup {backup.name}" in listed.next_step
    assert verify(backup).verdict == "passed"
    assert BackupsPage.open(operator).rows[0]["state"] == "✓ valid"
    backup.path.unlink()
    listed = BackupsPage.open(operator)
    assert listed.rows[0]["state"].startswith("✕ files missing")
    assert listed.gate == "✕ closed"


def test_a_backup_older_than_an_hour_closes_the_gate_and_the_page_names_what_opens_it(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    Backup.objects.update(snapshot_at=timezone.now() - timedelta(hours=2, minutes=5))
    listed = BackupsPage.open(operator)
    assert listed.gate == "✕ closed"
    assert "2 h 5 min old" in listed.rows[0]["taken"]
    assert listed.next_step == "To open the gate: manage.py backup_cycle"
    assert BackupPage.open(operator, backup).state == "✓ valid"


def test_a_backup_of_another_database_is_not_valid_here(operator: Client, directory: Path) -> None:
    backup = valid_backup(directory)
    Backup.objects.update(database_oid=1)
    page = BackupPage.open(operator, backup)
    assert page.state == "○ of another database"
    assert "is a backup of another database" in page.sentence
    assert BackupsPage.open(operator).gate == "✕ closed"


def test_removed_backups_are_behind_a_filter(operator: Client, directory: Path) -> None:
    backup = valid_backup(directory)
    pruned = recorded(60)
    record_pruned(pruned)
    assert not BackupsPage.open(operator).links_to(pruned)
    apart = BackupsPage.open(operator, kept="pruned")
    assert (apart.links_to(pruned), apart.links_to(backup)) == (True, False)
    page = BackupPage.open(operator, pruned)
    assert page.state == "– removed"
    assert "was removed to make room" in page.sentence
    assert page.offered_checks == []


def test_the_list_makes_as_many_queries_for_many_backups_as_for_few(
    operator: Client, directory: Path
) -> None:
    valid_backup(directory)
    asked = []
    for more in (0, 5):
        for number in range(more):
            recorded(60 * number)
        for name in (LIST, CHECKS):
            operator.get(reverse(name))
            with CaptureQueriesContext(connection) as queries:
                assert operator.get(reverse(name)).status_code == 200
            asked.append(len(queries))
    assert asked[:2] == asked[2:]


def test_backups_and_checks_are_read_only_and_need_the_permission(
    client: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    address = reverse("admin:ops_backup_change", args=[backup.pk])
    assert client.get(address).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_backup"))
    assert client.get(address).status_code == 200
    user.is_superuser = True
    user.save()
    check = BackupCheck.objects.all()[0]
    for place in (address, reverse("admin:ops_backupcheck_change", args=[check.pk])):
        assert client.post(place, {}).status_code == 403
        deletion = place.replace("/change/", "/delete/")
        assert client.post(deletion, {"post": "yes"}).status_code == 403


def test_a_reason_with_html_in_it_is_shown_as_text(operator: Client, directory: Path) -> None:
    backup = valid_backup(directory)
    twin = backup.checks.all()[0]
    twin.pk, twin.verdict, twin.reason = None, "failed", "<img src=x onerror=alert(1)>"
    twin.save()
    for page in (
        BackupsPage.open(operator),
        BackupPage.open(operator, backup),
        ChecksPage.open(operator),
    ):
        assert not page.all("img", src="x")
        assert twin.reason in page.text
        assert page.faults() == []
