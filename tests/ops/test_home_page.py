"""The admin's start page shows the state of the platform in tiles."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from normalization import rollout_store
from ops.alerts.models import Heartbeat
from ops.backfill.models import BackfillRun
from ops.backups.models import Backup
from ops.gates.rules import GATES
from ops.pages import home
from ops.pages.panels import ask_gates
from tests.backup_faults import valid_backup
from tests.observed import serves
from tests.pages import HomePage, HomeTile

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each tile a minute, so that a busy machine omits none."""
    monkeypatch.setattr(home, "SECONDS", 60.0)


def test_a_fresh_platform_shows_what_is_missing_and_each_tile_links_to_its_page(
    operator: Client, patient: None
) -> None:
    tiles = HomePage.open(operator).tiles
    assert list(tiles) == [
        "Mode",
        "Checks",
        "Spellings",
        "Clients",
        "Newest valid backup",
        "Backfill",
        "Last heartbeat",
    ]
    assert (tiles["Mode"].tone, tiles["Mode"].word) == ("mode-off", "off")
    gates = ask_gates(rollout_store.newest().version)
    assert "A fresh, tested backup" in gates.held
    assert tiles["Checks"].word == f"{len(GATES) - len(gates.held)} of {len(GATES)} checks pass"
    assert tiles["Checks"].detail == gates.sentence
    assert tiles["Newest valid backup"].tone == "bad"
    assert tiles["Newest valid backup"].word == "none"
    assert tiles["Spellings"].word == "not counted"
    assert tiles["Backfill"].word == "no run yet"
    assert tiles["Last heartbeat"].word == "never"
    assert tiles["Last heartbeat"].detail == "the way back is not proven"
    for tile in tiles.values():
        assert operator.get(tile.url).status_code == 200


def test_a_platform_in_order_shows_good_tiles(
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
    serves(set_mode("enforce"))
    tiles = HomePage.open(operator).tiles
    assert tiles["Mode"].word == "enforce"
    assert tiles["Mode"].detail == "100 %, for 0 minutes"
    assert tiles["Newest valid backup"].tone == "good"
    assert tiles["Newest valid backup"].detail == "fresh enough for the gate"
    assert (tiles["Backfill"].tone, tiles["Backfill"].word) == ("good", "completed")
    assert tiles["Last heartbeat"].tone == "good"
    assert tiles["Last heartbeat"].detail == "the way back is open"


def test_an_old_backup_and_an_old_heartbeat_show_bad_tiles(
    operator: Client, patient: None, settings: Settings, tmp_path: Path
) -> None:
    settings.BACKUP_DIR = tmp_path
    valid_backup(tmp_path)
    Heartbeat.objects.create(fingerprint="f")
    Backup.objects.update(snapshot_at=timezone.now() - timedelta(hours=3))
    Heartbeat.objects.update(received_at=timezone.now() - timedelta(minutes=16))
    serves(0)
    tiles = HomePage.open(operator).tiles
    backup = tiles["Newest valid backup"]
    assert (backup.tone, backup.url, backup.word) == ("bad", "/admin/ops/backup/", "3 hours old")
    assert re.search(r" is 108\d\d s old; the limit is 3600 s\.$", backup.detail)
    assert tiles["Last heartbeat"] == HomeTile(
        "bad", "/admin/ops/heartbeat/", "16 minutes ago", "the way back is closed"
    )
    serves(0, guard="off")
    assert HomePage.open(operator).tiles["Last heartbeat"].detail == "the way back is dead"


def test_a_locked_table_of_stages_removes_the_checks_and_not_the_page(operator: Client) -> None:
    other = connection.copy()
    try:
        other.ensure_connection()
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE portfolio_companies IN ACCESS EXCLUSIVE MODE")
        tiles = HomePage.open(operator).tiles
    finally:
        other.rollback()
        other.close()
    assert tiles["Checks"].word == "not known"
    assert tiles["Checks"].detail == "This part is slow right now."
    assert tiles["Mode"].word == "off"
