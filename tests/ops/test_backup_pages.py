"""The pages of backups: which count, why the others do not, how long a restore takes, and what to do."""

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

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "admin:ops_backup_changelist"


@pytest.fixture(autouse=True)
def directory(settings: Settings, tmp_path: Path) -> Path:
    settings.BACKUP_DIR = tmp_path / "backups"
    return settings.BACKUP_DIR  # type: ignore[no-any-return]


def shown(client: Client, address: str) -> str:
    """The page's words, without the white space between them."""
    page = client.get(address).content.decode()
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def page_of(client: Client, backup: Backup) -> str:
    return shown(client, reverse("admin:ops_backup_change", args=[backup.pk]))


def recorded(seconds_ago: float) -> Backup:
    """The record of a backup that counts, without a file. (Real ones take a second each.)"""
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
    text = shown(operator, reverse(LIST))
    for said in (
        "No backup yet",
        "manage.py backup_cycle",
        "manage.py backup_status",
        "docs/backups.md",
    ):
        assert said in text


def test_a_backup_that_counts_is_shown_with_age_size_verdicts_and_the_measured_restore_time(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    text = shown(operator, reverse(LIST))
    drill = backup.checks.get(kind="restore")
    assert "✓ open" in text
    assert "✓ valid" in text
    assert text.count("✓ passed") == 2
    assert re.search(r"[\d.]+ KB", text)
    assert re.search(r"RTO\) [\d.]+ m?s, as the last drill measured", text)
    assert re.search(r"passed both checks and is \d+ s old. Fresh for (1 h|59 min)", text)
    page = page_of(operator, backup)
    assert drill.reason in page
    assert f"manage.py verify_backup {backup.name}" in page
    assert f"manage.py test_restore {backup.name}" in page


def test_the_checks_of_a_backup_stand_oldest_first_with_their_reasons(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    flip(backup.path, backup.size // 2)
    failure = verify(backup)
    assert failure.verdict == "failed"
    for text in (page_of(operator, backup), shown(operator, reverse(LIST))):
        assert "✕ failed" in text
        assert failure.reason in text
        assert "manage.py backup_cycle" in text
    page = page_of(operator, backup)
    places = [
        page.index(check.reason, page.index("Checks, oldest first"))
        for check in backup.checks.order_by("id")
    ]
    assert places == sorted(places)
    assert "✕ closed" in shown(operator, reverse(LIST))


def test_a_file_that_was_touched_or_is_gone_is_not_called_good(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    backup.path.touch()
    text = shown(operator, reverse(LIST))
    assert "! files touched" in text
    assert "! inconclusive" in text
    assert f"manage.py verify_backup {backup.name}" in text
    assert verify(backup).verdict == "passed"
    assert "✓ valid" in shown(operator, reverse(LIST))
    backup.path.unlink()
    text = shown(operator, reverse(LIST))
    assert "✕ files missing" in text
    assert "✕ closed" in text


def test_a_backup_older_than_an_hour_closes_the_gate_and_says_what_opens_it(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    Backup.objects.update(snapshot_at=timezone.now() - timedelta(hours=2, minutes=5))
    text = shown(operator, reverse(LIST))
    assert "✕ closed" in text
    assert "2 h 5 min old" in text
    assert "To open the gate: manage.py backup_cycle" in text
    assert "✓ valid" in page_of(operator, backup)


def test_a_backup_of_another_database_does_not_count_here(
    operator: Client, directory: Path
) -> None:
    backup = valid_backup(directory)
    Backup.objects.update(database_oid=1)
    assert "of another database" in page_of(operator, backup)
    assert "✕ closed" in shown(operator, reverse(LIST))


def test_backups_that_were_taken_away_stand_apart(operator: Client, directory: Path) -> None:
    backup = valid_backup(directory)
    kept = recorded(60)
    record_pruned(kept)
    link = reverse("admin:ops_backup_change", args=[kept.pk])
    assert link not in operator.get(reverse(LIST)).content.decode()
    apart = operator.get(reverse(LIST), {"kept": "pruned"}).content.decode()
    assert link in apart
    assert reverse("admin:ops_backup_change", args=[backup.pk]) not in apart
    assert "was removed to make room" in page_of(operator, kept)
    assert "Check it again" not in page_of(operator, kept)


def test_the_list_asks_as_often_for_many_backups_as_for_few(
    operator: Client, directory: Path
) -> None:
    valid_backup(directory)
    asked = []
    for more in (0, 5):
        for number in range(more):
            recorded(60 * number)
        for name in (LIST, "admin:ops_backupcheck_changelist"):
            operator.get(reverse(name))
            with CaptureQueriesContext(connection) as queries:
                assert operator.get(reverse(name)).status_code == 200
            asked.append(len(queries))
    assert asked[:2] == asked[2:]


def test_backups_and_checks_are_read_only_and_want_the_permission(
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
        assert (
            client.post(place.replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
        )


def test_a_reason_with_html_in_it_is_shown_as_text(operator: Client, directory: Path) -> None:
    backup = valid_backup(directory)
    twin = backup.checks.all()[0]
    twin.pk, twin.verdict, twin.reason = None, "failed", "<img src=x onerror=alert(1)>"
    twin.save()
    for address in (
        reverse(LIST),
        reverse("admin:ops_backup_change", args=[backup.pk]),
        reverse("admin:ops_backupcheck_changelist"),
    ):
        page = operator.get(address).content.decode()
        assert "<img src=x" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;" in page
