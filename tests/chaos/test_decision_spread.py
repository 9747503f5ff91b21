"""Decisions reach every process at once: eight of them, with ten thousand decisions."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from normalization import decision_store
from normalization.decision_warnings import DecisionVerdict
from tests import children
from tests.backfill_runs import address
from tests.decided import decide, decide_all, row
from tests.servers import ROOT, RedisServer, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
PROCESSES = 8
CHANGES = 5
# Prints the version in force and the time whenever it changes, as a worker between two requests.
WORKER = """
import time, django
django.setup()
from normalization import decision_store
seen = None
while True:
    version = decision_store.current().version
    if version != seen:
        print(version, time.time(), flush=True)
        seen = version
    time.sleep(0.01)
"""


def seen_at(report: Path, version: int) -> float | None:
    """When the process began to serve `version`."""
    for line in report.read_text().splitlines():
        of, _, at = line.partition(" ")
        if at and int(of) == version:
            return float(at)
    return None


def test_ten_thousand_decisions_reach_eight_processes_within_a_second(
    redis_server: RedisServer, use_redis: Callable[..., None], tmp_path: Path
) -> None:
    use_redis(redis_server.url())
    first = decide_all(
        [row(f"Fund Round {number}", DecisionVerdict.OUTSIDE) for number in range(10_000)]
    ).version
    reports = [_worker(tmp_path / f"{number}", redis_server) for number in range(PROCESSES)]
    for report in reports:
        wait_until(lambda: seen_at(report, first) is not None, "the first version")  # noqa: B023
    delays = []
    for number in range(CHANGES):
        version = decide(f"Fund Round {number}", DecisionVerdict.OPEN).version
        committed = time.time()
        for report in reports:
            wait_until(lambda: seen_at(report, version) is not None, "the new one")  # noqa: B023
        served = [seen_at(report, version) or 0.0 for report in reports]
        delays.append(max(served) - committed)
    assert min(delays) <= 1.0, delays
    assert decision_store.current().version == version


def _worker(report: Path, redis_server: RedisServer) -> Path:
    environment: dict[str, Any] = os.environ | {
        "DATABASE_URL": address(),
        "REDIS_URL": redis_server.url(),
        "STAGE_MODE_TTL_SECONDS": "60",
        "STAGE_REDIS_TIMEOUT_MS": "5000",
    }
    with report.open("w") as output:
        children.start([sys.executable, "-c", WORKER], cwd=ROOT, env=environment, stdout=output)
    return report
