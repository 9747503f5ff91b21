"""The guard in a real service of four workers, with and without Redis: what it does, how fast.

No Prometheus and no Alertmanager run. A limit in seconds holds if one of several attempts meets
it: a stalled machine only lengthens a run. tests/benchmarks/test_guard.py prints five runs each.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from functools import partial
from itertools import count

import psutil
import psycopg
import pytest

from stagenorm.portfolio.models import Fund
from tests.alert_path import Traffic, figure
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
from tests.servers import PostgresServer, RedisServer, Service, wait_until

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


# What is gone while a client is hurt, each and in pairs. Prometheus, Alertmanager and relay all
# end the heartbeats. What the pages then show is held by tests/ops/test_way_back.py.
GONE = [
    {"Redis"},
    {"database restarted"},
    {"heartbeats"},
    {"Redis", "database restarted"},
    {"Redis", "heartbeats"},
    {"database restarted", "heartbeats"},
]
SETUP = """
import json
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
keys = {name: create_key(name)[1] for name in NAMES}
print(json.dumps([Fund.objects.create(name="Alder").pk, keys]))
"""


def test_the_guard_protects_with_redis_database_and_alerts_gone_each_and_in_pairs(
    granian_server: Callable[..., Service],
    redis_server: RedisServer,
    postgres_server: PostgresServer,
) -> None:
    own = {
        "DATABASE_URL": postgres_server.url(),
        "REDIS_URL": redis_server.url(),
        "STAGE_GATES": "0",
        "STAGE_GUARD_CLIENTS": "100",  # the clients of all cases are held out, not everybody
    }
    service = granian_server(workers=2, env=own)
    service.manage("migrate", "--verbosity", "0")
    names = ["-".join(sorted(each)).replace(" ", "_") for each in GONE]
    printed = service.manage(
        "shell", "--verbosity", "0", "-c", SETUP.replace("NAMES", repr(names))
    )
    fund, keys = json.loads(printed.splitlines()[-1])
    enforce(service)

    for gone, name in zip(GONE, names, strict=True):
        if "heartbeats" in gone:
            age_heartbeats(postgres_server)
        if "Redis" in gone:
            redis_server.kill()
        if "database restarted" in gone:
            postgres_server.stop()
            postgres_server.start()
        with Traffic(service, keys[name], fund, rate=4, share=1.0, threads=1) as hurt:
            wait_until(partial(held_out, postgres_server, name), f"{name} held out")
            wait_until(partial(warned, hurt), "answers in mode warn")
        assert set(hurt.statuses) <= {200, 400, 503}, gone
        # What is shown: the guard ticks, and the last heartbeat is as old as it is.
        assert figure(service.address, "stage_guard_tick_age_seconds") < 10
        if "heartbeats" in gone:
            last = figure(service.address, "stage_heartbeat_last_timestamp_seconds")
            assert 0 < last < time.time() - 900
        if "Redis" in gone:
            redis_server.start()


def age_heartbeats(server: PostgresServer) -> None:
    """Let the last heartbeat have come 20 minutes ago, as with a dead Prometheus."""
    with psycopg.connect(server.url(), autocommit=True) as database:
        database.execute("DELETE FROM ops_heartbeat")
        database.execute(
            "INSERT INTO ops_heartbeat (received_at, fingerprint)"
            " VALUES (now() - interval '20 minutes', 'f')"
        )


def held_out(server: PostgresServer, client: str) -> bool:
    """Whether the newest change holds the client out."""
    newest = "SELECT holdouts FROM normalization_rolloutchange ORDER BY id DESC LIMIT 1"
    with psycopg.connect(server.url()) as database:
        row = database.execute(newest).fetchone()
    return row is not None and client in row[0]


def warned(traffic: Traffic) -> bool:
    """Whether three answers were warned."""
    return traffic.modes["warn"] > 2
