"""No client simulates more often than the setting allows, however many workers serve it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from rest_framework.test import APIClient

from stagenorm.env import parse_rate
from stagenorm.portfolio.models import Fund, RequestLog, Simulation
from stagenorm.portfolio.throttling import admit

ADDRESS = "/api/monte-carlo/simulate"
ApiFor = Callable[..., APIClient]


def simulate(api: APIClient, fund: Fund) -> Any:
    body = {
        "fund_id": fund.pk,
        "runs": 100,
        "stage_distribution": [{"stage": "seed", "weight": 1}],
    }
    return api.post(ADDRESS, body)


def age(seconds: float) -> None:
    """Let that much time pass for every log."""
    for log in RequestLog.objects.all():
        log.admitted = [at - timedelta(seconds=seconds) for at in log.admitted]
        log.save()


class Clock:
    """How long the test has taken so far: the wait that is told grows shorter by that."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def within(self, wait: int, seconds: int) -> bool:
        """Whether `wait` is what is left of `seconds`, in whole ones."""
        return seconds - (time.monotonic() - self.started) <= wait <= seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_request_above_the_rate_is_429_and_says_when_to_come_back(
    api: APIClient, fund: Fund, settings: Any, clock: Clock
) -> None:
    settings.SIMULATE_THROTTLE = "3/minute"
    assert [simulate(api, fund).status_code for _ in range(3)] == [200, 200, 200]
    refused = simulate(api, fund)
    assert (refused.status_code, refused["Content-Type"]) == (429, "application/problem+json")
    assert refused.json()["type"] == "/problems/too-many-requests"
    assert clock.within(int(refused["Retry-After"]), 60)
    assert Simulation.objects.count() == 3


def test_after_the_time_it_said_one_request_is_admitted(
    api: APIClient, fund: Fund, settings: Any, clock: Clock
) -> None:
    settings.SIMULATE_THROTTLE = "2/minute"
    simulate(api, fund)
    age(40)
    simulate(api, fund)
    wait = int(simulate(api, fund)["Retry-After"])
    assert clock.within(wait, 20)
    age(wait)
    assert [simulate(api, fund).status_code for _ in range(2)] == [200, 429]


def test_refused_requests_do_not_count(api: APIClient, fund: Fund, settings: Any) -> None:
    settings.SIMULATE_THROTTLE = "1/minute"
    assert [simulate(api, fund).status_code for _ in range(5)] == [200, 429, 429, 429, 429]
    age(60)
    assert simulate(api, fund).status_code == 200


def test_each_client_has_its_own_rate_whichever_key_it_uses(
    api_for: ApiFor, fund: Fund, settings: Any
) -> None:
    settings.SIMULATE_THROTTLE = "1/minute"
    first, rotated, other = api_for("one"), api_for("one"), api_for("two")
    assert [simulate(each, fund).status_code for each in (first, rotated, other)] == [
        200,
        429,
        200,
    ]


def test_the_default_is_60_a_minute(api: APIClient, fund: Fund) -> None:
    statuses = [simulate(api, fund).status_code for _ in range(61)]
    assert statuses == [200] * 60 + [429]


def test_only_simulating_is_limited(api: APIClient, fund: Fund, settings: Any) -> None:
    settings.SIMULATE_THROTTLE = "1/day"
    made = simulate(api, fund).json()["simulation_id"]
    assert simulate(api, fund).status_code == 429
    assert api.get(f"/api/monte-carlo/simulations/{made}").status_code == 200
    assert api.get("/api/portfolio/strategies").status_code == 200


def test_an_empty_rate_is_no_limit_and_leaves_no_row(
    api: APIClient, fund: Fund, settings: Any
) -> None:
    settings.SIMULATE_THROTTLE = ""
    assert {simulate(api, fund).status_code for _ in range(3)} == {200}
    assert not RequestLog.objects.exists()


def test_a_lower_rate_counts_what_was_admitted_under_the_higher_one(
    db: None, clock: Clock
) -> None:
    assert [admit("s", "c", 5, 60) for _ in range(5)] == [0] * 5
    age(30)
    assert clock.within(admit("s", "c", 2, 60), 30)


@pytest.mark.django_db(transaction=True)
def test_requests_at_once_are_admitted_up_to_the_rate_and_no_further(
    transactional_db: None, clock: Clock
) -> None:
    def ask(_: int) -> int:
        try:
            return admit("s", "c", 7, 60)
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        waits = list(pool.map(ask, range(30)))
    assert waits.count(0) == 7
    assert all(clock.within(wait, 60) for wait in waits if wait)
    assert RequestLog.objects.count() == 1


def test_the_log_is_unlogged_by_the_database(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relpersistence FROM pg_class WHERE oid = 'portfolio_requestlog'::regclass"
        )
        assert cursor.fetchone() == ("u",)


@pytest.mark.parametrize(
    ("rate", "parsed"),
    [
        ("60/minute", (60, 60)),
        ("1/second", (1, 1)),
        ("5/hour", (5, 3600)),
        ("1000000/day", (1_000_000, 86_400)),
    ],
)
def test_a_rate_is_a_number_per_period(rate: str, parsed: tuple[int, int]) -> None:
    assert parse_rate(rate) == parsed


@pytest.mark.parametrize(
    "rate", ["60", "0/minute", "-1/minute", "x/minute", "60/fortnight", "6.5/minute", "²/minute"]
)
def test_another_rate_is_refused(rate: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="N/minute"):
        parse_rate(rate)
