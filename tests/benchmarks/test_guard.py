"""How long the guard takes with four workers, with and without Redis: five runs each."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from stagenorm.portfolio.models import Fund
from tests.benchmarks.harness import Ratio, hold
from tests.guard_runs import (
    AGAIN_SECONDS,
    CLIENT_SECONDS,
    HALF_SECONDS,
    enforced_again,
    half_rejected,
    one_client_hurt,
)
from tests.servers import RedisServer, Service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1_800)]

RUNS = 5


@pytest.mark.parametrize("with_redis", [True, False], ids=["with Redis", "without Redis"])
def test_the_guard_takes_enforcement_back_within_seconds(
    granian_server: Callable[..., Service], redis_server: RedisServer, with_redis: bool
) -> None:
    redis = {"REDIS_URL": redis_server.url()} if with_redis else {}
    service = granian_server(workers=4, env={"STAGE_GATES": "0", **redis})
    fund = Fund.objects.create(name="Alder")
    store = "with Redis" if with_redis else "without Redis"
    measured = {
        "half rejected → warn everywhere": (half_rejected, HALF_SECONDS),
        "one client at 2/s → held out": (one_client_hurt, CLIENT_SECONDS),
        "enforced again → warn everywhere": (enforced_again, AGAIN_SECONDS),
    }
    for number, (what, (measure, seconds)) in enumerate(measured.items()):
        runs = [measure(service, fund, f"client-{number}-{run}") for run in range(RUNS)]
        figures = " / ".join(f"{each:.1f}" for each in sorted(runs))
        note = f"median {median(runs):.1f} s of {figures}"
        hold(Ratio(f"guard {store}: {what}", seconds, max(runs), "s", note=note))
