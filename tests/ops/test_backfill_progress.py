"""What a run's progress says where there is no terminal, also when the run was begun by another
process.
"""

from dataclasses import replace
from io import StringIO

import pytest

from ops.backfill import control
from ops.backfill.models import BackfillRun
from ops.backfill.runner import carry_out
from ops.backfill.session import Interrupts
from ops.cli import normalize_output as output
from tests.backfill_runs import COMPANIES, QUICK, Heard, begin, store_many, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _a_line_for_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LINE_EVERY_SECONDS", -1.0)


def said_by(run: BackfillRun) -> list[str]:
    """Carry the run out, or on; the lines of its progress."""
    stream = StringIO()
    with output.progress(stream) as tell:
        work(run, tell)
    return stream.getvalue().splitlines()


def interrupted(run: BackfillRun) -> BackfillRun:
    """The run after one batch."""
    heard, interrupts = Heard(), Interrupts()
    heard.then = {"after_1": lambda: setattr(interrupts, "wish", "SIGTERM")}
    try:
        carry_out(control.claim(run.pk, "tests"), actor="tests", tell=heard, interrupts=interrupts)
    finally:
        interrupts.close()
    run.refresh_from_db()
    return run


def test_a_run_that_is_taken_up_says_of_how_many_rows_and_how_far_it_had_come() -> None:
    store_many(2000)
    run = interrupted(begin(replace(QUICK, batch_size=500, max_batch_size=500)))
    lines = said_by(run)
    total = run.checkpoints.get(table_name=COMPANIES).total
    assert lines[:2] == [
        f"{COMPANIES} 500 of {total:,} rows",
        f"{COMPANIES} 1,000 of {total:,} rows",
    ]
    assert lines[-1] == f"{COMPANIES} {total:,} of {total:,} rows"


def test_an_undo_says_of_how_many_rows_from_its_first_line_on() -> None:
    store_many(300)
    run = work(begin(QUICK)).run
    rows = run.checkpoints.get(table_name=COMPANIES).changed
    lines = said_by(control.begin_undo(run.pk, QUICK, "tests"))
    assert lines[0] == f"{COMPANIES} 0 of {rows:,} rows"
    assert lines[-1] == f"{COMPANIES} {rows:,} of {rows:,} rows"
