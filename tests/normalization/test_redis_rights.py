"""A Redis with fewer rights: the mode spreads by what is left, without counting errors."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.checks import run_checks
from prometheus_client import REGISTRY
from pytest_django import Settings
from redis import Redis

from normalization import conf, decision_store, instances, redis_rights, rollout_store
from normalization.checks import REDIS_RIGHTS, REDIS_UNREACHABLE
from normalization.metrics import STORE_REASONS
from normalization.redis_link import link
from normalization.rollout import Mode
from normalization.rollout_store import Spread
from normalization.shared_copy import SharedCopy
from stagenorm import redis_url
from tests.observed import serves
from tests.servers import ROOT, RedisServer, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "stage:validation:mode"
BY: dict[str, Any] = {"actor": "ann", "source": "tests", "reason": "because"}
PATIENCE = 30
OURS = "resetchannels ~stage:validation:* &stage:validation:events"
LEAST = "+getrange +set +eval +publish +subscribe +hset +hgetall +hdel +time"
[DOCUMENTED] = re.findall(r"^ACL SETUSER .*", (ROOT / "docs/rollout.md").read_text(), re.MULTILINE)
CLUSTER = ("--cluster-enabled", "yes")


@dataclass(frozen=True)
class Account:
    """What an account may do, what the check finds missing, and how a change then spreads."""

    rights: str
    missing: str = ""
    remedy: str = ""
    spread: Spread = Spread.SPREAD
    reports: bool = True


ACCOUNTS = {
    "the documented line": Account(DOCUMENTED.partition(">PASSWORD ")[2]),
    "everything": Account("+@all ~* &*"),
    "the least": Account(f"-@all {LEAST} {OURS}"),
    "no channels, as Redis 7 gives": Account(
        "+@all ~* resetchannels", "PUBLISH SUBSCRIBE",
        "Run `ACL SETUSER ann &stage:validation:events`.", Spread.AT_TTL,
    ),
    "no scripts": Account("+@all -@scripting ~* &*"),
    "neither scripts nor transactions": Account(
        "+@all -@scripting -@transaction ~* &*", "EVAL WATCH MULTI",
        "Run `ACL SETUSER ann +eval +watch +multi`.",
    ),
    "nothing dangerous, no INFO": Account("+@all -@dangerous -@admin -info ~* &*"),
    "no reports": Account(
        "+@all -@hash -time ~* &*", "TIME HGETALL HDEL HSET",
        "Run `ACL SETUSER ann +time +hgetall +hdel +hset`.", reports=False,
    ),
    "the copy alone": Account(
        "-@all +getrange +set ~stage:validation:mode ~stage:validation:decisions",
        "EVAL PUBLISH TIME HGETALL HDEL WATCH MULTI SUBSCRIBE",
        "+publish", Spread.AT_TTL, reports=False,
    ),
}  # fmt: skip


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis with the options of the test's parameter."""
    redis = RedisServer(*getattr(request, "param", ()))
    try:
        redis.start()
        yield redis
    finally:
        rollout_store.forget()
        decision_store.forget()
        redis.remove()


@pytest.fixture
def use(settings: Settings) -> Callable[[str], None]:
    """Has this process use the Redis of an address, with a TTL that a test can wait for."""
    settings.STAGE_REDIS_TIMEOUT_MS = PATIENCE * 1000
    settings.STAGE_MODE_TTL_SECONDS = 0.3
    plain = settings.CACHES

    def begin(url: str) -> None:
        settings.CACHES = {**plain, "rollout": redis_url.cache(url, PATIENCE)}
        rollout_store.forget()

    return begin


def admin(server: RedisServer) -> Redis:
    """A client that may do everything."""
    return Redis.from_url(server.url(), decode_responses=True)


def errors() -> float:
    """How many failures of Redis were counted, other than texts that are not ours."""
    name = "stage_mode_store_errors_total"
    reasons = [reason for reason in STORE_REASONS["redis"] if reason != "invalid"]
    labels = [{"store": "redis", "reason": reason} for reason in reasons]
    return sum(REGISTRY.get_sample_value(name, each) or 0 for each in labels)


def reporting() -> list[int]:
    """The processes whose reports Redis has."""
    return [each.pid for each in instances.report()]


def calls() -> float:
    """How often Redis was asked."""
    labels = {"store": "redis"}
    return REGISTRY.get_sample_value("stage_mode_store_seconds_count", labels) or 0


def warnings() -> dict[str | None, tuple[str, str | None]]:
    """The system checks of Redis: id → message and hint."""
    found = run_checks()
    return {each.id: (each.msg, each.hint) for each in found if "Redis" in each.msg}


@pytest.mark.parametrize("account", ACCOUNTS.values(), ids=ACCOUNTS.keys())
def test_the_mode_spreads_by_what_an_account_may_do_and_a_check_names_the_rest(
    account: Account, server: RedisServer, use: Callable[[str], None]
) -> None:
    with admin(server) as redis:
        ask(redis, "ACL", "SETUSER", "ann", "on", ">secret", *account.rights.split())
        use(f"redis://ann:secret@127.0.0.1:{server.port}/0")
        before = errors()

        assert {each.command for each in redis_rights.missing()} == set(account.missing.split())
        if account.missing:
            message, hint = warnings()[REDIS_RIGHTS]
            assert f"refuses {account.missing.replace(' ', ', ')}: " in message
            assert account.remedy in (hint or "")
        else:
            assert warnings() == {}
        assert redis.get(KEY) is None

        result = rollout_store.change(Mode.WARN, **BY)
        assert result.spread is account.spread
        held = SharedCopy("mode").read().copy
        assert held is not None
        assert held.version == result.version
        # An older version never replaces it; a text that is not ours always goes.
        assert SharedCopy("mode").put(result.version - 1, {}) is False
        redis.set(KEY, "{}")
        rollout_store.current()
        wait_until(lambda: redis.get(KEY) == held.text, "the copy to be healed")

        asked = calls()
        wait_until(lambda: calls() > asked + 20, "the listener to ask for many turns")
        wait_until(lambda: reporting() == [os.getpid()] * account.reports, "the report")
        assert instances.convergence(result.version, 60).converged
        # Its report in this Redis proves that it uses this one, under another name.
        serves(result.version, f"{socket.gethostname()}:{os.getpid()}", store="another name")
        [process] = instances.serving()
        assert process.store == (conf.shared_store() if account.reports else "another name")
        assert errors() == before


@pytest.mark.parametrize(
    ("rights", "spread", "remedy"),
    [
        ("+@all -set ~* &*", Spread.NOT_YET, "Run `ACL SETUSER ann +set`."),
        ("+@all ~other:* &*", Spread.NOT_YET, "Run `ACL SETUSER ann ~stage:validation:*`."),
    ],
)
def test_a_redis_that_cannot_carry_the_mode_is_counted_and_the_database_carries_it(
    rights: str, spread: Spread, remedy: str, server: RedisServer, use: Callable[[str], None]
) -> None:
    with admin(server) as redis:
        ask(redis, "ACL", "SETUSER", "ann", "on", ">secret", *rights.split())
    use(f"redis://ann:secret@127.0.0.1:{server.port}/0")
    message, hint = warnings()[REDIS_RIGHTS]
    assert "Redis does not carry the mode: the database does" in message
    assert hint == remedy
    before = errors()
    result = rollout_store.change(Mode.WARN, **BY)
    assert (result.spread, rollout_store.current().version) == (spread, result.version)
    assert errors() > before


@pytest.mark.parametrize(
    ("server", "database", "check", "words"),
    [
        (("--rename-command", "EVAL", "", "--rename-command", "WATCH", "", "--rename-command",
          "PUBLISH", ""), 0, REDIS_RIGHTS, "does not have EVAL, PUBLISH, WATCH (rename-command)."),
        (("--replicaof", "127.0.0.1", "1"), 0, REDIS_RIGHTS,
         "REDIS_URL leads to a read-only replica: let it name the primary."),
        (CLUSTER, 3, REDIS_UNREACHABLE, "SELECT is not allowed in cluster mode"),
    ],
    indirect=["server"],
    ids=["renamed", "replica", "database of a cluster"],
)  # fmt: skip
def test_a_configuration_that_refuses_commands_is_named_at_start(
    server: RedisServer, database: int, check: str, words: str, use: Callable[[str], None]
) -> None:
    use(server.url(database))
    message, hint = warnings()[check]
    assert words in f"{message} {hint}"


@pytest.mark.parametrize("server", [("--replicaof", "127.0.0.1", "1")], indirect=True)
def test_a_stale_replica_never_outlasts_the_ttl_and_a_promotion_is_followed_at_once(
    server: RedisServer, use: Callable[[str], None]
) -> None:
    use(server.url())
    first = rollout_store.change(Mode.WARN, **BY)
    assert first.spread is Spread.NOT_YET
    with admin(server) as redis:
        ask(redis, "REPLICAOF", "NO", "ONE")
        rollout_store.current()
        wait_until(lambda: redis.get(KEY) is not None, "the copy in the promoted server")
        stale = redis.get(KEY)
        ask(redis, "REPLICAOF", "127.0.0.1", "1")
        second = rollout_store.change(Mode.OFF, **BY)
        assert redis.get(KEY) == stale
    rollout_store.forget()
    rollout_store.current()
    wait_until(lambda: rollout_store.current().version == second.version, "the newest version")
    assert rollout_store.change(Mode.WARN, **BY).spread is Spread.NOT_YET


def test_evicted_keys_come_back_by_themselves(
    server: RedisServer, use: Callable[[str], None]
) -> None:
    use(server.url())
    version = rollout_store.change(Mode.WARN, **BY).version
    rollout_store.current()
    with admin(server) as redis:
        for _ in range(2):
            wait_until(lambda: bool(redis.get(KEY)) and bool(instances.report()), "both keys")
            redis.flushall()
    assert rollout_store.current().version == version
    assert instances.convergence(version, 60).converged


@pytest.mark.parametrize("server", [CLUSTER], indirect=True)
def test_every_operation_stays_within_one_slot_of_a_cluster_of_two_nodes(
    server: RedisServer, use: Callable[[str], None]
) -> None:
    other = RedisServer(*CLUSTER)
    other.password = server.password
    try:
        other.start()
        with admin(server) as one, admin(other) as two:
            joined(one, two, server.port)
            use(server.url())
            assert warnings() == {}
            before = errors()
            version = rollout_store.change(Mode.WARN, **BY).version
            rollout_store.current()
            asked = calls()
            wait_until(lambda: calls() > asked + 20, "the listener to ask for many turns")
            wait_until(lambda: reporting() == [os.getpid()], "the report")
            assert instances.convergence(version, 60).converged
            assert (errors(), two.exists(KEY)) == (before, 1)
    finally:
        link.forget()
        other.remove()


def joined(one: Redis, two: Redis, port: int) -> None:
    """Make one cluster of both: the second node has the slot of the mode alone."""
    slot = int(ask(one, "CLUSTER KEYSLOT", KEY))
    ask(one, "CLUSTER ADDSLOTS", *(each for each in range(16384) if each != slot))
    ask(two, "CLUSTER ADDSLOTS", slot)
    ask(two, "CLUSTER MEET", "127.0.0.1", port)
    wait_until(
        lambda: all(
            "ok" in str(ask(node, "CLUSTER INFO")["cluster_state"]) for node in (one, two)
        ),
        "the cluster",
    )


def ask(redis: Redis, *command: str | int) -> Any:
    """Send a command as it is."""
    return redis.execute_command(*command)  # type: ignore[no-untyped-call]
