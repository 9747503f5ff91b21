"""A run that clients keep from an end says so after a few passes, and goes on when it is taken up
again.
"""

from __future__ import annotations

import pytest

from ops.backfill.passes import MOST_PASSES
from tests.backfill_runs import Heard, begin, execute, store, stored, work

pytestmark = pytest.mark.django_db(transaction=True)


def test_clients_that_keep_writing_other_spellings_end_a_run_which_completes_when_taken_up_after_them() -> (
    None
):
    first, *_ = store(["Series A"] * 10)
    run = begin()

    def rewrite() -> None:
        execute("UPDATE portfolio_companies SET stage = 'Series A' WHERE id = %s", [first])

    finish = work(run, Heard(after_each=rewrite))
    assert finish.run.state == "failed"
    assert (
        f"1 rows of portfolio_companies.stage still hold other spellings after {MOST_PASSES} passes"
        in finish.trouble
    )

    assert work(run).run.state == "completed"
    assert set(stored().values()) == {"series-a"}
