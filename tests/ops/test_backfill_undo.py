"""An undo restores exactly what the run wrote and is unchanged, and reports what it left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops.backfill import control, guards
from ops.backfill.guards import RunRefused
from ops.backfill.models import BackfillRun
from tests.backfill_runs import (
    CANONICAL,
    MESSY,
    QUICK,
    UNKNOWN,
    Heard,
    begin,
    execute,
    logged,
    rewrite,
    store,
    store_many,
    stored,
    work,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True)

WHOLE = "SELECT to_jsonb(c) FROM portfolio_companies c ORDER BY id"


def undo(run: BackfillRun, batch_size: int = 300) -> BackfillRun:
    return work(control.begin_undo(run.pk, replace(QUICK, batch_size=batch_size), "tests")).run


@pytest.mark.parametrize("batch_size", [7, 300, 50_000])
def test_a_run_and_its_undo_leave_the_rows_as_before_byte_for_byte(batch_size: int) -> None:
    store([*MESSY, *CANONICAL, *UNKNOWN] * 50)
    before = execute(WHOLE)
    run = work(begin(replace(QUICK, batch_size=130))).run
    assert execute(WHOLE) != before
    undone = undo(run, batch_size)
    assert execute(WHOLE) == before
    run.refresh_from_db()
    assert (run.state, undone.state) == ("undone", "completed")


def test_the_undo_is_logged_like_a_run() -> None:
    store(MESSY * 10)
    run = work(begin()).run
    assert sorted((key, after, before) for key, before, after in logged(run)) == sorted(
        logged(undo(run))
    )


def test_rows_that_clients_changed_since_are_left_and_reported() -> None:
    ids = store(["Series A"] * 10)
    run = work(begin()).run
    rewrite("Seed", [ids[0]])
    execute(
        "UPDATE portfolio_companies SET stage_raw = NULL, stage = 'Series A' WHERE id = %s",
        [ids[1]],
    )
    execute("DELETE FROM portfolio_companies WHERE id = %s", [ids[2]])
    undone = undo(run)
    assert written() == {
        ids[0]: ("Seed", None),
        ids[1]: (None, "Series A"),
        **dict.fromkeys(ids[3:], (None, "Series A")),
    }
    assert undone.checkpoints.get().left_alone == {
        "changed since": {"rows": 1, "ids": [ids[0]]},
        "as before already": {"rows": 1, "ids": [ids[1]]},
        "deleted": {"rows": 1, "ids": [ids[2]]},
    }
    assert undone.checkpoints.get().changed == 7


def test_an_interrupted_undo_resumes_at_its_position() -> None:
    store_many(3000)
    before = stored()
    run = work(begin()).run
    changed = set(before)
    planned = control.begin_undo(run.pk, replace(QUICK, batch_size=100), "tests")
    with pytest.raises(KeyboardInterrupt):
        work(planned, Heard(after_3=_interrupt))
    assert 0 < len(logged(planned)) < len(changed)
    BackfillRun.objects.filter(pk=planned.pk).update(lease_backend=0)
    assert work(planned).run.state == "completed"
    assert stored() == before
    assert sorted(key for key, _, _ in logged(planned)) == sorted(changed)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_a_row_that_the_run_wrote_twice_gets_the_clients_last_value() -> None:
    ids = store(["Series A"] * 20)
    again = Heard(after_1=lambda: rewrite("SEED", [ids[0]]))
    run = work(begin(replace(QUICK, batch_size=10)), again).run
    assert [entry[1:] for entry in logged(run) if entry[0] == ids[0]] == [
        ("Series A", "series-a"),
        (None, "seed"),
    ]
    undo(run)
    assert written()[ids[0]] == ("SEED", None)


def test_runs_are_undone_newest_first() -> None:
    store(["Series A"])
    first = work(begin()).run
    store(["Seed"])
    second = work(begin()).run
    idle = work(begin()).run
    with pytest.raises(RunRefused, match=f"undo run {second.pk} first"):
        control.begin_undo(first.pk, QUICK, "tests")
    undo(second)
    undo(first)
    assert set(stored().values()) == {"Seed", "Series A"}
    assert idle.state == "completed"


def test_an_undo_is_not_undone_and_nothing_is_undone_twice() -> None:
    store(["Series A"])
    run = work(begin()).run
    undone = undo(run)
    with pytest.raises(RunRefused, match="itself an undo"):
        control.begin_undo(undone.pk, QUICK, "tests")
    with pytest.raises(RunRefused, match="cannot be undone"):
        control.begin_undo(run.pk, QUICK, "tests")


def test_a_cancelled_run_can_be_undone() -> None:
    store(["Series A"] * 300)
    run = begin(replace(QUICK, batch_size=100))
    work(run, Heard(after_1=lambda: control.cancel(run.pk, "ann")))
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert 0 < list(stored().values()).count("series-a") < 300
    undo(run)
    assert set(stored().values()) == {"Series A"}


def test_a_run_that_wrote_a_missing_column_is_not_undone_and_no_undo_is_planned() -> None:
    store(["Series A"])
    run = work(begin()).run
    run.checkpoints.filter(changed__gt=0).update(column_name="gone")
    with pytest.raises(
        RunRefused,
        match=f"Run {run.pk} wrote portfolio_companies.gone, which this release does not",
    ):
        control.begin_undo(run.pk, QUICK, "tests")
    assert guards.unfinished() is None
