"""The CPU time of the worker per request, over HTTP and in turns, against simpler views.

CPU time, because wall time also measures the client, PostgreSQL and the other programs of the
machine. The views are of one worker with one thread, behind the same middleware.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial

import psutil
import pytest

from stagenorm.portfolio.keys import create_key
from tests.backfill_runs import address
from tests.benchmarks.harness import Ratio, hold
from tests.benchmarks.served import fill_plain
from tests.servers import Service

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS, REQUESTS = 5, 60


class Worker:
    """The only worker of a service, and one connection to it."""

    def __init__(self, service: Service, key: str) -> None:
        assert service.process
        [self.process] = psutil.Process(service.process.pid).children()
        self.link = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        self.headers = {"Authorization": f"Api-Key {key}", "Content-Type": "application/json"}

    def close(self) -> None:
        """Close the connection."""
        self.link.close()

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the body of a successful answer."""
        self.link.request(method, path, body or None, self.headers)
        answer = self.link.getresponse()
        content = answer.read()
        assert answer.status in (200, 201), content
        return content

    def cpu_seconds(self) -> float:
        """Return the CPU time that the worker has used."""
        times = self.process.cpu_times()
        return times.user + times.system

    def in_turns(self, asked: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Return the CPU microseconds of each request."""
        spent = dict.fromkeys(asked, 0.0)
        for number in range(ROUNDS + 1):
            for name, ask in asked.items():
                before = self.cpu_seconds()
                for _ in range(REQUESTS):
                    ask()
                if number:  # the first round warms up
                    spent[name] += self.cpu_seconds() - before
        return {name: each * 1e6 / ROUNDS / REQUESTS for name, each in spent.items()}


@pytest.fixture
def worker() -> Iterator[Worker]:
    own = {"DATABASE_URL": address(), "DJANGO_SETTINGS_MODULE": "tests.benchmarks.served_settings"}
    service = Service(1, own, threads=1)
    try:
        service.start()
        with closing(Worker(service, create_key("bench")[1])) as only:
            yield only
    finally:
        service.remove()


def test_a_page_of_companies_against_simpler_views(worker: Worker) -> None:
    fund = fill_plain()
    ours = f"/api/funds/{fund}/companies?stage=seed&limit=50"
    cursor = ""
    for _ in range(8):  # to the middle of the list
        page = worker.ask("GET", ours + cursor)
        cursor = f"&cursor={json.loads(page)['next_cursor']}"
    page = worker.ask("GET", ours + cursor)
    plain = f"/api/plain/{fund}?limit=50&offset=400"
    listed = json.loads(worker.ask("GET", plain))["results"]
    assert [each["id"] for each in json.loads(page)["companies"]] == [row["id"] for row in listed]
    worker.ask("PUT", "/api/stored", page)
    asked = {"ours": ours + cursor, "plain": plain, "stored": "/api/stored"}
    spent = worker.in_turns({name: partial(worker.ask, "GET", asked[name]) for name in asked})
    note = f"{spent['ours']:.0f} us against"
    over_plain = spent["ours"] / spent["plain"]
    over_stored = spent["ours"] / spent["stored"]
    name = "companies page, worker CPU / plain DRF ModelSerializer with OFFSET"
    hold(Ratio(name, 0.5, over_plain, note=f"{note} {spent['plain']:.0f} us"))
    name = "companies page, worker CPU / stored JSON behind the same middleware"
    hold(Ratio(name, None, over_stored, note=f"{note} {spent['stored']:.0f} us"))
