"""The running service: several processes, exact totals in /metrics, logs without secrets."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection
from structlog.contextvars import bound_contextvars

from normalization.instance_registry import registered
from ops.alerts.models import Heartbeat
from ops.alerts.relay import is_free
from stagenorm.logging import REDACTED, redact
from stagenorm.static_files import StaticFilesStorage
from tests import children
from tests.alert_path import figure
from tests.backup_faults import ended
from tests.conftest import _address
from tests.logs import records
from tests.ops.deliveries import alert, payload, raw, signed
from tests.servers import Service, free_port, get, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db(transaction=True)
def test_metrics_add_up_over_all_worker_processes(granian_server: Callable[..., Service]) -> None:
    service = granian_server(workers=2)
    for _ in range(40):  # a connection each, so that the kernel spreads them over both workers
        get(f"{service.address}/readyz")
    text = get(f"{service.address}/metrics")[2]
    counted = [
        line for line in text.splitlines() if line.startswith("django_http_requests_total_by_view")
    ]
    assert [float(line.split()[-1]) for line in counted if "readyz" in line] == [40.0]


@pytest.mark.django_db(transaction=True)
def test_a_request_s_log_record_and_problem_share_an_id_that_the_client_did_not_choose(
    granian_server: Callable[..., Service],
) -> None:
    service = granian_server(workers=1)
    status, headers, body = get(
        f"{service.address}/nowhere",
        **{"X-Request-ID": "chosen", "Cookie": "sessionid=secret-cookie"},
    )
    assert (status, headers["Content-Type"]) == (404, "application/problem+json")
    number = json.loads(body)["instance"].removeprefix("urn:uuid:")
    [record] = [record for record in records(service) if record.get("request") == "GET /nowhere"]
    assert (record["request_id"], record["code"]) == (number, 404)
    assert "secret-cookie" not in service.log.read_text()


@pytest.mark.django_db(transaction=True)
def test_the_log_names_the_client_and_never_its_key(
    granian_server: Callable[..., Service],
) -> None:
    from stagenorm.portfolio.keys import create_key

    _, key = create_key("fund-admin")
    service = granian_server(workers=1)
    assert (
        get(
            f"{service.address}/api/deprecations",
            Authorization=f"Api-Key {key}",
            Accept="application/json",
        )[0]
        == 200
    )
    [record] = [
        record for record in records(service) if record.get("request") == "GET /api/deprecations"
    ]
    assert record["client"] == "fund-admin"
    assert key not in service.log.read_text()
    assert key.partition(".")[2] not in service.log.read_text()


@pytest.mark.django_db(transaction=True)
def test_the_log_has_no_line_for_what_machines_ask_all_the_time_unless_it_fails(
    granian_server: Callable[..., Service], tmp_path: Path
) -> None:
    (tmp_path / "page.css").write_text("body {}")
    service = granian_server(workers=1, env={"DJANGO_STATIC_ROOT": str(tmp_path)})
    assert get(f"{service.address}/static/page.css")[0] == 200
    for path in ("/metrics", "/healthz", "/readyz", "/static/nowhere", "/nowhere"):
        get(service.address + path)
    said = [
        record["request"] for record in records(service) if record["event"] == "request_finished"
    ]
    assert said == ["GET /static/nowhere", "GET /nowhere"]


def test_static_files_are_compressed_without_brotli_which_takes_half_a_minute(
    tmp_path: Path,
) -> None:
    (tmp_path / "page.css").write_text("body { color: black; }" * 500)
    compressor = StaticFilesStorage().create_compressor(extensions=None, quiet=True)
    compressor.compress(str(tmp_path / "page.css"))
    assert {each.name for each in tmp_path.iterdir()} == {"page.css", "page.css.gz"}


@pytest.mark.django_db(transaction=True)
def test_everything_is_served_below_the_path_of_a_proxy(
    granian_server: Callable[..., Service], tmp_path: Path
) -> None:
    (tmp_path / "page.css").write_text("body {}")
    env = {"DJANGO_SCRIPT_NAME": "/stages", "DJANGO_STATIC_ROOT": str(tmp_path)}
    service = granian_server(workers=1, env=env)
    base = f"{service.address}/stages"
    for path in ("/api/docs", "/admin/login/", "/problems/unknown-stage"):
        status, _, page = get(base + path)
        links = re.findall(r'(?:href|src)="(/[^"]*)"', page)
        assert (status, bool(links)) == (200, True)
        assert {link.startswith("/stages/") for link in links} == {True}
        pages = [link for link in links if not link.startswith("/stages/static/")]
        assert [page for page in pages if get(service.address + page)[0] != 200] == []
    assert get(f"{base}/static/page.css")[0] == 200
    address = f"{base}/api/deprecations"
    assert (
        json.loads(get(address, Accept="application/json")[2])["folding"] == "/stages/api/stages"
    )
    schema = json.loads(get(f"{base}/api/schema", Accept="application/vnd.oai.openapi+json")[2])
    assert schema["servers"][0]["url"] == "/stages"
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (get(base + path)[0], get(service.address + path)[0]) == (200, 200)
    delivered = f"{base}/_ops/stage-validation/heartbeat"
    body = raw(payload(alert("StageWatchdog")))
    assert post(delivered, body, {**signed(body), "Content-Type": "application/json"}) == 200
    assert Heartbeat.objects.exists()
    asked = {record["request"] for record in records(service) if "request" in record}
    assert not {line for line in asked if "healthz" in line or "static" in line}


@pytest.mark.django_db(transaction=True)
def test_a_header_beyond_ascii_is_refused_where_the_client_relies_on_it(
    granian_server: Callable[..., Service],
) -> None:
    from stagenorm.portfolio.keys import create_key
    from stagenorm.portfolio.models import Fund, PortfolioStrategy

    body = {
        "fund_id": Fund.objects.create(name="F").pk,
        "name": "once",
        "stage_allocation": {"seed": 1},
    }
    address = f"{granian_server(workers=1).address}/api/portfolio/strategies"
    authorization = f"Api-Key {create_key('fund-admin')[1]}"
    headers = {"Authorization": authorization, "Content-Type": "application/json"}

    def status(name: str) -> int:
        return post(address, body, {**headers, name: "cl\xe9"})

    assert (status("Idempotency-Key"), status("Authorization"), status("X-Else")) == (
        400,
        401,
        201,
    )
    assert PortfolioStrategy.objects.count() == 1


def post(address: str, body: dict[str, Any] | bytes, headers: dict[str, str]) -> int:
    """Send the bytes, or the JSON of a dict; return the status."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(address, content, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_values_with_a_secret_s_name_are_blanked() -> None:
    with bound_contextvars():
        event = {
            "Authorization": "Api-Key x",
            "webhook_secret": "y",
            "password": "z",
            "client": "c",
        }
        shown = redact(None, "info", event)
    assert shown == {
        "Authorization": REDACTED,
        "webhook_secret": REDACTED,
        "password": REDACTED,
        "client": "c",
    }


@pytest.mark.django_db(transaction=True)
def test_readyz_is_503_while_the_database_is_away_and_recovers_by_itself(
    granian_server: Callable[..., Service], postgres_server: Any
) -> None:
    service = granian_server(workers=1, env={"DATABASE_URL": postgres_server.url()})
    service.manage("migrate", "--verbosity", "0")
    wait_until(
        lambda: get(f"{service.address}/readyz")[0] == 200, "the service to have its tables"
    )
    postgres_server.kill()
    status, _, body = get(f"{service.address}/readyz")
    assert status == 503
    assert json.loads(body)["checks"]["database"] != "ok"
    assert get(f"{service.address}/healthz")[0] == 200
    postgres_server.start()
    wait_until(
        lambda: get(f"{service.address}/readyz")[0] == 200,
        "the service to find its database again",
    )


@pytest.mark.django_db(transaction=True)
def test_the_workers_of_a_killed_server_end_with_it(
    granian_server: Callable[..., Service],
) -> None:
    service = granian_server(workers=2)
    assert service.process
    workers = psutil.Process(service.process.pid).children(recursive=True)
    service.process.kill()
    service.process.wait()
    wait_until(
        lambda: is_free("127.0.0.1", service.port), "the port to be free for the next server"
    )
    wait_until(lambda: all(map(ended, workers)), "the workers to end")


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["prefork", "preload"])
@pytest.mark.django_db(transaction=True)
def test_every_worker_of_gunicorn_ticks_without_traffic(
    options: list[str], tmp_path: Path, set_mode: Callable[..., int]
) -> None:
    version = set_mode("warn")
    database = {"DATABASE_URL": _address(connection.settings_dict)}
    environment = {**os.environ, **database, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", "--threads", "4", *options]
    command += ["--bind", f"127.0.0.1:{port}", "stagenorm.wsgi"]
    with children.start(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as server:
        try:
            wait_until(
                lambda: [each.version for each in registered()] == [version] * 2,
                "both workers to report themselves before any request",
            )
            workers = {each.pid for each in psutil.Process(server.pid).children()}
            assert {each.pid for each in registered()} == workers
            wait_until(lambda: answers(port), "gunicorn")
            assert get(f"{address}/readyz")[0] == 200
            for series, least, most in (
                ("stage_mode_version", version, version),
                ("stage_guard_tick_age_seconds", 0.001, 10),
            ):
                assert least <= figure(address, series) <= most
            server.terminate()
            server.communicate(timeout=120)
        finally:
            server.kill()
    assert server.returncode == 0
    assert registered() == ()


def answers(port: int) -> bool:
    """Whether the port serves /healthz."""
    try:
        return get(f"http://127.0.0.1:{port}/healthz")[0] == 200
    except OSError:
        return False
