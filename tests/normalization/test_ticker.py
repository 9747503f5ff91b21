"""The ticker runs its tasks once a second in serving processes, whatever one of them does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from normalization.ticker import Ticker
from tests.logs import Logged
from tests.servers import wait_until


@pytest.fixture
def ticker(settings: Settings) -> Iterator[Ticker]:
    settings.SERVES_REQUESTS = True
    ticker = Ticker()
    yield ticker
    ticker.stop()


def counting() -> tuple[list[threading.Thread], Callable[[], None]]:
    runs: list[threading.Thread] = []  # not their numbers, which are used again
    return runs, lambda: runs.append(threading.current_thread())


def test_tasks_run_again_and_again_on_one_thread(ticker: Ticker) -> None:
    runs, task = counting()
    ticker.add("task", task)
    ticker.ensure_running()
    ticker.ensure_running()
    wait_until(lambda: len(runs) >= 2, "two ticks")
    assert len(set(runs)) == 1
    assert runs[0] is not threading.current_thread()


def test_a_process_that_serves_no_requests_has_no_thread(
    ticker: Ticker, settings: Settings
) -> None:
    settings.SERVES_REQUESTS = False
    before = threading.active_count()
    ticker.ensure_running()
    assert threading.active_count() == before


def test_a_task_that_fails_stops_no_other_and_is_logged_once_an_episode(
    ticker: Ticker, logged: Logged
) -> None:
    runs, task = counting()
    fails = [True]

    def failing() -> None:
        if fails[0]:
            raise ValueError("no")

    ticker.add("failing", failing)
    ticker.add("task", task)
    ticker.tick()
    ticker.tick()
    assert len(runs) == 2
    fails[0] = False
    ticker.tick()
    events = [json.loads(line)["event"] for line in logged.take().splitlines()]
    assert events == ["stage_task_failed", "stage_task_recovered"]


def test_the_thread_starts_again_after_it_was_stopped(ticker: Ticker) -> None:
    runs, task = counting()
    ticker.add("task", task)
    ticker.ensure_running()
    wait_until(lambda: len(runs) >= 1, "a tick")
    ticker.stop()
    ticker.ensure_running()
    wait_until(lambda: len(set(runs)) == 2, "a tick of the second thread")
