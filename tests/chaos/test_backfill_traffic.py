"""Under traffic on the same rows no deadlock reaches a client, and no update is lost.

pgbench is the client: three lists of companies to one transaction that updates two rows, the
greatest key first. That is against the run's order and could end in a deadlock. The traffic lasts
BACKFILL_TRAFFIC_SECONDS (5). tests/benchmarks/test_backfill_traffic.py measures over HTTP how long
clients wait beside a run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ops.backfill import guards
from ops.backfill.models import NormalizationLog
from tests.backfill_runs import (
    Command,
    address,
    execute,
    normalized,
    store_many,
    stored,
    valid_backup,
    written,
)
from tests.pgbench import Pgbench

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

SECONDS = int(os.environ.get("BACKFILL_TRAFFIC_SECONDS", "5"))
ROWS = 200_000

LIST = """
\\set at random(1, :rows)
SELECT id, name, stage FROM portfolio_companies
WHERE fund_id = :fund AND id > :first + :at ORDER BY id LIMIT 50;
"""
UPDATE = """
\\set a random(1, :rows)
\\set b random(1, :rows)
BEGIN;
UPDATE portfolio_companies SET sector = 'x', stage_raw = 'Series A', stage = 'series-a'
WHERE id = :first + greatest(:a, :b);
UPDATE portfolio_companies SET sector = 'y' WHERE id = :first + least(:a, :b);
COMMIT;
"""


def test_clients_meet_no_deadlock_and_lose_no_update(tmp_path: Path) -> None:
    store_many(ROWS)
    execute("ANALYZE portfolio_companies")
    execute("ALTER TABLE stage_migration_control ALTER COLUMN id RESTART WITH 1")
    valid_backup()
    first, fund = execute("SELECT min(id) - 1, min(fund_id) FROM portfolio_companies")[0]
    traffic = Pgbench(
        {LIST: 3, UPDATE: 1}, {"rows": ROWS, "first": first, "fund": fund},
        url=address(), directory=tmp_path / "traffic", rate=300, seconds=SECONDS,
    )  # fmt: skip
    statuses = runs_and_undos(traffic, tmp_path)
    counted = traffic.wait()
    assert statuses
    assert set(statuses) <= {0, 4}
    assert (counted.failed, counted.deadlocks) == (0, 0)
    assert NormalizationLog.objects.exists()
    assert guards.unfinished() is None
    raws = {key: stage if raw is None else raw for key, (raw, stage) in written().items()}
    wanted = normalized(raws)
    assert Command("--apply", directory=tmp_path).wait() == 4
    assert stored() == wanted


def runs_and_undos(traffic: Pgbench, directory: Path) -> list[int]:
    """Return the exit statuses of one run after another, as long as the traffic lasts."""
    statuses: list[int] = []
    while traffic.process.poll() is None:
        number = len(statuses) + 1
        wish = ["--undo", str(number - 1)] if number % 2 == 0 else ["--apply"]
        (directory / f"run{number}").mkdir()
        statuses.append(Command(*wish, directory=directory / f"run{number}").wait())
    return statuses
