"""What clients notice of a run that goes on beside them: nothing fails, and p99 of the API stays
within twice.

Two clients read companies by stage, page after page, over HTTP. Beside them pairs of the same rows
are updated in SQL, the greatest key first: against the run's order, the way to meet it in a
deadlock. These updates also make stages messy again. Everything shares the machine's cores: two
workers, the run's process, PostgreSQL, and the clients.

The same load is measured in turns: before the run, while it works, while it is paused, and so on,
at last after it. The median of p99 over the turns at work is held against that over the turns
without, so that what others do on the machine for a while counts for neither.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from urllib.parse import urlencode

import pytest

from normalization.stages import Stage
from ops.backfill import control
from ops.backfill.models import BackfillRun
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests.backfill_runs import (
    COMPANIES,
    MESSY,
    Command,
    address,
    execute,
    not_derived,
    store_many,
    undecided,
    valid_backup,
    wait_for,
)
from tests.benchmarks import open_loop
from tests.benchmarks.harness import Ratio, hold
from tests.benchmarks.open_loop import Answers, p99
from tests.pgbench import Counted, Pgbench
from tests.servers import Service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

FUNDS = 5
ROWS = int(
    os.environ.get("BACKFILL_TRAFFIC_ROWS", "1200000")
)  # so many that the run outlasts its turns
TURNS, SECONDS, WARM_SECONDS = 3, 8, 5
READS, UPDATES = 40, 50  # a second

UPDATE = f"""
\\set a random(:first, :last)
\\set b random(:first, :last)
BEGIN;
UPDATE portfolio_companies
SET stage_raw = (ARRAY['{"','".join(MESSY)}'])[1 + :a % {len(MESSY)}], stage = NULL,
    updated_at = now()
WHERE id = greatest(:a, :b);
UPDATE portfolio_companies SET sector = 'sector ' || :b % 20, updated_at = now()
WHERE id = least(:a, :b);
COMMIT;
"""


Timed = Answers | Counted


class Reader:
    """Lists companies of one stage of a fund in one of the indexed orders, five pages at the most,
    then others.
    """

    def __init__(self, funds: list[int], seed: int) -> None:
        self.funds, self.chance = funds, Random(seed)
        self.list, self.pages = "", 0

    def __call__(self, answer: bytes) -> str:
        """The path of the next page, going by the last `answer`."""
        cursor = json.loads(answer).get("next_cursor") if answer else None
        if cursor and self.pages < 5:
            self.pages += 1
            return f"{self.list}&{urlencode({'cursor': cursor})}"
        asked = {
            "stage": self.chance.choice(list(Stage)),
            "sort": self.chance.choice(["id", "-id", "name", "-name"]),
        }
        self.list, self.pages = (
            f"/api/funds/{self.chance.choice(self.funds)}/companies?{urlencode(asked)}",
            1,
        )
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


class Run:
    """`normalize_stages --apply` as it is by default (back-off, batch sizes), steered as an
    operator does.
    """

    def __init__(self, directory: Path) -> None:
        self.command = Command("--apply", directory=directory)
        wait_for(
            lambda: BackfillRun.objects.filter(batch__gte=1).exists(), "the run's first batch"
        )

    def row(self) -> BackfillRun:
        """The run as it is now."""
        return BackfillRun.objects.get()

    def pause(self) -> None:
        """Pause it; returns when its process is at rest."""
        control.pause(self.row().pk, "benchmark")
        wait_for(lambda: self.row().waiting_for, "the run to be at rest")

    def resume(self) -> None:
        """Let it go on; returns when a batch is done."""
        before = control.resume(self.row().pk, "benchmark").batch
        wait_for(lambda: self.row().batch > before, "a batch after the pause")

    def beside(self, clients: Clients, name: str) -> tuple[Answers, Counted]:
        """What clients meet while it works, which it must do all the time."""
        begun = self.row()
        met = clients.work(name)
        ended = self.row()
        assert self.command.process.poll() is None, (
            f"It was over too soon: set BACKFILL_TRAFFIC_ROWS={ROWS * 2}"
        )
        assert (begun.state, ended.state) == ("running", "running")
        assert (
            ended.working_seconds - begun.working_seconds > 0.2 * SECONDS
        )  # it did not just wait for others
        return met

    def finish(self) -> None:
        """Wait for its end: every row is derived, and only the undecided text has no stage."""
        assert self.command.wait(300) == 4, self.command.said()
        assert not_derived() == {}
        assert set(undecided()[COMPANIES]) == {"Series X"}


def test_clients_of_the_api_hardly_notice_a_run(
    granian_server: Callable[..., Service], tmp_path: Path
) -> None:
    for _ in range(FUNDS):
        store_many(ROWS // FUNDS)
    execute("VACUUM ANALYZE portfolio_companies")
    valid_backup()
    funds = list(Fund.objects.values_list("pk", flat=True))
    clients = Clients(
        granian_server(workers=2),
        create_key("reader")[1],
        [Reader(funds, seed) for seed in range(2)],
        tmp_path,
    )
    clients.work("warm", WARM_SECONDS)
    quiet, busy = [clients.work("before")], []
    run = Run(tmp_path)
    for turn in range(TURNS):
        busy.append(run.beside(clients, f"beside{turn}"))
        if turn < TURNS - 1:
            run.pause()
            quiet.append(clients.work(f"paused{turn}"))
            run.resume()
    run.finish()
    quiet.append(clients.work("after"))
    hold(
        in_turns(
            "updates over SQL, p99 during a backfill",
            None,
            [met for _, met in quiet],
            [met for _, met in busy],
        )
    )
    hold(
        in_turns(
            "API p99 during a backfill", 2.0, [met for met, _ in quiet], [met for met, _ in busy]
        )
    )


def in_turns(
    name: str, goal: float | None, quiet: Sequence[Timed], busy: Sequence[Timed]
) -> Ratio:
    """The median of p99 over the busy turns against that over the quiet ones around them."""
    calm, at_work = ([p99(met.milliseconds) for met in turns] for turns in (quiet, busy))
    order = [f"{ms:.1f}" for pair in zip(calm, at_work, strict=False) for ms in pair]
    note = f"quiet and at work in turns: {', '.join(order)}, {calm[-1]:.1f} ms"
    return Ratio(name, goal, median(at_work) / median(calm), note=note)
