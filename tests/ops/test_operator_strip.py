"""The admin's first page tells an operator, before anything else, how the platform is."""

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from ops.alerts.models import Heartbeat
from ops.backfill.models import BackfillRun
from ops.backups.models import Backup
from ops.pages import home as strip_module
from tests.backup_faults import valid_backup

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page waits for the database as long as a machine that stands still for a while may need."""
    monkeypatch.setattr(strip_module, "SECONDS", 60.0)


def strip(client: Client) -> dict[str, tuple[str, str, str, str]]:
    """{label: (tone, address, word, detail)}."""
    text = client.get("/admin/").content.decode().replace("\xa0", " ")
    pattern = (
        r'<a class="tile tone-([\w-]+)" href="([^"]+)">\s*<span class="tile-label">(.*?)</span>\s*'
        r'<span class="tile-word">(.*?)</span>\s*<span class="tile-detail">(.*?)</span>'
    )
    found = re.findall(pattern, text)
    return {
        label: (tone, url, unescape(word), unescape(detail))
        for tone, url, label, word, detail in found
    }


def test_a_fresh_platform_is_told_as_it_is_and_each_answer_leads_to_its_page(
    operator: Client, patient: None
) -> None:
    tiles = strip(operator)
    assert list(tiles) == [
        "Mode",
        "Gates",
        "Clients",
        "Newest valid backup",
        "Backfill",
        "Last heartbeat",
    ]
    assert tiles["Mode"][0::2] == ("mode-off", "off")
    assert tiles["Gates"][2].endswith("of 6 pass")
    assert "held by backup_valid" in tiles["Gates"][3]
    assert tiles["Newest valid backup"][0::2] == ("bad", "none")
    assert tiles["Backfill"][2] == "no run yet"
    assert tiles["Last heartbeat"][2:] == ("never", "the way back is not proven")
    for _, address, _, _ in tiles.values():
        assert operator.get(address).status_code == 200


def test_a_platform_in_order_says_so(
    operator: Client,
    patient: None,
    set_mode: Callable[..., int],
    settings: Settings,
    tmp_path: Path,
) -> None:
    settings.BACKUP_DIR = tmp_path
    valid_backup(tmp_path)
    Heartbeat.objects.create(fingerprint="f")
    BackfillRun.objects.create(state="completed", actor="a", alias_version=0, batch_size=1)
    set_mode("enforce")
    tiles = strip(operator)
    assert tiles["Mode"][2:] == ("enforce", "100 %, for 0 minutes")
    assert tiles["Newest valid backup"][0::3] == ("good", "fresh enough for the gate")
    assert tiles["Backfill"][0::2] == ("good", "completed")
    assert tiles["Last heartbeat"][0::3] == ("good", "the way back is open")


def test_what_is_too_old_is_told_as_too_old(
    operator: Client, patient: None, settings: Settings, tmp_path: Path
) -> None:
    settings.BACKUP_DIR = tmp_path
    valid_backup(tmp_path)
    Heartbeat.objects.create(fingerprint="f")
    Backup.objects.update(snapshot_at=timezone.now() - timedelta(hours=3))
    Heartbeat.objects.update(received_at=timezone.now() - timedelta(minutes=16))
    tiles = strip(operator)
    assert tiles["Newest valid backup"][:3] == ("bad", "/admin/ops/backup/", "3 hours old")
    assert re.search(r" is 108\d\d s old; the limit is 3600 s\.$", tiles["Newest valid backup"][3])
    assert tiles["Last heartbeat"] == (
        "bad",
        "/admin/ops/heartbeat/",
        "16 minutes ago",
        "the way back is closed",
    )


def test_a_stored_table_that_is_locked_costs_the_gates_and_not_the_page(operator: Client) -> None:
    other = connection.copy()
    try:
        other.ensure_connection()
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE portfolio_companies IN ACCESS EXCLUSIVE MODE")
        tiles = strip(operator)
    finally:
        other.rollback()
        other.close()
    assert tiles["Gates"][2:] == ("not known", "It could not be read.")
    assert tiles["Mode"][2] == "off"
