"""The guard in a real service of four workers, with and without Redis: how long it takes to act.

No Prometheus and no Alertmanager run. GUARD_RUNS=5 repeats each measurement; each prints its time,
from the first rejected request to the last answer that was still enforced.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import psutil
import pytest

from normalization.models import RolloutChange
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests.alert_path import Traffic
from tests.servers import RedisServer, Service, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

RUNS = int(os.environ.get("GUARD_RUNS", "1"))
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


def enforce(service: Service) -> None:
    for mode in ("warn", "enforce"):
        service.manage("stage_mode", "set", mode, "--reason", "a test")


@contextlib.contextmanager
def clients(
    service: Service, fund: Fund, count: int, rate: float, share: float, *, name: str = "client"
) -> Iterator[list[Traffic]]:
    """`count` clients that send `rate` requests a second each, of which `share` are unknown."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                Traffic(
                    service, create_key(f"{name}-{number}")[1], fund.pk, rate, share, threads=1
                )
            )
            for number in range(count)
        ]


def guard_changes() -> list[RolloutChange]:
    return list(RolloutChange.objects.filter(source="guard").order_by("id"))


def wait_for_answers_in_warn(traffic: list[Traffic]) -> None:
    """Wait until every client has ten answers in warn, and none enforced between them."""
    while not _ten_answers_in_warn(traffic):
        pass


def _ten_answers_in_warn(traffic: list[Traffic]) -> bool:
    before = [(each, each.modes["warn"], each.modes["enforce"]) for each in traffic]
    wait_until(
        lambda: all(each.modes["warn"] > warned + 10 for each, warned, _ in before),
        "answers in mode warn",
    )
    return all(each.modes["enforce"] == enforced for each, _, enforced in before)


def seconds_enforced(traffic: list[Traffic]) -> float:
    """From the first reject of any client to the last answer that was enforced."""
    first = min(each.first_rejected for each in traffic if each.first_rejected)
    return max(each.last_enforced for each in traffic) - first


@pytest.mark.parametrize("run", range(RUNS))
def test_half_rejected_ends_enforcement_in_every_worker_within_four_seconds(
    service: Service, fund: Fund, run: int
) -> None:
    enforce(service)
    with clients(service, fund, count=6, rate=5, share=0.0) as traffic:
        wait_until(lambda: sum(each.modes["enforce"] for each in traffic) > 60, "good traffic")
        assert guard_changes() == []
        for each in traffic:
            each.share = 0.5
        wait_until(lambda: any(change.mode == "warn" for change in guard_changes()), "the guard")
        wait_for_answers_in_warn(traffic)
    elapsed = seconds_enforced(traffic)
    print(f"\nhalf rejected: warn everywhere after {elapsed:.1f} s")
    assert elapsed <= 4
    assert sum(change.mode == "warn" for change in guard_changes()) == 1


@pytest.mark.parametrize("run", range(RUNS))
def test_one_hurt_client_is_held_out_within_four_seconds(
    service: Service, fund: Fund, run: int
) -> None:
    enforce(service)
    with (
        clients(service, fund, count=4, rate=5, share=0.0) as good,
        clients(service, fund, count=1, rate=2, share=1.0, name="deal-flow") as bad,
    ):
        wait_until(lambda: bool(guard_changes()), "the guard")
        before = bad[0].modes["warn"]
        wait_until(lambda: bad[0].modes["warn"] > before + 6, "answers in mode warn")
        after = [each.modes["enforce"] for each in good]
        wait_until(
            lambda: all(
                each.modes["enforce"] > seen for each, seen in zip(good, after, strict=True)
            ),
            "the others to be enforced still",
        )
    elapsed = seconds_enforced(bad)
    print(f"\none hurt client: held out after {elapsed:.1f} s")
    assert elapsed <= 4
    [change] = guard_changes()
    assert (change.mode, change.holdouts) == ("enforce", ["deal-flow-0"])


@pytest.mark.parametrize("run", range(RUNS))
def test_enforcing_again_with_the_cause_still_there_is_taken_back_within_five_seconds(
    service: Service, fund: Fund, run: int
) -> None:
    enforce(service)
    with clients(service, fund, count=3, rate=4, share=1.0) as traffic:
        wait_until(lambda: any(change.mode == "warn" for change in guard_changes()), "the guard")
        wait_for_answers_in_warn(traffic)
        seen = len(guard_changes())
        for each in traffic:
            each.first_rejected, each.last_enforced = None, 0.0
        service.manage("stage_mode", "set", "enforce", "--reason", "again")
        wait_until(
            lambda: any(change.mode == "warn" for change in guard_changes()[seen:]), "the guard"
        )
        wait_for_answers_in_warn(traffic)
    elapsed = seconds_enforced(traffic)
    print(f"\nenforced again: warn everywhere after {elapsed:.1f} s")
    assert elapsed <= 5


def test_a_killed_worker_does_not_stop_the_guard(service: Service, fund: Fund) -> None:
    enforce(service)
    with clients(service, fund, count=1, rate=4, share=1.0, name="deal-flow") as bad:
        assert service.process
        workers = psutil.Process(service.process.pid).children(recursive=True)
        workers[-1].send_signal(signal.SIGKILL)
        wait_until(lambda: bool(guard_changes()), "the guard")
        wait_until(lambda: bad[0].modes["warn"] > 3, "answers in mode warn")
    assert guard_changes()[0].holdouts == ["deal-flow-0"]
