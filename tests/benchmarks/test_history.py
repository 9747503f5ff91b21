"""What must not cost more with the history of a service: the public listing, and scrapes.

CPU time of this process in turns, so that other programs of the machine count for little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from django.db import connection
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from rest_framework.test import APIClient

from ops.exporter import WorkerCollector
from stagenorm import worker_metrics
from tests.benchmarks.harness import Ratio, hold

ROUNDS, CALLS = 21, 10
TALLIES = 300_000
# Minutes of the last half year, of many clients.
FILL = """
INSERT INTO normalization_outcometally (minute, endpoint, client, mode, outcome, requests)
SELECT date_trunc('minute', now()) - n / 10 * interval '1 minute', 'fund-companies',
       'client ' || n %% 10, 'warn', 'canonical', 1
  FROM generate_series(1, %s) AS n
"""


def cpu_us(work: Callable[[], object]) -> float:
    """Return the CPU microseconds of one call in this thread."""
    begin = time.thread_time_ns()
    for _ in range(CALLS):
        work()
    return (time.thread_time_ns() - begin) / CALLS / 1_000


@pytest.mark.django_db
def test_the_public_listing_costs_the_same_with_a_long_history() -> None:
    client = APIClient()

    def ask() -> None:
        assert client.get("/api/deprecations").status_code == 200

    ask()
    # The least of each: rows cannot come and go in turns.
    short = min(cpu_us(ask) for _ in range(ROUNDS))
    with connection.cursor() as cursor:
        cursor.execute(FILL, [TALLIES])
    long = min(cpu_us(ask) for _ in range(ROUNDS))
    note = f"{long:.0f} us against {short:.0f} us; no statement"
    hold(Ratio(f"deprecations, {TALLIES:,} tallies / none", 1.2, long / short, note=note))


def left_behind(directory: Path, processes: int) -> Callable[[], object]:
    """Write the files of so many ended workers; return a scrape of them."""
    directory.mkdir()
    # prometheus_client has no types for these.
    keyed: Any = mmap_key
    opened: Any = MmapedDict
    keys = [keyed("count", "count_total", ["kind"], [str(n)], "x") for n in range(100)]
    for process in range(processes):
        file = opened(str(directory / f"counter_{process + 1}.db"))
        for key in keys:
            file.write_value(key, 1.0, 0.0)
        file.close()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WorkerCollector(directory))

    def scrape() -> bytes:
        with worker_metrics.folded(directory):
            return generate_latest(registry)

    assert f'count_total{{kind="7"}} {float(processes)}'.encode() in scrape()
    return scrape


def test_a_scrape_costs_the_same_after_many_restarts(tmp_path: Path) -> None:
    few, many = left_behind(tmp_path / "few", 5), left_behind(tmp_path / "many", 500)
    pairs = [(cpu_us(many), cpu_us(few)) for _ in range(ROUNDS)]
    ratio = median(a / b for a, b in pairs)
    note = f"{median(a for a, _ in pairs) / 1e3:.1f} ms; the first scrape folds the files"
    hold(Ratio("scrape, 500 files of ended workers / 5", 1.5, ratio, note=note))
