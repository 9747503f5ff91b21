"""`manage.py preflight`: each dependency with its state and its remedy, and `/readyz?verbose`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from normalization import conf, rollout_store
from normalization.models import ServingInstance
from ops import preflight
from ops.alerts.models import Heartbeat
from ops.backups.models import Backup
from ops.preflight import PreflightOutcome
from stagenorm import redis_url
from tests.backup_faults import companies, valid_backup
from tests.observed import serves
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.django_db(transaction=True)

OK, WARNING, FAILED = PreflightOutcome
HOUR = timedelta(hours=1)


@pytest.fixture
def ready(settings: Settings, tmp_path: Path, redis_server: RedisServer) -> Iterator[None]:
    """Everything that the service depends on is as needed, with Redis."""
    settings.BACKUP_DIR, settings.METRICS_DIR = tmp_path / "backups", tmp_path / "metrics"
    settings.PRODUCTION = False  # the throwaway server has a superuser only
    settings.STAGE_REDIS_TIMEOUT_MS, settings.EXPECTED_INSTANCES = 30_000, 2
    use_redis(settings, redis_server.url())
    companies(3, "series-a")
    settings.BACKUP_DIR.mkdir()
    valid_backup(settings.BACKUP_DIR)
    Heartbeat.objects.create(fingerprint="f")
    present()
    yield
    rollout_store.forget()


def use_redis(settings: Settings, url: str) -> None:
    plain = {name: each for name, each in settings.CACHES.items() if name != "rollout"}
    settings.CACHES = {**plain, "rollout": redis_url.cache(url, 30)} if url else plain
    rollout_store.forget()


def present(**of_second: object) -> None:
    """Let two servers report that use the Redis of this process."""
    for name in ("a:1", "b:2"):
        serves(1, name, age=0, store=conf.shared_store())
    ServingInstance.objects.filter(name="b:2").update(**of_second)


def found() -> dict[str, preflight.PreflightResult]:
    present_again()
    return {each.name: each for each in preflight.examine()}


def present_again() -> None:
    """Restart the ages of the reports: a busy machine may have taken longer than they allow."""
    ServingInstance.objects.filter(age_seconds=0).update(seen_at=timezone.now())


def output(*options: str) -> str:
    out = StringIO()
    call_command("preflight", *options, stdout=out)
    return out.getvalue()


@dataclass(frozen=True)
class Fault:
    """What is broken; the check that reports it, its outcome, and words of sentence and remedy."""

    break_it: Callable[[Settings], object]
    check: str
    outcome: PreflightOutcome
    words: str
    remedy: str


def sql(statement: str) -> Callable[[Settings], object]:
    def run(_: Settings) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    return run


def setting(name: str, value: object) -> Callable[[Settings], object]:
    return lambda settings: setattr(settings, name, value)


def silent(_: Settings) -> None:
    at = timezone.now() - HOUR
    ServingInstance.objects.filter(name="b:2").update(seen_at=at, age_seconds=3600)


FAULTS = {
    "a shell without REDIS_URL": Fault(
        lambda settings: use_redis(settings, ""), "shared_store", FAILED,
        "This process has no REDIS_URL, but 2 of 2 servers use Redis.", "export REDIS_URL",
    ),
    "Redis does not answer": Fault(
        lambda settings: use_redis(settings, f"redis://127.0.0.1:{free_port()}/0"),
        "redis", FAILED, "does not answer", "Check that REDIS_URL is correct",
    ),
    "a server that was never started": Fault(
        lambda _: ServingInstance.objects.filter(name="b:2").delete(), "instances", FAILED,
        "1 of 2 expected servers report.", "EXPECTED_INSTANCES",
    ),
    "a frozen server": Fault(
        silent, "instances", FAILED, "1 of 2 servers are silent: b:2.", "stage_mode forget",
    ),
    "a clock a minute off": Fault(
        lambda _: present(skew_seconds=60.0), "clocks", WARNING, "b:2 +60 s", "NTP",
    ),
    "a clock ten minutes off": Fault(
        lambda _: present(skew_seconds=-600.0), "clocks", FAILED, "b:2 -600 s", "NTP",
    ),
    "no alert path": Fault(
        lambda _: Heartbeat.objects.update(received_at=F("received_at") - HOUR), "alert_path",
        FAILED, "The way through alerts is dead", "alertmanager_relay",
    ),
    "a guard that does not act": Fault(
        lambda _: present(guard="off"), "guard", WARNING, "STAGE_GUARD is off", "STAGE_GUARD=act",
    ),
    "a dead backup timer": Fault(
        lambda _: Backup.objects.update(snapshot_at=F("snapshot_at") - HOUR), "backup_timer",
        FAILED, "The newest backup was made 6", "backup_cycle",
    ),
    "a backup directory that cannot be written": Fault(
        setting("BACKUP_DIR", Path("/proc/1/backups")), "disk_for_backups", FAILED, "/proc", "",
    ),
    "a metrics directory that cannot be written": Fault(
        setting("METRICS_DIR", Path("/proc/1/metrics")), "disk_for_metrics", FAILED, "/proc",
        "PROMETHEUS_MULTIPROC_DIR",
    ),
    "a superuser as the role": Fault(
        setting("PRODUCTION", True), "database", WARNING, "The role is a superuser.",
        "DATABASE_URL",
    ),
    "a superuser that dumps": Fault(
        setting("BACKUP_ALLOW_SUPERUSER", False), "backup_role", FAILED, "is a superuser",
        "CREATE ROLE backup",
    ),
    "a missing migration": Fault(
        sql("DELETE FROM django_migrations WHERE app = 'ops'"), "migrations", FAILED,
        "ops.0001_backfill", "manage.py migrate",
    ),
    "a setting with a warning": Fault(
        setting("STAGE_VALIDATION_MODE", "enforce"), "settings", WARNING,
        "STAGE_VALIDATION_MODE is enforce", "Use warn",
    ),
}  # fmt: skip


def test_each_fault_is_found_by_its_check_with_a_remedy_and_nothing_else_changes(
    ready: None, settings: Settings
) -> None:
    assert {name: each.outcome for name, each in found().items() if each.outcome != OK} == {}
    assert "Checks that passed: 15. Warnings: 0." in output()
    originals = {name: getattr(settings, name) for name in
                 ("CACHES", "BACKUP_DIR", "METRICS_DIR", "PRODUCTION", "BACKUP_ALLOW_SUPERUSER",
                  "STAGE_VALIDATION_MODE")}  # fmt: skip
    for name, fault in FAULTS.items():
        with transaction.atomic():
            present_again()
            fault.break_it(settings)
            seen = {each.name: each for each in preflight.examine()}
            transaction.set_rollback(True)
        for changed, value in originals.items():
            setattr(settings, changed, value)
        rollout_store.forget()
        broken = seen[fault.check]
        assert (name, broken.outcome) == (name, fault.outcome), broken
        assert fault.words in broken.sentence
        assert fault.remedy in broken.remedy


def test_the_command_prints_a_line_and_a_remedy_for_each_check_and_exits_1_on_a_failure(
    db: None, settings: Settings
) -> None:
    with pytest.raises(CommandError, match=r"Checks that failed: \d+ \(.*backup timer.*\)\."):
        output()
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("preflight", "--json", stdout=out)
    wire = json.loads(out.getvalue())
    assert wire["passed"] is False
    assert {each["outcome"] for each in wire["checks"]} == {"ok", "warning", "failed"}
    assert [
        each for each in wire["checks"] if each["outcome"] != "ok" and not each["remedy"]
    ] == []
    shown = StringIO()
    with pytest.raises(CommandError):
        call_command("preflight", stdout=shown)
    lines = shown.getvalue().splitlines()
    assert any(line.startswith("✗ failed") and "backup timer" in line for line in lines)
    assert any(line.startswith("✓ ok") and "migrations" in line for line in lines)
    assert any("→ enable the timer of manage.py backup_cycle" in line for line in lines)


def test_readyz_is_verbose_in_words_only_and_its_status_does_not_depend_on_them(
    client: Client, ready: None, settings: Settings
) -> None:
    use_redis(settings, "")  # with Redis this process would report itself, as one more server
    present()
    assert "preflight" not in client.get("/readyz").json()
    present_again()
    answer = client.get("/readyz?verbose")
    assert answer.json()["preflight"] == dict.fromkeys(
        ("redis", "clocks", "instances", "guard", "alert_path", "backup", "backup_timer"), "ok"
    )
    ServingInstance.objects.all().delete()
    answer = client.get("/readyz?verbose")
    assert (answer.status_code, answer.json()["preflight"]["instances"]) == (200, "failed")
