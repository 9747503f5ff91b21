"""Without any store, a running process serves the last-known mode, a new one the default."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import OperationalError

from normalization import conf, rollout_store
from normalization.redis_link import RedisLink
from normalization.rollout import Mode, Rollout
from normalization.shared_copy import SharedCopy, seal
from normalization.versioned_store import VersionedStore
from tests.servers import PostgresServer, RedisServer, Service, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def service_on(
    postgres_server: PostgresServer, redis_server: RedisServer
) -> Iterator[Callable[[], Service]]:
    """Services of one worker on servers that can be killed; the first call migrates."""
    own = {
        "DATABASE_URL": postgres_server.url(),
        "REDIS_URL": redis_server.url(),
        "STAGE_VALIDATION_MODE": "off",
    }
    started: list[Service] = []

    def start() -> Service:
        service = Service(1, {**own, "STAGE_MODE_TTL_SECONDS": "1"}, 2)
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.remove()


def readyz(service: Service) -> tuple[int, dict[str, Any]]:
    """Status and checks."""
    try:
        with urllib.request.urlopen(f"{service.address}/readyz", timeout=20) as answer:
            return answer.status, json.load(answer)["checks"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["checks"]


def metric(service: Service, name: str) -> float:
    """The value of a metric."""
    with urllib.request.urlopen(f"{service.address}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).rpartition(" ")[2])


def test_a_running_service_keeps_what_it_knew_and_a_fresh_one_says_that_the_default_holds(
    service_on: Callable[[], Service], postgres_server: PostgresServer, redis_server: RedisServer
) -> None:
    running = service_on()
    running.manage("migrate", "--verbosity", "0")
    running.manage("stage_mode", "set", "warn", "--reason", "because")
    assert readyz(running) == (200, {"database": "ok", "migrations": "ok", "stage_mode": "ok"})
    assert metric(running, 'stage_mode_info{mode="warn"}') == 1.0
    redis_server.kill()
    postgres_server.kill()

    wait_until(lambda: metric(running, "stage_mode_age_seconds") > 2.0, "the rollout to age")
    assert metric(running, 'stage_mode_info{mode="warn"}') == 1.0
    status, checks = readyz(running)
    assert (status, checks["stage_mode"]) == (503, "ok")

    fresh = service_on()
    status, checks = readyz(fresh)
    assert status == 503
    assert checks["stage_mode"] == (
        "Not ready: neither Redis nor the database ever answered: the default holds, which is off."
    )
    assert metric(fresh, 'stage_mode_info{mode="off"}') == 1.0

    postgres_server.start()
    wait_until(
        lambda: readyz(fresh)[0] == 200 and readyz(running)[0] == 200,
        "both to find the database again",
    )
    wait_until(
        lambda: metric(fresh, 'stage_mode_info{mode="warn"}') == 1.0, "the mode that was recorded"
    )


@pytest.mark.django_db(transaction=True)
def test_a_process_that_starts_without_its_database_takes_the_copy_in_redis(
    use_redis: Callable[..., None], redis_server: RedisServer
) -> None:
    use_redis(redis_server.url())
    copy = SharedCopy("mode", RedisLink())
    copy.put(7, Rollout(Mode.WARN).to_wire())

    def no_database() -> tuple[Rollout, int]:
        raise OperationalError("away")

    store = VersionedStore(
        replace(rollout_store.store.kind, read=no_database, loaded=lambda _: None), copy
    )
    served = store.current()
    assert (served.value, served.version, served.source) == (Rollout(Mode.WARN), 7, "redis")


@pytest.mark.django_db(transaction=True)
def test_without_any_store_the_last_known_rollout_holds_and_ages(
    use_redis: Callable[..., None], redis_server: RedisServer, postgres_server: PostgresServer
) -> None:
    use_redis(redis_server.url())
    now = [100.0]

    def read() -> tuple[Rollout, int]:
        try:
            with psycopg.connect(postgres_server.url(), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise OperationalError from error
        return Rollout(Mode.WARN), 3

    copy = SharedCopy("mode", RedisLink(lambda: now[0]))
    kind = replace(rollout_store.store.kind, read=read, loaded=lambda _: None)
    store = VersionedStore(kind, copy, lambda: now[0])
    assert (store.current().version, store.current().source) == (3, "database")
    redis_server.kill()
    postgres_server.kill()
    for _ in range(3):
        now[0] += conf.ttl_seconds() + 0.1
        served = store.current()
        assert (served.value.mode, served.version, served.source, served.loaded_at) == (
            Mode.WARN,
            3,
            "last-known",
            100.0,
        )
    postgres_server.start()
    now[0] += conf.ttl_seconds() + 0.1
    assert store.current().source == "database"


def test_an_older_copy_never_replaces_what_a_process_knows_even_without_a_database(
    use_redis: Callable[..., None], redis_server: RedisServer
) -> None:
    from redis import Redis

    use_redis(redis_server.url())
    answers: list[Any] = [
        (Rollout(Mode.ENFORCE), 9),
        OperationalError("away"),
        OperationalError("away"),
    ]

    def read() -> tuple[Rollout, int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    now = [100.0]
    copy = SharedCopy("mode", RedisLink(lambda: now[0]))
    kind = replace(rollout_store.store.kind, read=read, loaded=lambda _: None)
    store = VersionedStore(kind, copy, lambda: now[0])
    assert store.current().version == 9
    with Redis.from_url(redis_server.url()) as client:
        client.set("stage:validation:mode", seal("mode", 8, Rollout(Mode.WARN).to_wire()).text)
        now[0] += conf.ttl_seconds() + 0.1
        assert (store.current().version, store.current().source) == (9, "last-known")
        # And the copy is put right meanwhile, for those who start now.
        found = copy.read().copy
        assert found is not None
        assert found.version == 9
