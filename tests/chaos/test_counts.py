"""Tallies last: an orderly end loses none, a quiet process writes its own, kill -9 costs a second.

CHAOS=full restarts 11 times and kills 20 workers within three minutes.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import psutil
import pytest
from django.db.models import Sum

from normalization.models import OutcomeTally
from normalization.ticker import TICK_SECONDS
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests import children
from tests.servers import ROOT, Service, free_port, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

FULL = os.environ.get("CHAOS") == "full"
RESTARTS = [*[signal.SIGTERM] * (10 if FULL else 1), signal.SIGINT]
KILLS = 20 if FULL else 3
APART_SECONDS = 9 if FULL else 0  # 20 kills within 180 s; a worker starts within that time


@dataclass
class Sender:
    """Four threads that ask as fast as they are answered, each request on a new connection."""

    port: int
    key: str
    fund: int
    answered: Counter[int] = field(default_factory=Counter)
    _ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Sender:
        self._threads = [threading.Thread(target=self._send) for _ in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def total(self) -> int:
        """How many requests were answered."""
        return self.answered[200]

    def ask(self) -> None:
        """Send one request and count its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            headers = {"Authorization": f"Api-Key {self.key}", "Connection": "close"}
            address = f"/api/funds/{self.fund}/companies?stage=seed&limit=1"
            connection.request("GET", address, headers=headers)
            answer = connection.getresponse()
            answer.read()
            with self._lock:
                self.answered[answer.status] += 1
        finally:
            connection.close()

    def _send(self) -> None:
        while not self._ended.is_set():
            try:
                self.ask()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)  # the server is away; ask again


def sender(port: int) -> Sender:
    fund = Fund.objects.create(name="Alder")
    return Sender(port, create_key("load")[1], fund.pk)


def tallied() -> int:
    found = OutcomeTally.objects.filter(client="load").aggregate(all=Sum("requests"))["all"]
    return found or 0


def replace_workers(service: Service) -> None:
    """Let granian end each worker and start another in its place, as it does to recycle one."""
    assert service.process
    server = psutil.Process(service.process.pid)
    old = {worker.pid for worker in server.children()}
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: not old & {worker.pid for worker in server.children()}, "new workers")


def test_an_orderly_end_under_load_loses_no_tally(granian_server: Callable[..., Service]) -> None:
    service = granian_server(workers=3)
    with sender(service.port) as load:
        for how in RESTARTS:
            seen = load.total
            wait_until(lambda seen=seen: load.total > seen + 100, "answers")  # type: ignore[misc]
            service.stop(how)
            service.start()
        replace_workers(service)
        seen = load.total
        wait_until(lambda: load.total > seen + 100, "answers of new workers")
    service.stop()
    assert set(load.answered) == {200}
    assert tallied() == load.total


def test_gunicorn_loses_no_tally_when_workers_are_recycled_and_at_its_end(
    transactional_db: None, granian_server: Callable[..., Service]
) -> None:
    environment = granian_server(workers=1).environment
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "stagenorm.wsgi", "--workers", "2"]
    command += ["--bind", f"127.0.0.1:{port}", "--max-requests", "40"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    own = {name: value for name, value in environment.items() if "MULTIPROC" not in name}
    server = children.start(command, cwd=ROOT, env=own, **quiet)
    load = sender(port)
    with load:
        wait_until(lambda: load.total > 200, "answers of recycled workers")
    server.send_signal(signal.SIGTERM)
    server.wait(60)
    assert tallied() == load.total


def test_a_quiet_process_writes_its_tallies(granian_server: Callable[..., Service]) -> None:
    service = granian_server(workers=1)
    load = sender(service.port)
    load.ask()
    wait_until(lambda: tallied() == 1, "the tally of the only request", 10)


def answered_until(load: Sender, total: int, due: float) -> bool:
    """Whether so many requests were answered, and the moment has come."""
    return load.total > total and time.monotonic() >= due


def kill_oldest_worker(service: Service) -> None:
    """Granian gives up when a worker dies within seconds of its start, so the oldest is killed."""
    assert service.process
    server = psutil.Process(service.process.pid)
    wait_until(lambda: len(server.children()) >= service.workers, "every worker")
    oldest = min(server.children(), key=lambda worker: worker.create_time())
    oldest.send_signal(signal.SIGKILL)
    wait_until(lambda: not oldest.is_running(), "its end")


def test_kill_9_loses_at_most_a_second_of_the_killed_worker(
    granian_server: Callable[..., Service],
) -> None:
    service = granian_server(workers=3)
    with sender(service.port) as load:
        started = time.monotonic()
        for number in range(1, KILLS + 1):
            enough, due = load.total + 150, started + number * APART_SECONDS
            wait_until(partial(answered_until, load, enough, due), "answers")
            kill_oldest_worker(service)
        seconds = time.monotonic() - started
        rate = load.total / seconds
    service.stop()
    lost = load.total - tallied()
    print(
        f"\n{KILLS} kills in {seconds:.0f} s: {lost} of {load.total} requests lost "
        f"({100 * lost / load.total:.2f} %; a kill: {lost / KILLS:.1f}, "
        f"{lost / KILLS / (rate / service.workers):.2f} s of a worker's requests)"
    )
    # A worker answers at most all requests, while the others start.
    assert 0 <= lost <= KILLS * rate * TICK_SECONDS
