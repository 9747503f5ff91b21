"""The copy in Redis: signed, compared by version, and only ever a copy."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import transaction
from pytest_django import DjangoAssertNumQueries, Settings
from redis import Redis
from redis.client import PubSub

from normalization import decision_store, instances, rollout_store
from normalization.bounded import Bounded, TookTooLong
from normalization.listener import Listener, listener
from normalization.models import DecisionBatch, StageDecision
from normalization.redis_link import RedisLink, RedisUnavailable, client, link
from normalization.rollout import Mode, Rollout
from normalization.rollout_store import Spread
from normalization.shared_copy import CopyInvalid, SharedCopy, seal, unseal
from normalization.stages import Known, Stage, normalize
from stagenorm import redis_url
from tests.decided import decide, retire
from tests.servers import RedisServer, free_port, wait_until

KEY = "stage:validation:mode"
BY: dict[str, Any] = {"actor": "ann", "source": "tests", "reason": "because"}
WARN = Rollout(Mode.WARN).to_wire()
# Seconds for a healthy Redis. Within production's 100 ms a busy machine may not answer, and then
# the database stands in for it: right, but not what these tests are about.
PATIENCE = 30
transactional = pytest.mark.django_db(transaction=True)


@pytest.fixture
def patient(settings: Settings) -> None:
    """Redis is given what a stalled machine needs."""
    settings.STAGE_REDIS_TIMEOUT_MS = PATIENCE * 1000


@pytest.fixture
def redis(redis_server: RedisServer, settings: Settings, patient: None) -> Iterator[Redis]:
    """This process uses that Redis; a client of its own to look at it."""
    settings.CACHES = {**settings.CACHES, "rollout": redis_url.cache(redis_server.url(), PATIENCE)}
    own: Redis = Redis.from_url(redis_server.url(), decode_responses=True)
    yield own
    own.close()
    rollout_store.forget()
    decision_store.forget()


def held(redis: Redis, key: str = KEY) -> Any:
    """What is in Redis."""
    text = redis.get(key)
    assert text
    return json.loads(text)


@pytest.fixture
def events(redis: Redis) -> Iterator[PubSub]:
    """A subscription to what is announced, confirmed by Redis."""
    with redis.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe("stage:validation:events")
        wait_until(lambda: subscription.get_message(timeout=1) is not None, "the subscription")
        yield subscription


def next_event(events: PubSub) -> Any:
    """What is announced next."""
    heard: list[Any] = []

    def hear() -> bool:
        heard.extend(filter(None, [events.get_message(timeout=1)]))
        return bool(heard)

    wait_until(hear, "an event")
    return json.loads(heard[0]["data"])


# -- The signature --------------------------------------------------------------------------------


def test_a_copy_is_plain_json_that_people_can_read() -> None:
    document = json.loads(seal("mode", 17, WARN).text)
    assert (document["version"], document["mode"]) == (17, "warn")
    assert unseal("mode", seal("mode", 17, WARN).text).body == WARN


@pytest.mark.parametrize(
    "change",
    [{"mode": "off"}, {"version": 18}, {"more": 1}, {"signature": None}, {"signature": "ä"}],
)
def test_a_copy_that_was_edited_is_none(change: dict[str, Any]) -> None:
    document = json.loads(seal("mode", 17, WARN).text)
    with pytest.raises(CopyInvalid):
        unseal("mode", json.dumps({**document, **change}))


def test_a_copy_of_one_kind_is_none_of_another() -> None:
    with pytest.raises(CopyInvalid):
        unseal("aliases", seal("mode", 17, WARN).text)


def test_a_copy_signed_with_a_retiring_key_still_counts(settings: Settings) -> None:
    text = seal("mode", 17, WARN).text
    settings.SECRET_KEY, old = "another" * 10, settings.SECRET_KEY
    with pytest.raises(CopyInvalid):
        unseal("mode", text)
    settings.SECRET_KEY_FALLBACKS = [old]
    assert unseal("mode", text).version == 17


# -- Compare and set ------------------------------------------------------------------------------


def test_only_a_newer_version_replaces_a_copy(redis: Redis) -> None:
    copy = SharedCopy("mode", RedisLink())
    assert [copy.put(version, WARN) for version in (5, 4, 5, 6)] == [True, False, False, True]
    assert held(redis)["version"] == 6


def test_what_is_no_copy_stands_in_no_copys_way(redis: Redis) -> None:
    copy = SharedCopy("mode", RedisLink())
    for text in ('{"version": 99, "mode": "off"}', "nonsense", '{"version": 1e999}'):
        redis.set(KEY, text)
        assert copy.put(5, WARN)
        assert held(redis)["version"] == 5
    redis.delete(KEY)
    redis.lpush(KEY, "x")
    assert copy.put(5, WARN)


def test_many_writers_at_once_leave_the_newest(redis: Redis) -> None:
    copies = [SharedCopy("mode", RedisLink()) for _ in range(8)]
    work = [
        lambda i=i, copy=copy: [copy.put(v, WARN, insist=True) for v in range(i, 80, 8)]
        for i, copy in enumerate(copies)
    ]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(redis)["version"] == 79


# -- change() -------------------------------------------------------------------------------------


@transactional
def test_a_change_in_an_outer_transaction_spreads_when_that_commits(redis: Redis) -> None:
    with transaction.atomic():
        result = rollout_store.change(Mode.WARN, **BY)
        assert result.spread is Spread.AT_COMMIT
        assert redis.get(KEY) is None
    assert held(redis)["version"] == result.version


@transactional
def test_a_change_that_is_rolled_back_reaches_nobody(redis: Redis) -> None:
    kept = rollout_store.change(Mode.WARN, **BY).version
    with transaction.atomic():
        rollout_store.change(Mode.ENFORCE, **BY)
        rollout_store.store.renew(compare=False)  # even if the transaction looks
        transaction.set_rollback(True)
    assert held(redis)["version"] == kept
    assert rollout_store.current().version == kept


@transactional
def test_a_change_is_published(events: PubSub) -> None:
    version = rollout_store.change(Mode.WARN, **BY).version
    assert next_event(events) == {"kind": "mode", "version": version}


@transactional
def test_without_redis_the_database_carries_the_change_and_no_thread_runs() -> None:
    result = rollout_store.change(Mode.WARN, **BY)
    assert result.spread is Spread.BY_DATABASE
    assert rollout_store.current().source == "database"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("stage-")]


@transactional
def test_a_refresh_asks_redis_alone_until_the_comparison_is_due(
    redis: Redis, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    rollout_store.change(Mode.WARN, **BY)
    rollout_store.current()
    listener.stop()
    with django_assert_num_queries(0):
        for _ in range(5):
            assert rollout_store.store.renew(compare=False)
    assert rollout_store.current().source == "redis"


# -- The way to Redis -----------------------------------------------------------------------------


def test_the_client_neither_retries_nor_asks_more_than_it_must(
    redis_server: RedisServer, settings: Settings
) -> None:
    settings.CACHES = {**settings.CACHES, "rollout": redis_url.cache(redis_server.url(), 0.1)}
    connection = client().connection_pool.get_connection()
    try:
        assert connection.retry.get_retries() == 0
        assert (connection.socket_timeout, connection._socket_connect_timeout) == (0.1, 0.1)
        assert (connection.health_check_interval, connection.driver_info, connection.protocol) == (
            0,
            None,
            2,
        )
    finally:
        client().connection_pool.release(connection)


def test_after_a_failure_redis_is_left_alone_for_a_ttl_unless_somebody_insists(
    settings: Settings, patient: None
) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "rollout": redis_url.cache(f"redis://127.0.0.1:{free_port()}/0", PATIENCE),
    }
    now, asked = [0.0], []
    way = RedisLink(lambda: now[0])

    def ask(**how: bool) -> str:
        with pytest.raises(RedisUnavailable) as refused:
            way.ask("read", lambda client: asked.append(client.ping()), **how)
        return refused.value.reason

    assert ask() == "ConnectionError"
    assert ask() == "failed a moment ago"
    assert ask(insist=True) == "ConnectionError"
    now[0] += 5.1
    assert ask() == "ConnectionError"


def test_work_that_hangs_is_abandoned_and_its_successors_do_not_wait() -> None:
    bounded, go_on = Bounded("tests"), threading.Event()
    # The call returns although the work never ends, and the next call fails at once.
    with pytest.raises(TookTooLong, match="no answer in time"):
        bounded.run(go_on.wait, 0.1)
    started = time.monotonic()
    with pytest.raises(TookTooLong, match="earlier call"):
        bounded.run(lambda: None, 120)
    assert time.monotonic() - started < 60
    go_on.set()
    wait_until(
        lambda: not [t for t in threading.enumerate() if t.name == "tests"], "the hanging work"
    )
    assert bounded.run(lambda: 7, 1) == 7


def test_an_error_of_the_work_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        Bounded("tests").run(lambda: 1 / 0, 1)


def test_a_forked_child_starts_a_listener_of_its_own(redis: Redis) -> None:
    mine = Listener()
    mine.ensure_running()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        mine.ensure_running()
        os.write(writer, b"1" if mine._thread and mine._thread.is_alive() else b"0")
        os._exit(0)
    os.close(writer)
    alive = os.read(reader, 1)
    os.close(reader)
    os.waitpid(child, 0)
    mine.stop()
    assert alive == b"1"


# -- Decisions and instances ----------------------------------------------------------------------


@transactional
def test_decisions_spread_as_the_rollout_does(redis: Redis, events: PubSub) -> None:
    assert normalize("angel", decision_store.current()).raw == "angel"
    version = decide("Angel", Stage.PRE_SEED).version
    event = {"kind": "decisions", "version": version}
    wait_until(lambda: next_event(events) == event, "the new version")
    copy = held(redis, "stage:validation:decisions")
    stamp = decision_store.store.newest().value.stamp
    assert (copy["version"], copy["stamp"]) == (version, stamp)
    table = decision_store.current()
    assert normalize("angel", table) == Known("angel", Stage.PRE_SEED, canonical=False)
    retired = retire("Angel").version
    assert held(redis, "stage:validation:decisions")["version"] == retired
    assert not isinstance(normalize("angel", decision_store.current()), Known)


@transactional
def test_another_process_hears_of_a_decision_before_its_snapshot_expires(
    redis: Redis, settings: Settings
) -> None:
    settings.STAGE_MODE_TTL_SECONDS = 600
    decision_store.current()
    wait_until(
        lambda: redis.pubsub_numsub("stage:validation:events")[0][1] == 1, "the subscription"
    )
    # As another process does it: rows, copy and event, without this process's own invalidation.
    # The renewal after the subscription may find the first change. Only an event announces the
    # second.
    for spelling in ("Angel", "Idea"):
        key = spelling.lower()
        batch = DecisionBatch.objects.create(action="apply", source="admin", author="ann")
        StageDecision.objects.create(
            spelling=spelling, key=key, verdict="stage", stage="pre-seed", reason="x",
            decided_by="ann", batch=batch, created_at=batch.created_at,
        )  # fmt: skip
        stamp = decision_store._read()[0].stamp
        SharedCopy("decisions", RedisLink()).put(batch.pk, {"stamp": stamp})
        wait_until(lambda: is_known(key), "the decision")  # noqa: B023


def is_known(raw: str) -> bool:
    return isinstance(normalize(raw, decision_store.current()), Known)


@transactional
def test_a_table_that_did_not_change_keeps_what_it_remembers(redis: Redis) -> None:
    decide("Angel", Stage.PRE_SEED)
    table = decision_store.current()
    for compare in (False, True):
        assert decision_store.store.renew(compare=compare)
        assert decision_store.current() is table


@transactional
def test_a_process_reports_itself_and_convergence_is_seen(redis: Redis) -> None:
    version = rollout_store.change(Mode.WARN, **BY).version
    started = time.monotonic()
    rollout_store.current()
    wait_until(lambda: bool(instances.report()), "the report")
    [(_host, pid, seen, mode, age)] = instances.report()
    assert (pid, seen, mode) == (os.getpid(), version, "warn")
    assert (
        0 <= age <= time.monotonic() - started + 0.1
    )  # clocks of two processes, rounded to milliseconds
    assert instances.converged(version)
    assert not instances.converged(version + 1)
    assert not instances.convergence(version + 1, 60).converged


def test_a_report_expires_and_another_s_nonsense_is_no_instance(
    redis: Redis, settings: Settings
) -> None:
    instances.announce(3, "warn", 0.0)
    redis.hset(instances.REPORTS, "x", "nonsense")
    assert [each.version for each in instances.report()] == [3]
    settings.STAGE_MODE_TTL_SECONDS = 0.2
    instances.announce(3, "warn", 0.0)
    wait_until(lambda: instances.report() == (), "the report to expire")


@pytest.mark.django_db
def test_without_redis_convergence_is_a_matter_of_the_ttl() -> None:
    assert not instances.convergence(3, 1.0).converged
    later = instances.convergence(3, 6.0)
    assert later.converged
    assert "TTL of 5 s has passed" in later.why


# -- Configuration --------------------------------------------------------------------------------


def test_a_redis_that_does_not_answer_is_a_warning_at_start(
    redis: Redis, redis_server: RedisServer
) -> None:
    assert "normalization.W002" not in [check.id for check in run_checks()]
    redis_server.kill()
    assert "normalization.W002" in [check.id for check in run_checks()]
    link.forget()


def test_missing_webhook_secrets_are_an_error_at_start(settings: Settings) -> None:
    assert "normalization.E003" not in [check.id for check in run_checks()]
    settings.ALERTMANAGER_WEBHOOK_SECRETS = []
    assert "normalization.E003" in [check.id for check in run_checks()]


def test_a_default_of_enforce_is_a_warning_at_start(settings: Settings) -> None:
    settings.STAGE_VALIDATION_MODE = "enforce"
    assert "normalization.W001" in [check.id for check in run_checks()]


SENTINEL = "redis+sentinel://ann:p%40ss@one,two:26380/Main/3?sentinel_password=w"


def test_a_sentinel_address_names_the_sentinels_the_service_and_both_passwords() -> None:
    found = redis_url.cache(SENTINEL, 0.1)["OPTIONS"]
    assert found["SENTINELS"] == [("one", 26379), ("two", 26380)]
    assert found["SENTINEL_KWARGS"]["password"] == "w"
    own = found["CONNECTION_POOL_KWARGS"]
    assert (own["service_name"], own["db"], own["username"], own["password"]) == (
        "Main",
        3,
        "ann",
        "p@ss",
    )


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379", "http://h", "redis+sentinel://h:1", "redis+sentinel://h:1/s/x",
        "redis+sentinel://:1/s", "redis+sentinel://h:1/s?colour=red", "redis+sentinel://h:x/s",
        "redis://h:port/0", "rediss://h?ssl_ca_certs=/no",
        "redis://h?socket_timeout=soon",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_when_the_settings_are_read(url: str) -> None:
    # The reader of settings adds the name of the variable to any message.
    with pytest.raises(ValueError):  # noqa: PT011
        redis_url.cache(url, 0.1)


def test_metrics_count_what_redis_answers_and_how_long_it_takes(
    redis: Redis, redis_server: RedisServer, use_metric: Callable[[str, dict[str, str]], float]
) -> None:
    took = {"store": "redis"}
    before = use_metric("stage_mode_store_seconds_count", took)
    link.ask("read", lambda redis: redis.ping())
    assert use_metric("stage_mode_store_seconds_count", took) == before + 1
    redis_server.kill()
    failed = {"store": "redis", "reason": "ConnectionError"}
    before = use_metric("stage_mode_store_errors_total", failed)
    with pytest.raises(RedisUnavailable):
        link.ask("read", lambda redis: redis.ping())
    assert use_metric("stage_mode_store_errors_total", failed) == before + 1
    link.forget()


@pytest.fixture
def use_metric() -> Callable[[str, dict[str, str]], float]:
    """Reads one sample."""
    from prometheus_client import REGISTRY

    return lambda name, labels: REGISTRY.get_sample_value(name, labels) or 0.0
