"""A run that clients keep from its end fails after a few passes and can be resumed."""

from __future__ import annotations

import pytest

from ops.backfill.passes import MOST_PASSES
from tests.backfill_runs import Heard, begin, execute, store, stored, work

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_fails_while_clients_write_other_spellings_and_completes_afterwards() -> None:
    first, *_ = store(["Series A"] * 10)
    run = begin()

    def rewrite() -> None:
        execute("UPDATE portfolio_companies SET stage = 'Series A' WHERE id = %s", [first])

    finish = work(run, Heard(after_each=rewrite))
    assert finish.run.state == "failed"
    left = "1 rows of portfolio_companies.stage still hold other spellings"
    assert f"{left} after {MOST_PASSES} passes" in finish.trouble

    assert work(run).run.state == "completed"
    assert set(stored().values()) == {"series-a"}
