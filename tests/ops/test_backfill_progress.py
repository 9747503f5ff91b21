"""The progress lines of a run without a terminal, also of a run that another process began."""

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


def lines_of(run: BackfillRun) -> list[str]:
    """Carry the run out, or resume it; return the lines of its progress."""
    stream = StringIO()
    with output.progress(stream) as tell:
        work(run, tell)
    return stream.getvalue().splitlines()


def interrupted(run: BackfillRun) -> BackfillRun:
    """Return the run, paused after one batch."""
    heard, interrupts = Heard(), Interrupts()
    heard.then = {"after_1": lambda: setattr(interrupts, "wish", "SIGTERM")}
    try:
        carry_out(control.claim(run.pk, "tests"), actor="tests", tell=heard, interrupts=interrupts)
    finally:
        interrupts.close()
    run.refresh_from_db()
    return run


def test_a_resumed_run_shows_its_rows_and_continues_at_its_position() -> None:
    store_many(2000)
    run = interrupted(begin(replace(QUICK, batch_size=500, max_batch_size=500)))
    lines = lines_of(run)
    total = run.checkpoints.get(table_name=COMPANIES).total
    assert lines[:2] == [
        f"{COMPANIES} 500 of {total:,} rows",
        f"{COMPANIES} 1,000 of {total:,} rows",
    ]
    assert lines[-1] == f"{COMPANIES} {total:,} of {total:,} rows"


def test_an_undo_shows_its_rows_from_the_first_line_on() -> None:
    store_many(300)
    run = work(begin(QUICK)).run
    rows = run.checkpoints.get(table_name=COMPANIES).changed
    lines = lines_of(control.begin_undo(run.pk, QUICK, "tests"))
    assert lines[0] == f"{COMPANIES} 0 of {rows:,} rows"
    assert lines[-1] == f"{COMPANIES} {rows:,} of {rows:,} rows"
