"""Where the passes of a run begin; and a run that clients keep from its end."""

from __future__ import annotations

import pytest

from normalization.decision_warnings import DecisionVerdict
from ops.backfill.models import BackfillRun
from ops.backfill.passes import MOST_PASSES
from tests.backfill_runs import Heard, begin, rewrite, store, stored, work
from tests.decided import decide

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_fails_while_clients_write_other_spellings_and_completes_afterwards() -> None:
    first, *_ = store(["Series A"] * 10)
    run = begin()

    finish = work(run, Heard(after_each=lambda: rewrite("Series A", [first])))
    assert finish.run.state == "failed"
    left = "1 rows of portfolio_companies.stage are still not derived"
    assert f"{left} after {MOST_PASSES} passes" in finish.trouble

    assert work(run).run.state == "completed"
    assert set(stored().values()) == {"series-a"}


def test_the_first_pass_has_the_bounds_of_the_plan_and_the_next_takes_what_came_since() -> None:
    store(["Series A"] * 20)
    run = begin()
    store(["seed "] * 5)

    heard = Heard()
    assert work(run, heard).run.state == "completed"
    assert [each["to_change"] for each in heard.all("pass")] == [20, 5]
    assert set(stored().values()) == {"series-a", "seed"}


@pytest.mark.parametrize("stale", ["decided since", "of an earlier release"])
def test_a_plan_that_does_not_fit_is_replaced_by_a_survey(stale: str) -> None:
    store(["Grant"], raws=["Grant"])
    store(["Series A"] * 20)
    run = begin()
    if stale == "decided since":
        decide("Grant", DecisionVerdict.OUTSIDE)
    else:
        plan = run.plan
        for each in plan["columns"]:
            del each["first"], each["last"]
        BackfillRun.objects.filter(pk=run.pk).update(plan=plan)
    store(["seed "] * 5)

    heard = Heard()
    assert work(run, heard).run.state == "completed"
    assert [each["to_change"] for each in heard.all("pass")] == [26]
