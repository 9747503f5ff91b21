"""A second start beside a running one: on its port, in its checkout, in its database."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
from django.db import connection

from stagenorm import listeners
from stagenorm.locks import MIGRATION
from tests import children
from tests.backfill_runs import address
from tests.conftest import _address
from tests.servers import ROOT, PostgresServer, Service, free_port, get, wait_until


@pytest.mark.django_db(transaction=True)
def test_a_second_server_on_one_port_is_refused_and_names_the_first(
    granian_server: Callable[..., Service],
) -> None:
    service = granian_server(workers=2)
    assert service.process
    workers = psutil.Process(service.process.pid).children()
    line = ["--interface", "rsgi", "--workers", "2", "stagenorm.rsgi:application"]
    environment = {**service.environment, "GRANIAN_PORT": str(service.port)}
    for given in (["--port", str(service.port), *line], line):
        command = [sys.executable, "-m", "granian", *given]
        second = children.run(command, cwd=ROOT, env=environment)
        assert second.returncode == 1
        said = f"Port {service.port} is served already by process {service.process.pid} ("
        assert said in second.stderr
        assert f"end it with `kill {service.process.pid}`" in second.stderr
    assert psutil.Process(service.process.pid).children() == workers
    assert get(f"{service.address}/healthz")[0] == 200


@pytest.mark.parametrize(
    ("line", "environment", "expected"),
    [
        ("--interface rsgi stagenorm.rsgi:application", {}, ("127.0.0.1", 8000)),
        ("--host 0.0.0.0 --port 81 a:b", {}, ("0.0.0.0", 81)),
        ("a:b", {"GRANIAN_PORT": "82", "GRANIAN_HOST": "::"}, ("::", 82)),
        ("--port 83 a:b", {"GRANIAN_PORT": "82"}, ("127.0.0.1", 83)),
        ("--uds /run/socket a:b", {}, None),
    ],
)
def test_the_address_is_read_as_granian_reads_it(
    line: str,
    environment: dict[str, str],
    expected: tuple[str, int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert listeners.granian_address(line.split()) == expected


def test_two_make_runs_in_one_checkout_prepare_in_turn_and_keep_their_own_metrics(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    first, second = (MakeRun(free_port(), postgres_server, tmp_path) for _ in range(2))
    for run in (first, second):
        wait_until(run.serves, f"port {run.port}", 200)
        assert run.exports()
    again = MakeRun(first.port, postgres_server, tmp_path)
    assert again.process.wait(60) == 1
    assert f"end it with `kill {first.process.pid}`" in again.log.read_text()

    below = psutil.Process(first.process.pid).children(recursive=True)
    first.process.kill()
    wait_until(lambda: not any(each.is_running() for each in below), "the killed run's processes")
    assert second.serves()
    assert second.exports()
    second.process.terminate()
    second.process.wait(60)
    for run in (first, second):
        assert "Traceback" not in run.log.read_text()


class MakeRun:
    """What `make run` starts, without the static files and the demonstration data."""

    program = (
        "from stagenorm import serve; (words, step), *_ = serve.STEPS.items(); "
        "assert 'migrate' in step; serve.STEPS = {words: step}; serve.main()"
    )

    def __init__(self, port: int, server: PostgresServer, data: Path) -> None:
        self.port, self.metrics = port, data / "metrics" / str(port)
        self.log = data / f"{port}-{uuid4()}.log"
        own = {"PORT": str(port), "DATABASE_URL": server.url(), "STAGENORM_DATA_DIR": str(data)}
        with self.log.open("w") as log:
            self.process = children.start(
                [sys.executable, "-c", self.program],
                cwd=ROOT,
                env={**os.environ, **own, "DJANGO_DEBUG": "1"},
                stdout=log,
                stderr=log,
            )

    def serves(self) -> bool:
        """Whether it answers; fails with its log if it has ended."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return get(f"http://127.0.0.1:{self.port}/readyz")[0] == 200
        except OSError:
            return False

    def exports(self) -> bool:
        """Whether its workers have their files of metrics."""
        return bool(list(self.metrics.glob("counter_*.db")))


@pytest.mark.django_db(transaction=True)
def test_a_migration_waits_for_another_one_and_does_not_hold_up_its_indexes(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    line = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    environment = {**os.environ, "DATABASE_URL": address()}
    with psycopg.connect(_address(connection.settings_dict), autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock(%s)", [MIGRATION])
        with log.open("w") as errors:
            second = children.start(line, cwd=ROOT, env=environment, stderr=errors)
        waiting = "Another process migrates this database: waiting for its end.\n"
        wait_until(lambda: log.read_text() == waiting, "the second to wait")
        first.execute("CREATE INDEX CONCURRENTLY waiting ON portfolio_fund (name)")
        first.execute("DROP INDEX waiting")
        assert second.poll() is None
        first.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION])
        assert (second.wait(60), log.read_text()) == (0, waiting)
