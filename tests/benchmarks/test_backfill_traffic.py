"""What clients notice of a run that goes on beside them: nothing fails, and p99 of the API stays within twice.

Two clients read companies by stage, page after page, over HTTP. Beside them pairs of the same rows are updated in SQL,
the greatest key first: against the run's order, the way to meet it in a deadlock. These updates also make stages messy
again. The same load is measured before the run, while it goes on, and after it; the run is held against the calmer of
the two, so that a disturbance from outside cannot make it look good. Everything shares the machine's cores: two
workers, the run's process, PostgreSQL, and the clients.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest
from django.db.models import Sum

from normalization.stages import Stage
from ops.backfill.models import BackfillRun
from ops.backfill.verify import unclean_rows
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests.backfill_runs import COMPANIES, MESSY, Command, address, execute, store_many, valid_backup, wait_for
from tests.benchmarks import open_loop
from tests.benchmarks.harness import Ratio, hold
from tests.benchmarks.open_loop import Answers
from tests.pgbench import Counted, Pgbench
from tests.servers import Service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

FUNDS = 5
ROWS = int(os.environ.get("BACKFILL_TRAFFIC_ROWS", "1000000"))  # so many that the run outlasts SECONDS
SECONDS, WARM_SECONDS = 20, 5
READS, UPDATES = 40, 50  # a second

UPDATE = f"""
\\set a random(:first, :last)
\\set b random(:first, :last)
BEGIN;
UPDATE portfolio_companies SET stage = (ARRAY['{"','".join(MESSY)}'])[1 + :a % {len(MESSY)}], updated_at = now()
WHERE id = greatest(:a, :b);
UPDATE portfolio_companies SET sector = 'sector ' || :b % 20, updated_at = now() WHERE id = least(:a, :b);
COMMIT;
"""


class Reader:
    """Lists companies of one stage of a fund in one of the indexed orders, five pages at the most, then others."""

    def __init__(self, funds: list[int], seed: int) -> None:
        self.funds, self.chance = funds, Random(seed)
        self.list, self.pages = "", 0

    def __call__(self, answer: bytes) -> str:
        """The path of the next page, going by the last `answer`."""
        cursor = json.loads(answer).get("next_cursor") if answer else None
        if cursor and self.pages < 5:
            self.pages += 1
            return f"{self.list}&{urlencode({'cursor': cursor})}"
        asked = {"stage": self.chance.choice(list(Stage)), "sort": self.chance.choice(["id", "-id", "name", "-name"])}
        self.list, self.pages = f"/api/funds/{self.chance.choice(self.funds)}/companies?{urlencode(asked)}", 1
        return self.list


@dataclass(frozen=True)
class Clients:
    """Those who read over HTTP and those who update over SQL."""

    service: Service
    key: str
    readers: list[Reader]
    directory: Path

    def work(self, name: str, seconds: int = SECONDS) -> tuple[Answers, Counted]:
        """What they met in so many seconds. Nothing may have failed."""
        first, last = execute("SELECT min(id), max(id) FROM portfolio_companies")[0]
        updates = Pgbench(
            {UPDATE: 1}, {"first": first, "last": last},
            url=address(), directory=self.directory / name, rate=UPDATES, seconds=seconds,
        )  # fmt: skip
        answers = open_loop.send(self.service, self.key, self.readers, READS, seconds)
        updated = updates.wait()
        assert set(answers.statuses) == {200}
        assert (updated.failed, updated.deadlocks) == (0, 0)
        assert len(answers.milliseconds) >= 0.95 * READS * seconds
        assert updated.done >= 0.8 * UPDATES * seconds
        return answers, updated


@dataclass(frozen=True)
class Progress:
    """How far the run is: its state, batches, seconds spent in them, and rows changed."""

    state: str
    batches: int
    working_seconds: float
    changed: int


def progress() -> Progress:
    """Of the one run."""
    run = BackfillRun.objects.annotate(changed=Sum("checkpoints__changed")).get()
    return Progress(run.state, run.batch, run.working_seconds, run.changed)


def test_clients_of_the_api_hardly_notice_a_run(granian_server: Callable[..., Service], tmp_path: Path) -> None:
    for _ in range(FUNDS):
        store_many(ROWS // FUNDS)
    execute("VACUUM ANALYZE portfolio_companies")
    valid_backup()
    funds = list(Fund.objects.values_list("pk", flat=True))
    clients = Clients(
        granian_server(workers=2), create_key("reader")[1], [Reader(funds, seed) for seed in range(2)], tmp_path
    )
    clients.work("warm", WARM_SECONDS)
    before = clients.work("before")

    command = Command("--apply", directory=tmp_path)  # as it is by default: back-off, batch sizes
    wait_for(lambda: BackfillRun.objects.filter(batch__gte=1).exists(), "the run's first batch")
    begun = progress()
    during = clients.work("during")
    ended = progress()
    assert command.process.poll() is None, f"The run was over within {SECONDS} s: BACKFILL_TRAFFIC_ROWS={ROWS * 2}"
    assert (begun.state, ended.state) == ("running", "running")
    worked = (ended.working_seconds - begun.working_seconds) / SECONDS
    assert worked > 0.2  # it did not spend its time waiting for others
    assert command.wait(300) == 4, command.said()
    assert set(unclean_rows()[COMPANIES]) == {"Series D"}  # nothing was left that anybody knows

    after = clients.work("after")
    report(before, during, after, f"{ended.changed - begun.changed:,} rows changed meanwhile, {worked:.0%} at work")


def report(
    before: tuple[Answers, Counted], during: tuple[Answers, Counted], after: tuple[Answers, Counted], meanwhile: str
) -> None:
    """Hold p99 of the API against the calmer of the phases without a run; that of the updates is reported only."""
    for place, name, goal in (
        (1, "updates over SQL, p99 during a backfill", None),
        (0, "API p99 during a backfill", 2.0),
    ):
        quiet, run, quiet_again = (open_loop.p99(phase[place].milliseconds) for phase in (before, during, after))
        note = f"{run:.1f} ms against {quiet:.1f} ms before and {quiet_again:.1f} ms after; {meanwhile}"
        hold(Ratio(name, goal, run / min(quiet, quiet_again), note=note))
