"""What the rollout costs a request: next to nothing, and no more while Redis does not answer."""

import http.client
import os
import threading
import time
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns
from typing import Any

import pytest

from normalization import rollout_store
from normalization.rollout import Mode
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests.benchmarks.harness import Ratio, hold
from tests.chaos.toxics import Toxic
from tests.servers import RedisServer, Service

BATCH = 100
SECONDS = 6.0 if os.environ.get("CHAOS") == "full" else 3.0
ROUNDS = 3
CLIENTS = 8


@pytest.mark.django_db(transaction=True)
def test_current_costs_a_few_readings_of_the_clock_with_eight_threads() -> None:
    rollout_store.change(Mode.WARN, actor="ann", source="tests", reason="because")
    rollout_store.current()
    times: list[float] = []
    start = threading.Barrier(8)

    def call() -> None:
        current, mine = rollout_store.current, []
        start.wait()
        for _ in range(2_000):
            started = perf_counter_ns()
            for _ in range(BATCH):
                current()
            between = perf_counter_ns()
            for _ in range(BATCH):
                time.monotonic()
            mine.append((between - started) / (perf_counter_ns() - between))
        times.extend(mine)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hold(Ratio("rollout_store.current(), 8 threads / reading the clock", 8, median(times)))


@pytest.mark.django_db(transaction=True)
def test_throughput_under_a_black_hole_is_that_of_a_healthy_redis(
    granian_server: Callable[..., Service], redis_server: RedisServer
) -> None:
    fund, (_, key) = Fund.objects.create(name="Alder"), create_key("load")
    toxic = Toxic(redis_server.url())
    try:
        service = granian_server(workers=2, threads=4, env={"REDIS_URL": toxic.url})
        path, headers = (
            f"/api/funds/{fund.pk}/companies?stage=seed",
            {"Authorization": f"Api-Key {key}"},
        )
        _requests_a_second(service.port, path, headers, 1.0)
        ratios = []
        # In turns, so that what else the machine does slows both alike.
        for number in range(2 * ROUNDS):
            figures = {}
            for name in ("healthy", "black-hole") if number % 2 else ("black-hole", "healthy"):
                toxic.set("black-hole" if name == "black-hole" else None)
                figures[name] = _requests_a_second(service.port, path, headers, SECONDS)
            ratios.append(figures["black-hole"] / figures["healthy"])
        note = f"{figures['healthy']:.0f} requests/s healthy in the last round"
        share = Ratio(
            "requests/s, Redis a black hole ÷ healthy",
            95.0,
            100 * median(ratios),
            "%",
            at_least=True,
            note=note,
        )
        hold(share)
    finally:
        toxic.close()


def _requests_a_second(port: int, path: str, headers: dict[str, Any], seconds: float) -> float:
    until, counts = time.perf_counter() + seconds, []

    def ask() -> None:
        connection, count = http.client.HTTPConnection("127.0.0.1", port, timeout=20), 0
        while time.perf_counter() < until:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            count += 1
        connection.close()
        counts.append(count)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == CLIENTS
    return sum(counts) / seconds
