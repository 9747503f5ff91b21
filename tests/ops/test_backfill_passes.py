"""A run that clients keep from its end fails after a few passes and can be resumed."""

from __future__ import annotations

import pytest

from ops.backfill.passes import MOST_PASSES
from tests.backfill_runs import Heard, begin, rewrite, store, stored, work

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
