"""After any history of changes, faults and restarts, no process returns to an older version.

Once all stores work again, each process reaches the last version.

CHAOS=full runs more examples.
"""

import json
import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from normalization import rollout_store, versioned_store
from normalization.models import RolloutChange
from normalization.rollout import TRANSITIONS, Mode, Rollout
from normalization.shared_copy import CopyInvalid, seal, unseal
from tests.chaos.processes import Process
from tests.chaos.toxics import Toxic
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "stage:validation:mode"
TTL = 5.0
FULL = os.environ.get("CHAOS") == "full"
PROCESSES = st.integers(0, 2)


def machine(server: RedisServer, toxic: Toxic) -> type[RuleBasedStateMachine]:
    """The machine over those servers."""
    direct: Redis = Redis.from_url(server.url(), socket_timeout=60)

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.now = 1_000.0
            self.healthy = True
            self.be_healthy()
            direct.flushall()
            self.processes = [self.start() for _ in range(3)]
            self.seen = [0, 0, 0]

        def start(self) -> Process:
            return Process(listens=False, clock=lambda: self.now)

        def committed(self) -> int:
            row = RolloutChange.objects.first()
            return row.pk if row else 0

        @rule(modes=st.lists(st.sampled_from(Mode), min_size=1, max_size=3))
        def change(self, modes: list[Mode]) -> None:
            for mode in modes:
                before = rollout_store.newest().rollout.mode
                if TRANSITIONS[before, mode].allowed:
                    rollout_store.change(mode, actor="ann", source="tests", reason="because")

        @rule(which=PROCESSES, after=st.sampled_from([0.0, 1.0, TTL + 0.1]))
        def request(self, which: int, after: float = 0.0) -> None:
            self.now += after
            served = self.processes[which].current
            assert served.version >= self.seen[which]
            self.seen[which] = served.version
            if served.version:
                assert served.value == RolloutChange.objects.get(pk=served.version).rollout()

        @rule(which=PROCESSES)
        def turn_of_the_listener(self, which: int) -> None:
            assert self.processes[which].store.renew(compare=True)
            self.request(which)

        @rule(seconds=st.sampled_from([0.1, 1.0, 4.9, 5.1, 31.0, 86_400.0]))
        def time_passes(self, seconds: float) -> None:
            self.now += seconds

        @rule(which=PROCESSES)
        def a_process_starts_anew(self, which: int) -> None:
            self.processes[which] = self.start()
            self.seen[which] = 0
            self.request(which)
            assert self.seen[which] == self.committed()

        @rule(fault=st.sampled_from(["black-hole", "refuse", "garbage", "read-only", "full"]))
        def redis_fails(self, fault: str) -> None:
            self.healthy = False
            if fault == "read-only":
                direct.replicaof("127.0.0.1", free_port())
            elif fault == "full":
                direct.config_set("maxmemory", "1")
            else:
                toxic.set(fault)

        @precondition(lambda self: self.healthy)
        @rule(ago=st.integers(1, 3))
        def redis_is_restored_from_an_old_copy(self, ago: int) -> None:
            for row in RolloutChange.objects.order_by("-id")[ago : ago + 1]:
                direct.set(KEY, seal("mode", row.pk, row.rollout().to_wire()).text)

        @precondition(lambda self: self.healthy)
        @rule(damage=st.sampled_from(["flushed", "empty", "no object", "newer by hand"]))
        def somebody_tampers_with_redis(self, damage: str) -> None:
            if damage == "flushed":
                direct.flushall()
                return
            newer = {
                "version": self.committed() + 9,
                "signature": "",
                **Rollout(Mode.ENFORCE).to_wire(),
            }
            direct.set(
                KEY, {"empty": "", "no object": "[]", "newer by hand": json.dumps(newer)}[damage]
            )

        @precondition(lambda self: not self.healthy)
        @rule()
        def health_returns(self) -> None:
            self.be_healthy()
            self.after_a_ttl_everybody_is_there()

        def be_healthy(self) -> None:
            toxic.set(None)
            direct.config_set("maxmemory", "0")
            direct.replicaof("NO", "ONE")
            self.healthy = True

        def after_a_ttl_everybody_is_there(self) -> None:
            self.now += TTL
            for which in range(3):
                self.turn_of_the_listener(which)
            assert set(self.seen) == {self.committed()}
            # The next refresh corrects Redis; the first one may still use a dead connection.
            for _ in range(3):
                if self.copied() == self.committed():
                    return
                self.now += TTL
                self.turn_of_the_listener(0)
            assert self.copied() == self.committed()

        def copied(self) -> int | None:
            held = direct.get(KEY)
            try:
                return unseal("mode", held.decode()).version if isinstance(held, bytes) else None
            except CopyInvalid:
                return None

        def teardown(self) -> None:
            self.be_healthy()
            self.after_a_ttl_everybody_is_there()

    return Histories


def test_every_history_ends_well(
    use_redis: Callable[..., None],
    redis_server: RedisServer,
    toxic: Toxic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The database is always available here: the listener must not time out on a slow machine.
    monkeypatch.setattr(versioned_store, "DATABASE_SECONDS", 60.0)
    use_redis(toxic.url, STAGE_MODE_TTL_SECONDS=TTL)
    few = settings(
        max_examples=150 if FULL else 20,
        stateful_step_count=40 if FULL else 25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine(redis_server, toxic), settings=few)
