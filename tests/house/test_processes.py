"""Processes and their metrics: commands, ended workers, a full disk; logs without query values."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops import exporter
from stagenorm import worker_metrics
from stagenorm.logging import REDACTED, without_query_values
from tests import children
from tests.backfill_runs import address
from tests.logs import records
from tests.servers import ROOT, Service, get

# Counts `amount` in a process of its own, as a worker does, and waits for its end.
WORKER = """
import sys
from stagenorm import worker_metrics
worker_metrics.share()
from prometheus_client import Counter, Gauge, Histogram
amount = int(sys.argv[1])
counter = Counter("folding_total", "x", ["kind"])
counter.labels("a").inc(amount)
Histogram("folding_seconds", "x").observe(amount)
Gauge("folding_recent", "x", multiprocess_mode="mostrecent").set(amount)
Gauge("folding_live", "x", multiprocess_mode="livemin").set(amount)
for number in range(int(sys.argv[2])):
    counter.labels(f"{number:0>200}").inc()
print("counted", flush=True)
sys.stdin.read()
"""


def run_worker(directory: Path, amount: int = 1, series: int = 0) -> None:
    """Count in a process of its own, and end it."""
    command = [sys.executable, "-c", WORKER, str(amount), str(series)]
    environment = {**os.environ, worker_metrics.VARIABLE: str(directory)}
    children.run(command, cwd=ROOT, env=environment, check=True)


def scraped(directory: Path, times: int = 1) -> list[dict[str, float]]:
    """Return the samples of scrapes at the same moment, each by name and labels.

    The scrapes are the exporter's own, in this process: they read files under a lock of each.
    """
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(times) as scrapes:
        patch.setenv(worker_metrics.VARIABLE, str(directory))
        return list(scrapes.map(lambda _: _samples(exporter._counted()), range(times)))


def _samples(text: bytes) -> dict[str, float]:
    lines = [line for line in text.decode().splitlines() if line.startswith("folding")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture(scope="module")
def three_folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of three workers, folded, and of a fourth that has ended."""
    directory = tmp_path_factory.mktemp("workers")
    for amount in (1, 2, 3):
        run_worker(directory, amount)
    scraped(directory)
    run_worker(directory, 4)
    return directory


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("command", ["stage_mode set warn --reason x", "rollout_status", "check"])
def test_a_command_ignores_the_directory_of_the_workers_metrics(
    command: str, exists: bool, tmp_path: Path
) -> None:
    directory = tmp_path / "metrics"
    if exists:
        directory.mkdir()
    environment = {
        **os.environ,
        "DATABASE_URL": address(),
        worker_metrics.VARIABLE: str(directory),
    }
    line = [sys.executable, "manage.py", *command.split()]
    done = children.run(line, cwd=ROOT, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0 or command == "rollout_status"
    assert directory.exists() is exists
    assert not exists or list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "logged"),
    [
        ("GET /a", "GET /a"),
        ("GET /a?", "GET /a?"),
        ("GET /a?q=x&api_key=y", f"GET /a?q={REDACTED}&api_key={REDACTED}"),
        ("GET /a?q=", f"GET /a?q={REDACTED}"),
        ("GET /a?abc.def", f"GET /a?{REDACTED}"),
        ("GET /a?q=x?y=z=1&", f"GET /a?q={REDACTED}"),
    ],
)
def test_a_logged_address_has_the_names_of_its_parameters_only(given: str, logged: str) -> None:
    assert without_query_values(given) == logged


@pytest.mark.django_db(transaction=True)
def test_the_log_has_no_value_of_a_query_string(granian_server: Callable[..., Service]) -> None:
    service = granian_server(workers=1, env={"LOG_LEVEL": "DEBUG"})
    for path in ("/nowhere", "/api/funds/1/companies", "/admin/login/", "/healthz"):
        get(f"{service.address}{path}?api_key=never-shown&q=never-shown")
        get(f"{service.address}{path}?q=never-shown", Host="foreign.example")
    log = service.log.read_text()
    assert f"GET /nowhere?api_key={REDACTED}&q={REDACTED}" in log
    assert "never-shown" not in log


@pytest.mark.django_db(transaction=True)
def test_a_foreign_host_is_logged_at_info_without_a_stack(
    granian_server: Callable[..., Service],
) -> None:
    service = granian_server(workers=1)
    status = get(f"{service.address}/admin/login/", Host="foreign.example")[0]
    assert status == 400
    about = [record for record in records(service) if "foreign.example" in json.dumps(record)]
    assert [record["level"] for record in about] == ["info"]
    assert "exception" not in about[0]
    assert "Traceback" not in service.log.read_text()


def test_folding_keeps_every_count_and_drops_the_files_of_ended_workers(tmp_path: Path) -> None:
    for amount in (1, 2, 3):
        run_worker(tmp_path, amount)
    expected = {
        'folding_total{kind="a"}': 6.0,
        "folding_seconds_count": 3.0,
        "folding_seconds_sum": 6.0,
        'folding_seconds_bucket{le="2.5"}': 2.0,
    }
    for _ in range(2):
        [found] = scraped(tmp_path)
        assert expected.items() <= found.items()
        assert not any(name.startswith("folding_live") for name in found)
    run_worker(tmp_path, 4)
    answers = scraped(tmp_path, times=2)
    assert [answer['folding_total{kind="a"}'] for answer in answers] == [10.0, 10.0]
    left = {place.name for place in tmp_path.iterdir() if worker_metrics.FOLDED in place.name}
    assert left == {f"{kind}_folded.db" for kind in ("counter", "histogram", "gauge_mostrecent")}


@pytest.mark.parametrize("call", ["unlink", "rename", "replace", "rmdir", "mkdir", "write_bytes"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_crash_at_any_step_of_folding_loses_and_doubles_no_count(
    call: str, nth: int, three_folded: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "metrics"
    shutil.copytree(three_folded, directory)

    def fold_and_die() -> None:
        original = getattr(Path, call)
        calls = []

        def deadly(self: Path, *arguments: Any, **options: Any) -> Any:
            calls.append(self)
            if len(calls) == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *arguments, **options)

        setattr(Path, call, deadly)
        with worker_metrics.folded(directory):
            pass

    process = multiprocessing.get_context("fork").Process(target=fold_and_die)
    process.start()
    process.join()
    [found] = scraped(directory)
    assert found['folding_total{kind="a"}'] == 10.0
    assert not (directory / "fold.committed").exists()


def test_a_living_worker_is_not_folded(tmp_path: Path) -> None:
    environment = {**os.environ, worker_metrics.VARIABLE: str(tmp_path)}
    worker = children.start(
        [sys.executable, "-c", WORKER, "5", "0"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert worker.stdout
    worker.stdout.readline()
    [found] = scraped(tmp_path)
    assert (found['folding_total{kind="a"}'], found["folding_live"]) == (5.0, 5.0)
    assert (tmp_path / f"counter_{worker.pid}.db").exists()
    worker.kill()
    worker.wait()
    [found] = scraped(tmp_path)
    assert "folding_live" not in found


@pytest.mark.django_db(transaction=True)
def test_a_scrape_after_1500_ended_workers_takes_as_long_as_before(
    granian_server: Callable[..., Service],
) -> None:
    service = granian_server(workers=1)

    def seconds() -> float:
        begin = time.monotonic()
        assert get(f"{service.address}/metrics")[0] == 200
        return time.monotonic() - begin

    before = min(seconds() for _ in range(3))
    for kind in ("counter", "histogram"):
        [own] = service.metrics.glob(f"{kind}_[0-9]*.db")
        for number in range(1500):
            shutil.copy(own, service.metrics / f"{kind}_{10_000_000 + number}.db")
    seconds()  # folds
    assert len(list(service.metrics.glob("*.db"))) < 20
    assert min(seconds() for _ in range(5)) < 5 * before + 0.1


def test_a_full_disk_leaves_a_worker_s_metrics_in_memory(tmp_path: Path) -> None:
    """The limit on the size of files (EFBIG) stands for the full disk."""
    environment = {**os.environ, worker_metrics.VARIABLE: str(tmp_path)}
    for size in (1000, worker_metrics.FIRST_SIZE):  # the first file fails; its growth fails
        done = children.run(
            [sys.executable, "-c", WORKER, "1", "1000"],
            cwd=ROOT,
            env=environment,
            preexec_fn=lambda size=size: resource.setrlimit(
                resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)
            ),
        )
        assert (done.returncode, done.stdout) == (0, "counted\n"), done.stderr
        assert "metrics are no" in done.stderr


class UnmeasuredService(Service):
    """A service whose workers cannot write the files by which the tests count them."""

    def _serving(self) -> int:
        return self.workers


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
@pytest.mark.django_db(transaction=True)
def test_the_service_serves_while_the_disk_of_its_metrics_is_full(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if children.run(mount).returncode:
        pytest.skip("this container does not allow a mount")
    (tmp_path / "full").write_bytes(bytes(52_000))
    directory = {worker_metrics.VARIABLE: str(tmp_path / "metrics")}
    service = UnmeasuredService(1, {"DATABASE_URL": address(), **directory})
    try:
        service.start()
        assert service.process
        workers = psutil.Process(service.process.pid).children()
        for path in ("/readyz", "/metrics", "/metrics"):
            assert get(service.address + path)[0] == 200
        assert "This worker's metrics are not exported" in service.log.read_text()
        assert psutil.Process(service.process.pid).children() == workers
    finally:
        service.remove()
        children.run(["umount", "--lazy", str(tmp_path)])
