"""Pause, resume and cancel between batches; one run at a time; no write without the lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from typing import Any

import psycopg
import pytest

from ops.backfill import columns, control, session
from ops.backfill.batches import apply_batch
from ops.backfill.guards import GateClosed, RunRefused
from ops.backfill.lease import LeaseLost
from ops.backfill.models import BackfillRun, RunStrategy
from ops.backfill.pacing import Throttle
from ops.backfill.plan import make_plan
from ops.backfill.states import TransitionRefused
from ops.backfill.survey import fresh_table
from ops.backups.models import Backup
from tests.backfill_runs import (
    QUICK,
    Heard,
    address,
    another_connection,
    begin,
    logged,
    store,
    stored,
    wait_for,
    work,
)

pytestmark = pytest.mark.django_db(transaction=True)


class Once:
    """Does something at the first event of a kind."""

    def __init__(self, **acts: Callable[[], Any]) -> None:
        self.acts = acts
        self.heard = Heard()

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.heard(event, **fields)
        if act := self.acts.pop(event, None):
            act()


def test_a_paused_run_waits_and_continues_when_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOOK_AGAIN_SECONDS", 0.01)
    store(["Series A"] * 300)
    run = begin(replace(QUICK, batch_size=100))
    seen: list[int] = []

    def paused() -> None:
        seen.append(list(stored().values()).count("series-a"))
        control.resume(run.pk, "ann")

    tell = Once(batch=lambda: control.pause(run.pk, "ann"), waiting=paused)
    assert work(run, tell).run.state == "completed"
    assert seen == [100]
    run.refresh_from_db()
    assert [(each["state"], each["actor"]) for each in run.history] == [
        ("planned", "tests"),
        ("running", "tests"),
        ("paused", "ann"),
        ("running", "ann"),
        ("completed", "tests"),
    ]


@pytest.mark.parametrize("strategy", ["batched", "transactional"])
def test_a_cancelled_run_ends_before_its_next_batch(strategy: str) -> None:
    store(["Series A"] * 300)
    run = begin(replace(QUICK, batch_size=100, strategy=RunStrategy(strategy)))

    def cancel() -> None:
        with another_connection("operator") as elsewhere, elsewhere.cursor() as cursor:
            cursor.execute(
                "UPDATE stage_migration_control SET state = 'cancelled' WHERE id = %s", [run.pk]
            )

    tell = Once(
        batch=cancel if strategy == "transactional" else lambda: control.cancel(run.pk, "ann")
    )
    finish = work(run, tell)
    assert finish.run.state == "cancelled"
    assert list(stored().values()).count("series-a") == (0 if strategy == "transactional" else 100)
    assert finish.run.lease_token is None


def test_a_second_run_is_refused_with_the_holders_name() -> None:
    store(["Series A"] * 300)
    run = begin(replace(QUICK, batch_size=100))
    refused: list[str] = []

    def another() -> None:
        for way in (begin, lambda: control.claim(run.pk, "bob")):
            with pytest.raises(RunRefused) as refusal:
                way()
            refused.append(str(refusal.value))

    work(run, Once(batch=another))
    assert len(refused) == 2
    assert all("tests on " in each and f"Run {run.pk}" in each for each in refused)


def test_an_unfinished_run_without_a_process_still_refuses_a_new_one() -> None:
    store(["Series A"])
    run = begin()
    with pytest.raises(RunRefused, match=f"Run {run.pk} .*no process holds it"):
        begin()


def test_a_process_that_lost_its_lease_writes_nothing() -> None:
    store(["Series A"] * 300)
    run = begin(replace(QUICK, batch_size=100))
    old = control.claim(run.pk, "tests")
    BackfillRun.objects.filter(pk=run.pk).update(lease_backend=0)

    column = columns.find(["portfolio_companies"])[0]
    taken: list[str] = []

    def take_over() -> None:
        with pytest.raises(LeaseLost, match="taken over by"):
            apply_batch(old, column, fresh_table(), 100)
        taken.append("checked")

    finish = work(run, Once(batch=take_over))
    assert taken == ["checked"]
    assert finish.run.state == "completed"
    assert set(stored().values()) == {"series-a"}
    assert len(logged(run)) == 300


def test_resume_without_a_waiting_process_names_the_command() -> None:
    run = begin()
    with pytest.raises(RunRefused, match="--apply --resume"):
        control.resume(run.pk, "ann")


def test_an_impossible_transition_is_refused() -> None:
    run = work(begin()).run
    with pytest.raises(TransitionRefused, match="completed"):
        control.pause(run.pk, "ann")


def test_a_long_wait_for_the_table_is_a_reason_to_wait() -> None:
    store(["Series A"])
    column = columns.find(["portfolio_companies"])[0]
    reasons: list[str | None] = []

    def seen() -> bool:
        reasons.append(Throttle(10).reason(column))
        return reasons[-1] is not None

    with psycopg.connect(address()) as reader, psycopg.connect(address()) as migration:
        reader.execute("SELECT count(*) FROM portfolio_companies")
        waiting = Thread(
            target=migration.execute,
            args=["LOCK TABLE portfolio_companies IN ACCESS EXCLUSIVE MODE"],
        )
        waiting.start()
        wait_for(seen, "the throttle to see the long wait")
        reader.rollback()
        waiting.join(30)
        migration.rollback()
    assert "for AccessExclusiveLock on portfolio_companies" in str(reasons[-1])
    assert Throttle(10).reason(column) is None


@pytest.mark.parametrize("state", ["planned", "paused", "failed", "running"])
def test_no_process_gets_an_apply_run_without_a_valid_backup(state: str) -> None:
    run = begin()
    BackfillRun.objects.filter(pk=run.pk).update(state=state)
    Backup.objects.get().path.unlink()
    with pytest.raises(GateClosed, match="backup_valid"):
        control.claim(run.pk, "ann")
    with pytest.raises(GateClosed, match="backup_valid"):
        control.claim_unfinished("ann")
    run.refresh_from_db()
    assert (run.state, run.lease_token) == (state, None)


def test_a_refused_start_leaves_no_planned_run_behind() -> None:
    found = columns.find_for_run()
    with pytest.raises(GateClosed):
        control.start(make_plan(found, sample=False), found, QUICK, "ann")
    assert not BackfillRun.objects.exists()


def test_an_undo_needs_no_backup() -> None:
    store(["Series A"])
    run = work(begin()).run
    Backup.objects.get().path.unlink()
    undo = control.begin_undo(run.pk, QUICK, "ann")
    assert work(undo).run.state == "completed"
    assert set(stored().values()) == {"Series A"}
