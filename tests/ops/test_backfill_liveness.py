"""Whether a run is alive: one rule, and the same answer in every place that shows it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from prometheus_client import CollectorRegistry

from ops.backfill import control
from ops.backfill.lease import is_alive, lease_holds
from ops.backfill.metrics import BackfillCollector
from ops.backfill.models import BackfillRun
from ops.backfill.states import PROCESS_GONE
from tests.backfill_runs import (
    Command,
    begin,
    execute,
    store,
    store_many,
    valid_backup,
    wait_for,
    work,
)
from tests.pages import HomePage
from tests.run_pages import RunPage, RunsPage

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = 30.0
AGED = "UPDATE stage_migration_control SET heartbeat_at = clock_timestamp() - interval '{} s'"
NO_BACKEND = "UPDATE stage_migration_control SET lease_backend = 0"


@dataclass(frozen=True)
class Shown:
    """How the places show the newest run."""

    run_list: str
    run_page: str
    home: str
    command: str
    metric: float


def shown(operator: Client, run: BackfillRun) -> Shown:
    """Read every place that shows whether a run is alive."""
    out = StringIO()
    call_command("normalize_stages", stdout=out, stderr=StringIO())
    [line] = [each for each in out.getvalue().splitlines() if each.startswith(f"Run {run.pk}")]
    return Shown(
        run_list=RunsPage.open(operator).rows[0]["state"],
        run_page=RunPage.open(operator, run).state,
        home=HomePage.open(operator).state["Backfill"].word,
        command=line,
        metric=scraped()["stage_backfill_run_alive"],
    )


def scraped() -> dict[str, float]:
    """Scrape the metrics of the backfill: name with labels → value."""
    registry = CollectorRegistry()
    registry.register(BackfillCollector())
    found = {}
    for family in registry.collect():
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def assert_shown(operator: Client, run: BackfillRun, *, alive: bool) -> None:
    """Compare every place with `alive` for a running run."""
    run.refresh_from_db()
    assert is_alive(run) is alive
    found = shown(operator, run)
    words = "running" if alive else PROCESS_GONE
    assert found.run_list.endswith(words)
    assert found.run_page == words
    assert found.home == words
    assert found.command == f"Run {run.pk} is not finished: {words}."
    assert found.metric == alive


@pytest.mark.parametrize(
    ("age", "connected", "holds"),
    [
        (None, True, False),
        (0.0, True, True),
        (LEASE - 0.001, True, True),
        (LEASE, True, False),
        (LEASE + 0.001, True, False),
        (0.0, False, False),
    ],
)
def test_a_lease_holds_until_its_heartbeat_is_as_old_as_the_lease(
    age: float | None, connected: bool, holds: bool
) -> None:
    assert lease_holds(age, LEASE, connected=connected) is holds


@pytest.mark.parametrize(
    ("statement", "alive"),
    [
        ("SELECT 1", True),
        (AGED.format(20), True),
        (AGED.format(30), False),
        (AGED.format(31), False),
        (NO_BACKEND, False),
        ("UPDATE stage_migration_control SET lease_token = NULL", False),
    ],
    ids=["fresh", "younger", "as old", "older", "connection gone", "released"],
)
def test_every_place_shows_the_same_answer(operator: Client, statement: str, alive: bool) -> None:
    run = begin()
    control.claim(run.pk, "tests")
    execute(statement)
    assert_shown(operator, run, alive=alive)


def test_a_dead_running_run_is_not_shown_as_an_ordinary_one_on_the_home_page(
    operator: Client,
) -> None:
    run = begin()
    control.claim(run.pk, "tests")
    assert HomePage.open(operator).state["Backfill"].tone == "plain"
    execute(NO_BACKEND)
    assert HomePage.open(operator).state["Backfill"].tone == "unsure"


def test_a_stopped_process_loses_the_run_after_its_lease_and_a_killed_one_at_once(
    operator: Client, tmp_path: Path
) -> None:
    store_many(5_000)
    valid_backup()
    slow = ("--batch-size", "50", "--max-batch-size", "50", "--backoff-ms", "500")
    command = Command("--apply", *slow, "--lease-seconds", "3", directory=tmp_path)
    wait_for(BackfillRun.objects.filter(batch__gte=1).exists, "the first batch")
    run = BackfillRun.objects.get()
    assert is_alive(run)
    command.signal(signal.SIGSTOP)
    wait_for(lambda: not is_alive(run), "the end of the lease")
    assert_shown(operator, run, alive=False)
    command.signal(signal.SIGCONT)
    wait_for(lambda: is_alive(run), "the next heartbeat")
    command.kill()
    wait_for(lambda: not is_alive(run), "the end of the connection")
    assert_shown(operator, run, alive=False)


@pytest.mark.parametrize("end", [control.cancel, control.pause])
def test_a_run_without_a_process_is_not_alive(end: Callable[[int, str], BackfillRun]) -> None:
    run = begin()
    lease = control.claim(run.pk, "tests")
    end(run.pk, "ann")
    control.release(lease)
    run.refresh_from_db()
    assert not is_alive(run)


def test_metrics_export_the_rows_and_the_state_of_the_newest_run() -> None:
    assert scraped()["stage_backfill_run_state{state=running}"] == 0
    assert scraped()["stage_backfill_run_alive"] == 0
    store(["Series A"])
    store(["seed"], raws=["Seed"])
    store(["Series A"])
    work(begin())
    found = scraped()
    rows = "stage_backfill_rows_total{{outcome={},table=portfolio_companies}}"
    assert found[rows.format("normalized")] == 2
    assert found[rows.format("unchanged")] == 1
    assert found["stage_backfill_run_state{state=completed}"] == 1
    assert found["stage_backfill_heartbeat_timestamp_seconds"] > 0
