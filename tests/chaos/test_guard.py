"""The guard in a real service of four workers, with and without Redis: what it does, how fast.

No Prometheus and no Alertmanager run. A limit in seconds holds if one of several attempts meets
it: a stalled machine only lengthens a run. tests/benchmarks/test_guard.py prints five runs each.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from itertools import count

import psutil
import pytest

from stagenorm.portfolio.models import Fund
from tests.chaos.processes import shortest
from tests.guard_runs import (
    AGAIN_SECONDS,
    CLIENT_SECONDS,
    HALF_SECONDS,
    changes_since,
    clients,
    enforce,
    enforced_again,
    half_rejected,
    newest_version,
    one_client_hurt,
)
from tests.servers import RedisServer, Service, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

ATTEMPTS = 3
WORKERS = 4


@pytest.fixture(params=["with Redis", "without Redis"])
def service(
    request: pytest.FixtureRequest,
    granian_server: Callable[..., Service],
    redis_server: RedisServer,
) -> Service:
    """Four workers without gates: the tests begin enforcement again and again."""
    redis = {"REDIS_URL": redis_server.url()} if request.param == "with Redis" else {}
    return granian_server(workers=WORKERS, env={"STAGE_GATES": "0", **redis})


@pytest.fixture
def fund() -> Fund:
    return Fund.objects.create(name="Alder")


@pytest.mark.parametrize(
    ("measure", "seconds"),
    [
        (half_rejected, HALF_SECONDS),
        (one_client_hurt, CLIENT_SECONDS),
        (enforced_again, AGAIN_SECONDS),
    ],
    ids=["half rejected", "one client hurt", "enforced again"],
)
def test_the_guard_takes_enforcement_back_within_seconds(
    service: Service,
    fund: Fund,
    measure: Callable[[Service, Fund, str], float],
    seconds: float,
) -> None:
    numbers = count()

    def run() -> float:
        elapsed = measure(service, fund, f"client-{next(numbers)}")
        print(f"\n{measure.__name__}: {elapsed:.1f} s")
        return elapsed

    assert shortest(run, within=seconds, times=ATTEMPTS) <= seconds


def test_a_killed_worker_does_not_stop_the_guard(service: Service, fund: Fund) -> None:
    enforce(service)
    version = newest_version()
    with clients(service, fund, count=1, rate=4, share=1.0, name="deal-flow") as bad:
        assert service.process
        workers = psutil.Process(service.process.pid).children(recursive=True)
        workers[-1].send_signal(signal.SIGKILL)
        wait_until(lambda: bool(changes_since(version)), "the guard")
        wait_until(lambda: bad[0].modes["warn"] > 3, "answers in mode warn")
    assert changes_since(version)[0].holdouts == ["deal-flow-0"]
