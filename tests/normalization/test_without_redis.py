"""Without REDIS_URL the database alone carries the mode, and each process says so: once."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from stagenorm.portfolio.keys import create_key
from tests import children
from tests.servers import ROOT, Service, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DATABASE_READS = 'stage_mode_store_seconds_count{store="database"}'


def get(address: str, **headers: str) -> str:
    """The body of a GET that is answered with 200."""
    with urllib.request.urlopen(
        urllib.request.Request(address, headers=headers), timeout=20
    ) as answer:
        assert answer.status == 200
        return str(answer.read().decode())


def test_each_worker_says_so_once_however_often_it_reads_the_database(
    granian_server: Callable[..., Service],
) -> None:
    key = create_key("reader")[1]
    service = granian_server(workers=2, env={"STAGE_MODE_TTL_SECONDS": "0.1"})
    assert service.process
    server = psutil.Process(service.process.pid)

    def ask_until_all_have_told(more: int) -> set[int]:
        """Request until each worker has logged, and the database was read `more` times again."""
        workers = {each.pid for each in server.children()}
        wait_until(
            lambda: database_reads(service, key) > 0 and workers <= set(told(service)),
            "every worker to tell",
        )
        since = database_reads(service, key)
        wait_until(
            lambda: database_reads(service, key) >= since + more,
            "the database to be read again and again",
        )
        return workers

    first = ask_until_all_have_told(more=100)
    assert sorted(told(service)) == sorted(first)
    assert len(first) == 2
    killed = min(first)
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: len({each.pid for each in server.children()} - {killed}) == 2, "another worker"
    )
    second = ask_until_all_have_told(more=20)
    assert sorted(told(service)) == sorted(first | second)


def test_a_command_does_not_say_so(granian_server: Callable[..., Service]) -> None:
    service = granian_server(workers=1)
    command = [sys.executable, "manage.py", "stage_mode", "show"]
    done = children.run(command, cwd=ROOT, env=service.environment, check=True)
    assert (done.stdout != "", done.stderr) == (True, "")


def told(service: Service) -> list[int]:
    """The processes that have said so, one for each time."""
    lines = service.log.read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [record["pid"] for record in records if record["event"] == "stage_redis_not_configured"]


def database_reads(service: Service, key: str) -> float:
    """Send four concurrent requests; return the total number of the workers' database reads."""
    address = f"{service.address}/api/deprecations"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: get(address, Authorization=f"Api-Key {key}"), range(4)))
    lines = get(f"{service.address}/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(DATABASE_READS))
