"""What a run costs beside the single bare UPDATE that does the same without log, checkpoint and
lease.

BACKFILL_ROWS (1,000,000) rows. The first run after an upgrade writes all of them, because it
copies their text to `stage_raw`. A later derivation writes 60 %. BACKFILL_LARGE=1 measures
10,000,000 rows as well (some minutes).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest

from normalization.stages import normalize, stage_name
from ops.backfill.models import BackfillRun, RunOptions
from tests.backfill_runs import (
    CANONICAL,
    MESSY,
    Command,
    Heard,
    begin,
    execute,
    store_many,
    valid_backup,
    work,
)
from tests.benchmarks.harness import Ratio, hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]

ROWS = int(os.environ.get("BACKFILL_ROWS", "1000000"))
ROUNDS = 3
Act = Callable[[], None]
FLAT_OUT = RunOptions(backoff_ms=0)
# All rows: the text is copied, and the stage is derived.
BARE_FILL = """
UPDATE portfolio_companies AS t SET stage_raw = t.stage, stage = spelling.stage
FROM unnest(%s::text[], %s::text[]) AS spelling (raw, stage) WHERE t.stage = spelling.raw
"""
# 60 % of the rows: the stage is derived again.
BARE_DERIVE = """
UPDATE portfolio_companies AS t SET stage = spelling.stage
FROM unnest(%s::text[], %s::text[]) AS spelling (raw, stage) WHERE t.stage_raw = spelling.raw
"""


def load(rows: int, *, filled: bool = False) -> None:
    """The tables as before a run, with everything that loading left behind written out."""
    execute(
        "TRUNCATE stage_normalization_log, stage_migration_checkpoint, stage_migration_control, "
        "portfolio_companies"
    )
    store_many(rows, filled=filled)
    execute("VACUUM ANALYZE portfolio_companies")
    execute("CHECKPOINT")


def seconds(act: Callable[[], object]) -> float:
    start = perf_counter()
    act()
    return perf_counter() - start


def bare(statement: str, raws: Sequence[str]) -> None:
    execute(statement, [raws, [stage_name(normalize(raw)) for raw in raws]])


def bare_fill() -> None:
    bare(BARE_FILL, [*MESSY, *CANONICAL, "Series X"])


def bare_derive() -> None:
    bare(BARE_DERIVE, MESSY)


def run() -> None:
    assert work(begin(FLAT_OUT)).run.state == "completed"


def compared(bare: Act, *, filled: bool) -> list[tuple[float, float, float, float]]:
    """Return for each round: seconds of a run, of the bare UPDATE, of an idle run; log bytes."""
    rounds = []
    for number in range(ROUNDS):
        times = {}
        for act in (bare, run) if number % 2 == 0 else (run, bare):
            load(ROWS, filled=filled)
            times[act] = seconds(act)
            if act is run:
                idle = seconds(run)
                size = execute("SELECT pg_total_relation_size('stage_normalization_log')")[0][0]
        rounds.append((times[run], times[bare], idle, float(size)))
    return rounds


def test_a_first_run_costs_little_more_than_the_bare_update_of_both_columns() -> None:
    rounds = compared(bare_fill, filled=False)
    note = f"{ROWS:,} rows, text and stage"
    hold(Ratio("backfill ÷ bare UPDATE", 1.6, median(a / b for a, b, *_ in rounds), note=note))
    idle = median(idle / b for _, b, idle, _ in rounds)
    hold(Ratio("backfill, idle second pass ÷ bare UPDATE", 0.05, idle))
    rate = ROWS / median(a for a, *_ in rounds)
    hold(Ratio("backfill, changed rows a second", None, rate, unit="rows/s"))
    size = rounds[-1][-1] / ROWS
    hold(Ratio("backfill, log for 1,000,000 changed rows", 10.0, size, unit="MB"))


def test_a_later_derivation_costs_little_more_than_the_bare_update_of_the_stage() -> None:
    rounds = compared(bare_derive, filled=True)
    ratio = median(a / b for a, b, *_ in rounds)
    note = f"{ROWS:,} rows, 60 % to change"
    hold(Ratio("backfill, later derivation ÷ bare UPDATE", 1.3, ratio, note=note))


def test_the_process_stays_small(tmp_path: Path) -> None:
    load(0)
    valid_backup()
    store_many(ROWS)
    command = Command("--apply", "--backoff-ms", "0", directory=tmp_path)
    highest = 0.0
    while command.process.poll() is None:
        highest = max(highest, high_water_mib(command.process.pid))
        time.sleep(0.01)
    assert command.process.returncode == 4, command.said()
    hold(Ratio("backfill, memory of the process", 100.0, highest, unit="MiB"))


def high_water_mib(process: int) -> float:
    """The most memory that a process has used so far; 0 when it has just ended.

    Not the rusage of its end: that counts the test's own memory, of which the process was forked.
    """
    try:
        facts = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", facts)
    return int(found[1]) / 1024 if found else 0.0


def test_the_estimate_of_the_plan_is_of_the_right_size() -> None:
    from ops.backfill import columns
    from ops.backfill.plan import make_plan

    load(ROWS // 4)
    estimated = make_plan(columns.find()).seconds
    assert estimated
    hold(Ratio("backfill, plan's estimate ÷ duration", None, estimated / seconds(run)))


@pytest.mark.skipif(
    os.environ.get("BACKFILL_LARGE") != "1", reason="BACKFILL_LARGE=1 measures 10,000,000 rows"
)
def test_the_rate_holds_at_ten_times_the_rows() -> None:
    rates = []
    for rows in (ROWS, 10 * ROWS):
        load(rows)
        heard = Heard()
        start = perf_counter()
        assert work(begin(replace(FLAT_OUT)), heard).run.state == "completed"
        rates.append(rows / (perf_counter() - start))
    assert BackfillRun.objects.filter(state="completed").exists()
    hold(Ratio("backfill, rate at 10 × the rows ÷ rate", 0.8, rates[1] / rates[0], at_least=True,
               note=f"{rates[0]:,.0f} and {rates[1]:,.0f} rows/s"))  # fmt: skip
