"""What the boundary costs: the validator, the lookup of the mode, and its share of a request.

The share is the time of the boundary's three lines over the time of the same endpoint with a
boundary that does nothing. The difference of two requests would mostly measure database noise.
Everything is enforced, so that the guard counts each request. What the guard and the register do
once a second, on the ticker's thread, is measured as a share of the second.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import pytest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from normalization import guard, observations, rollout_store
from normalization.boundary import judge, open_boundary
from normalization.instance_reporter import InstanceReporter
from normalization.rollout import Mode
from normalization.stages import BUILTIN, Known, Stage, Unknown
from normalization.vocabulary import common_spellings
from tests.benchmarks.harness import Ratio, compare, hold, median_ns

pytestmark = pytest.mark.django_db
LOOPS = 50


def test_validator_of_5000_stages() -> None:
    spellings = list(itertools.islice(common_spellings(), 60))
    raws = [spellings[i % len(spellings)] for i in range(4_900)] + [
        f"junk {i % 20}" for i in range(100)
    ]
    plain = dict.fromkeys(raws, Stage.SEED)
    both = compare(lambda: judge(raws, BUILTIN), lambda: [plain[raw] for raw in raws])
    note = f"{both.subject_ns / 1e6:.2f} ms"
    hold(Ratio("validator, 5,000 stages / bare dict look-ups", 6, both.ratio, note=note))


def test_lookup_of_the_mode() -> None:
    rollout_store.current()

    def lookups() -> None:
        for _ in range(10_000):
            rollout_store.current()

    def readings() -> None:
        for _ in range(10_000):
            time.monotonic()

    both = compare(lookups, readings)
    note = f"{both.subject_ns / 1e7:.2f} µs"
    hold(Ratio("mode lookup / reading the clock, which it needs", 8, both.ratio, note=note))


class NoBoundary:
    """A boundary that does nothing: stages pass as canonical, nothing is counted or added."""

    mode = Mode.OFF
    table = BUILTIN
    dry_run = False
    policy_version = 0

    def __init__(self, request: Request, endpoint: str) -> None:
        self.warnings: list[Any] = []

    def check(self, raws: Sequence[str], pointer: object, **_: object) -> list[Known | Unknown]:
        """Return known stages."""
        return [Known(raw, Stage.SERIES_A, canonical=True) for raw in raws]

    def warn(self, *_: object, **__: object) -> None:
        """Drop the warning."""

    def headers(self) -> dict[str, str]:
        """Return none."""
        return {}

    def respond(self, body: dict[str, Any], status: int = 200, headers: Any = None) -> Response:
        """Return the body alone."""
        return Response(body, status=status, headers=headers)


@pytest.fixture
def ready(set_mode: Callable[..., int], settings: Any) -> dict[str, Callable[[], Any]]:
    """Each endpoint as a call that succeeds in mode enforce with one alias."""
    from stagenorm.portfolio.keys import create_key
    from stagenorm.portfolio.models import Fund, PortfolioCompany

    settings.SIMULATE_THROTTLE = ""
    fund = Fund.objects.create(name="Benchmark")
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=fund, name=f"Company {n}", stage=["Series A", "seed"][n % 2])
        for n in range(500)
    )
    set_mode("enforce")
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Api-Key {create_key('bench')[1]}")
    body = {
        "fund_id": fund.pk,
        "seed": 1,
        "runs": 10_000,
        "stage_distribution": [{"stage": "SERIES_A", "weight": 1}],
    }
    strategy = {"fund_id": fund.pk, "name": "x", "stage_allocation": {"SERIES_A": 1}}
    return {
        "monte-carlo-simulate": lambda: api.post("/api/monte-carlo/simulate", body),
        "portfolio-strategies": lambda: api.post("/api/portfolio/strategies", strategy),
        "fund-companies": lambda: api.get(
            f"/api/funds/{fund.pk}/companies", {"stage": "SERIES_A"}
        ),
    }


MODULES = {
    "monte-carlo-simulate": "stagenorm.portfolio.simulations_views",
    "portfolio-strategies": "stagenorm.portfolio.strategies_views",
    "fund-companies": "stagenorm.portfolio.companies",
}


@pytest.mark.parametrize("endpoint", MODULES)
def test_share_of_the_boundary(
    ready: dict[str, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    request = APIView().initialize_request(APIRequestFactory().get("/"))
    request.auth = type("Key", (), {"name": "bench"})()
    body = {"a": 1}

    def three_lines() -> None:
        for _ in range(LOOPS):
            boundary = open_boundary(request, endpoint=endpoint)
            boundary.check(["SERIES_A"], lambda _: "/stage")
            boundary.respond(body)

    def a_bare_answer() -> None:
        for _ in range(LOOPS):
            Response(body)

    cost = compare(three_lines, a_bare_answer)
    monkeypatch.setattr(f"{MODULES[endpoint]}.open_boundary", NoBoundary)
    call = ready[endpoint]
    assert call().status_code < 300
    without = median_ns(call, rounds=81)
    share = (cost.subject_ns - cost.baseline_ns) / LOOPS / without
    note = f"{(cost.subject_ns - cost.baseline_ns) / LOOPS / 1e3:.0f} µs of {without / 1e6:.1f} ms"
    hold(Ratio(f"boundary's share, {endpoint}", 3, 100 * share, "%", note=note))


def test_share_of_the_ticker(set_mode: Callable[..., int]) -> None:
    """500 requests a second of 20 clients, one in a hundred of them refused."""
    version = set_mode("enforce")
    reporter = InstanceReporter()

    def a_second_of_requests() -> None:
        for number in range(500):
            client, rejected = f"client-{number % 20}", number % 100 == 99
            outcome = "rejected" if rejected else "canonical"
            guard.record(version, "fund-companies", client, rejected=rejected)
            observations.record("fund-companies", client, Mode.ENFORCE, outcome, Counter())

    def a_tick() -> None:
        reporter._due = float("-inf")  # every time, not every second time
        guard.guard.tick()
        observations.flush()
        rollout_store.show()
        reporter.report()

    def processor_ms() -> float:
        a_second_of_requests()
        started = time.thread_time()  # waiting for the database takes nothing from requests
        a_tick()
        return 1_000 * (time.thread_time() - started)

    took = median(processor_ms() for _ in range(41))
    note = f"{took:.1f} ms of the processor a second"
    hold(Ratio("guard, register and tallies: share of a second", 3, took / 10, "%", note=note))
