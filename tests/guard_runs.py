"""Measurements of the guard in a running service, shared by its chaos tests and its benchmark.

No Prometheus and no Alertmanager run. Each returns the seconds from the first rejected request to
the last answer that was still enforced. `name` must be new in each run: clients that were held out
stay holdouts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from normalization.models import RolloutChange
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests.alert_path import Traffic
from tests.servers import Service, wait_until

HALF_SECONDS, CLIENT_SECONDS, AGAIN_SECONDS = 4.0, 4.0, 5.0
QUIET_REJECTS = range(4, 7)
"""Rejects of a client of three requests a minute, up to its first answer in warn."""


def enforce(service: Service) -> None:
    """Set enforce by way of warn, as a person must, and wait until every worker enforces."""
    for mode in ("warn", "enforce"):
        service.manage("stage_mode", "set", mode, "--reason", "a test", "--wait", "60")


@contextlib.contextmanager
def clients(
    service: Service, fund: Fund, count: int, rate: float, share: float, *, name: str
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


def changes_since(version: int) -> list[RolloutChange]:
    """Return the guard's changes after a version."""
    return list(RolloutChange.objects.filter(source="guard", pk__gt=version).order_by("id"))


def newest_version() -> int:
    """Return the version in the test's database."""
    return RolloutChange.objects.latest("id").pk


def wait_for_warn(version: int) -> None:
    """Wait until the guard has ended enforcement."""
    wait_until(lambda: any(each.mode == "warn" for each in changes_since(version)), "the guard")


def wait_for_answers_in_warn(traffic: list[Traffic]) -> None:
    """Wait until every client has ten answers in warn, and none enforced between them."""
    while not _ten_answers_in_warn(traffic):
        pass


def half_rejected(service: Service, fund: Fund, name: str) -> float:
    """Half of the requests of six clients are rejected: enforcement ends in every worker."""
    enforce(service)
    version = newest_version()
    with clients(service, fund, count=6, rate=5, share=0.0, name=name) as traffic:
        wait_until(lambda: sum(each.modes["enforce"] for each in traffic) > 60, "good traffic")
        assert changes_since(version) == []
        for each in traffic:
            each.share = 0.5
        wait_for_warn(version)
        wait_for_answers_in_warn(traffic)
    assert sum(each.mode == "warn" for each in changes_since(version)) == 1
    return seconds_enforced(traffic)


def one_client_hurt(service: Service, fund: Fund, name: str) -> float:
    """One client of two requests a second is held out, and the others stay enforced."""
    enforce(service)
    version = newest_version()
    with (
        clients(service, fund, count=4, rate=5, share=0.0, name=f"{name}-good") as good,
        clients(service, fund, count=1, rate=2, share=1.0, name=name) as bad,
    ):
        wait_until(lambda: bool(changes_since(version)), "the guard")
        before = bad[0].modes["warn"]
        wait_until(lambda: bad[0].modes["warn"] > before + 6, "answers in mode warn")
        after = [each.modes["enforce"] for each in good]
        wait_until(
            lambda: all(
                each.modes["enforce"] > seen for each, seen in zip(good, after, strict=True)
            ),
            "the others to be enforced still",
        )
    [change] = changes_since(version)
    assert change.mode == "enforce"
    assert f"{name}-0" in change.holdouts
    return seconds_enforced(bad)


def enforced_again(service: Service, fund: Fund, name: str) -> float:
    """Enforced again with three bad clients still sending: enforcement is taken back again."""
    enforce(service)
    version = newest_version()
    with clients(service, fund, count=3, rate=4, share=1.0, name=name) as traffic:
        wait_for_warn(version)
        wait_for_answers_in_warn(traffic)
        again = newest_version()
        for each in traffic:
            each.first_rejected, each.last_enforced = None, 0.0
        # A client that was held out on the way would not be rejected again.
        service.manage("stage_mode", "set", "enforce", "--reason", "again", "--holdouts", "")
        wait_for_warn(again)
        wait_for_answers_in_warn(traffic)
    return seconds_enforced(traffic)


def quiet_clients_hurt(service: Service, fund: Fund, count: int, name: str) -> list[int]:
    """Return the rejects of `count` clients of three requests a minute until each is held out.

    They send at once, beside good traffic, so the service needs a STAGE_GUARD_CLIENTS above
    `count`: otherwise the third of them ends enforcement for everybody.
    """
    enforce(service)
    with (
        clients(service, fund, count=4, rate=5, share=0.0, name=f"{name}-good"),
        clients(service, fund, count=count, rate=3 / 60, share=1.0, name=name) as hurt,
    ):
        wait_until(lambda: all(each.modes["warn"] for each in hurt), "every hold-out", 240)
    return [each.statuses[400] for each in hurt]


def seconds_enforced(traffic: list[Traffic]) -> float:
    """From the first reject of any client to the last answer that was enforced."""
    first = min(each.first_rejected for each in traffic if each.first_rejected)
    return max(each.last_enforced for each in traffic) - first


def _ten_answers_in_warn(traffic: list[Traffic]) -> bool:
    before = [(each, each.modes["warn"], each.modes["enforce"]) for each in traffic]
    wait_until(
        lambda: all(each.modes["warn"] > warned + 10 for each, warned, _ in before),
        "answers in mode warn",
    )
    return all(each.modes["enforce"] == enforced for each, _, enforced in before)
