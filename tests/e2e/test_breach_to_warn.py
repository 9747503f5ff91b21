"""From breach to warn with real Prometheus, Alertmanager, relay, Redis, PostgreSQL and workers.

BREACH_RUNS=5 repeats the measurements. Each prints its time: from the first rejected request
until the change is recorded, every worker serves it, and no answer has the mode `enforce`.
"""

import json
import os
import re
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.db.models import QuerySet

from normalization.models import RolloutChange
from ops.alerts.models import Heartbeat, WebhookDelivery
from ops.gates import facts
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests import children
from tests.alert_path import AlertPath, Traffic, figure
from tests.backup_faults import ended
from tests.ops.deliveries import alert, payload, raw
from tests.servers import ROOT, PostgresServer, RedisServer, Service, free_port, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

RUNS = int(os.environ.get("BREACH_RUNS", "1"))
WORKERS = 4
AGAIN_SECONDS = 45


@pytest.fixture
def service(granian_server: Callable[..., Service], redis_server: RedisServer) -> Service:
    """Four workers with Redis."""
    return granian_server(
        workers=WORKERS, env={"REDIS_URL": redis_server.url(), "STAGE_GUARD": "off"}
    )


@pytest.fixture
def path(service: Service) -> Iterator[AlertPath]:
    """The alert path around the service."""
    path = AlertPath(service)
    try:
        path.start()
        yield path
    finally:
        path.remove()


def enforce(service: Service) -> None:
    """Set enforce by way of warn, as a person must."""
    for mode in ("warn", "enforce"):
        service.manage("stage_mode", "set", mode, "--reason", "a test")


def mode_now() -> str:
    """The mode in the test's database."""
    return RolloutChange.objects.latest("id").mode


def oldest_version(service: Service) -> int:
    """The least version that a live worker serves, as /metrics has it."""
    return int(figure(service.address, "stage_mode_version"))


@pytest.mark.parametrize(
    ("share", "limit"), [(0.5, 15), (0.06, 30)], ids=["half rejected", "1.2 times the threshold"]
)
@pytest.mark.parametrize("run", range(RUNS))
def test_a_breach_takes_enforcement_back_on_every_instance(
    service: Service, path: AlertPath, share: float, limit: float, run: int
) -> None:
    fund = Fund.objects.create(name=f"Fund {run} {share}")
    _, key = create_key(f"client-{run}")
    enforce(service)
    clean = 'sum(stage_validation_requests_total{mode="enforce",outcome="canonical"} offset 20s)'
    with Traffic(service, key, fund.pk) as traffic:
        # A full window of good requests first. The breach has to outweigh them, as on a running
        # platform, whatever the speed of the machine.
        wait_until(lambda: _value(path, clean) > 0, "a window full of traffic")
        assert not taken_back_after(0).exists()
        traffic.share = share
        elapsed = seconds_until_warn(service, traffic, 0)
        print(f"\n{share:.0%} rejected: every instance in warn after {elapsed:.1f} s")
        assert elapsed < limit
        if share == 0.5:
            elapsed = seconds_until_warn_again(service, traffic)
            print(f"enforced again: every instance in warn after {elapsed:.1f} s")
            assert elapsed < AGAIN_SECONDS
    assert set(traffic.statuses) <= {200, 400}


def seconds_until_warn(service: Service, traffic: Traffic, version: int) -> float:
    """Wait for the way back after `version`; return the seconds since the first reject."""
    wait_until(lambda: taken_back_after(version).exists(), "the way back", 120)
    change = taken_back_after(version).get()
    assert (change.previous_mode, change.mode) == ("enforce", "warn")
    wait_until(lambda: oldest_version(service) >= change.pk, "every worker to serve it")
    seen = time.monotonic()
    before = traffic.modes["warn"]
    wait_until(lambda: traffic.modes["warn"] > before + 20 * WORKERS, "answers from every worker")
    assert traffic.first_rejected
    return max(seen, traffic.last_enforced) - traffic.first_rejected


def seconds_until_warn_again(service: Service, traffic: Traffic) -> float:
    """Enforce again with the cause still there; return the seconds until the way back.

    Without gates it is allowed at once, while the alert still fires and Alertmanager has just
    notified: no later moment takes longer. With CHAOS=full the test waits until the gate
    `cooldown` takes the alert for resolved, so that a person may override the rest of it.
    """
    version = RolloutChange.objects.latest("id").pk
    if os.environ.get("CHAOS") == "full":
        wait_until(lambda: not facts.collect(version).alert_fires, "the end of the alert", 700)
    traffic.first_rejected, traffic.last_enforced = None, 0.0
    service.manage("stage_mode", "set", "enforce", "--reason", "again")
    return seconds_until_warn(service, traffic, version)


def taken_back_after(version: int) -> QuerySet[RolloutChange]:
    """The changes of the alert path after a version."""
    return RolloutChange.objects.filter(source="alert", pk__gt=version)


def _value(path: AlertPath, expression: str) -> float:
    return sum(float(series["value"][1]) for series in path.query(expression))


def test_after_the_way_back_only_a_person_changes_the_mode(
    service: Service, path: AlertPath
) -> None:
    enforce(service)
    unrelated = raw(payload(alert("StageValidatorSlow")))
    resolved = raw(payload(alert(status="resolved"), status="resolved"))
    assert [path.deliver(unrelated), path.deliver(resolved)] == [200, 200]
    assert mode_now() == "enforce"
    path.raise_alert(alertname="StageRejectRateHigh", stagenorm_action="auto_downgrade")
    wait_until(lambda: mode_now() == "warn", "the way back")
    repeats = [raw(payload(alert(instance=str(number)))) for number in range(3)]
    assert [path.deliver(body) for body in repeats] == [200] * 3
    assert mode_now() == "warn"
    assert RolloutChange.objects.filter(source="alert").count() == 1
    enforce(service)
    assert mode_now() == "enforce"
    # Meanwhile the watchdog took the same path and left a heartbeat.
    wait_until(Heartbeat.objects.exists, "a heartbeat")
    outcomes = set(WebhookDelivery.objects.values_list("outcome", flat=True))
    assert outcomes == {"ignored", "downgraded", "already", "alive"}


def test_a_retry_takes_enforcement_back_if_the_database_was_down(
    granian_server: Callable[..., Service],
    redis_server: RedisServer,
    postgres_server: PostgresServer,
) -> None:
    own = {"DATABASE_URL": postgres_server.url(), "REDIS_URL": redis_server.url()}
    own["STAGE_GUARD"] = "off"
    service = granian_server(workers=2, env=own)
    service.manage("migrate", "--verbosity", "0")
    enforce(service)
    path = AlertPath(service)
    try:
        path.start()

        def mode_there() -> str:
            return str(json.loads(service.manage("stage_mode", "show", "--json"))["mode"])

        postgres_server.stop()
        path.raise_alert(alertname="StageRejectRateHigh", stagenorm_action="auto_downgrade")
        wait_until(lambda: path.relayed("upstream_5xx") >= 1, "a delivery that fails")
        postgres_server.start()
        wait_until(lambda: mode_there() == "warn", "the retry")
    finally:
        path.remove()


def test_make_observe_starts_and_stops_all_four_programs(
    transactional_db: None, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": postgres_server.url(),
        "DJANGO_DEBUG": "1",
        "PORT": str(port),
    }
    environment |= {
        "STAGENORM_DATA_DIR": str(tmp_path),
        "DJANGO_STATIC_ROOT": str(tmp_path / "static"),
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "stagenorm.observe"]
        process = children.start(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        wait_until(
            lambda: process.poll() is not None or "Ctrl-C ends all four" in log.read_text(),
            "the four",
            300,
        )
        assert process.poll() is None, log.read_text()
        found = dict(re.findall(r"^(\w+) +(http://127.0.0.1:\d+)/", log.read_text(), re.MULTILINE))
        assert set(found) == {"service", "Prometheus", "Alertmanager", "relay"}
        assert found["service"] == f"http://127.0.0.1:{port}"

        def up() -> dict[str, str]:
            with urllib.request.urlopen(
                f"{found['Prometheus']}/api/v1/query?query=up", timeout=20
            ) as answer:
                result = json.loads(answer.read())["data"]["result"]
            return {series["metric"]["job"]: series["value"][1] for series in result}

        wait_until(
            lambda: up() == {"stagenorm": "1", "stagenorm-relay": "1"}, "both to be scraped"
        )
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, log.read_text()
        wait_until(lambda: all(map(ended, family)), "what it has killed to be gone")
    finally:
        process.terminate()  # it stops the other programs
        process.wait(120)
