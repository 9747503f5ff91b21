"""How long the guard takes with four workers, with and without Redis: five runs each.

The five runs of the quiet client are five clients at once: one run takes a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from normalization.guard import Guard
from stagenorm.portfolio.models import Fund
from tests.benchmarks.harness import Ratio, hold, median_ns
from tests.guard_runs import (
    AGAIN_SECONDS,
    CLIENT_SECONDS,
    HALF_SECONDS,
    QUIET_REJECTS,
    enforced_again,
    half_rejected,
    one_client_hurt,
    quiet_clients_hurt,
)
from tests.servers import RedisServer, Service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1_800)]

RUNS = 5


@pytest.fixture(params=[True, False], ids=["with Redis", "without Redis"])
def store(request: pytest.FixtureRequest, redis_server: RedisServer) -> dict[str, str]:
    """The environment of a service with Redis, and of one without."""
    return {"REDIS_URL": redis_server.url()} if request.param else {}


@pytest.fixture
def fund() -> Fund:
    return Fund.objects.create(name="Alder")


def named(store: dict[str, str], what: str) -> str:
    return f"guard {'with' if store else 'without'} Redis: {what}"


def spread_of(runs: list[float] | list[int], unit: str) -> str:
    every = " / ".join(f"{each:.1f}" for each in runs)
    three = f"min {min(runs):.1f}, median {median(runs):.1f}, max {max(runs):.1f} {unit}"
    return f"{three}; {every}"


def test_the_guard_takes_enforcement_back_within_seconds(
    granian_server: Callable[..., Service], store: dict[str, str], fund: Fund
) -> None:
    service = granian_server(workers=4, env={"STAGE_GATES": "0", **store})
    measured = {
        "half rejected → no worker enforces": (half_rejected, HALF_SECONDS),
        "one client at 2/s → held out": (one_client_hurt, CLIENT_SECONDS),
        "enforced again → no worker enforces": (enforced_again, AGAIN_SECONDS),
    }
    for number, (what, (measure, seconds)) in enumerate(measured.items()):
        runs = [measure(service, fund, f"client-{number}-{run}") for run in range(RUNS)]
        note = spread_of(runs, "s")
        hold(Ratio(named(store, what), seconds, max(runs), "s", note=note))


def test_a_client_of_three_requests_a_minute_is_held_out_within_six_rejects(
    granian_server: Callable[..., Service], store: dict[str, str], fund: Fund
) -> None:
    many = str(10 * RUNS)
    service = granian_server(
        workers=4, env={"STAGE_GATES": "0", "STAGE_GUARD_CLIENTS": many, **store}
    )
    rejects = quiet_clients_hurt(service, fund, RUNS, "quiet")
    assert min(rejects) >= QUIET_REJECTS.start
    what, note = named(store, "client at 3/min → held out"), spread_of(rejects, "rejects")
    hold(Ratio(what, QUIET_REJECTS.stop - 1, max(rejects), "rejects", note=note))


def test_ten_thousand_clients_cost_a_tick_of_50_ms(set_mode: Callable[..., int]) -> None:
    version = set_mode("enforce")
    guard = Guard()
    names = [f"client-{number}" for number in range(10_000)]

    def requests_of_every_client() -> None:
        for name in names:
            guard.record(version, "fund-companies", name, rejected=False)

    hold(Ratio("guard: a request", 2, median_ns(requests_of_every_client) / 10_000 / 1e3, "µs"))
    took = median_ns(guard.tick, before=requests_of_every_client)
    hold(Ratio("guard: a tick with 10,000 clients", 50, took / 1e6, "ms"))
