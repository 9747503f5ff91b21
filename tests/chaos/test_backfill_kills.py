"""A run that is cut off at any moment is right after `--resume`: each changed row is logged once.

BACKFILL_KILLS sets the number of kills of each kind (12; docs/benchmarks.md has 200).
"""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from ops.backfill.models import BackfillCheckpoint, BackfillRun, NormalizationLog
from tests.backfill_runs import (
    Command,
    address,
    execute,
    logged,
    normalized,
    store_many,
    stored,
    texts,
    valid_backup,
    wait_for,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("BACKFILL_KILLS", "12"))
ROWS = 50_000
GENTLE = ("--batch-size", "250", "--max-batch-size", "250", "--backoff-ms", "2")


@pytest.fixture
def rows() -> dict[int, str | None]:
    """50,000 companies, 60 % to change, and a backup that the gate accepts."""
    store_many(ROWS)
    valid_backup()
    return stored()


def take_up(directory: Path, *more: str) -> Command:
    begun = BackfillRun.objects.exists()
    return Command("--apply", *(("--resume",) if begun else ()), *more, directory=directory)


def assert_everything_is_right(before: dict[int, str | None]) -> None:
    after = stored()
    assert after == normalized(before)
    run = BackfillRun.objects.get()
    entries = logged(run)
    keys = [key for key, _, _ in entries]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(before)
    assert texts() == before
    assert all(before[key] == was and after[key] == now for key, was, now in entries)
    counted = BackfillCheckpoint.objects.get(run=run, table_name="portfolio_companies")
    assert (run.state, counted.changed) == ("completed", len(keys))


def test_kill_9_at_random_moments(rows: dict[int, str | None], tmp_path: Path) -> None:
    chance = random.Random(6)
    kills = rounds = in_the_middle = 0
    while kills < KILLS:
        rounds += 1
        while not BackfillRun.objects.filter(state="completed").exists():
            command = take_up(tmp_path, *GENTLE)
            begun = batches()
            # One kill in four comes while it starts, the others between its batches.
            if chance.random() < 0.75:
                wait_for(partial(writes, command, begun), "a batch")
            at = time.monotonic() + chance.uniform(0.0, 0.8)
            while time.monotonic() < at and command.process.poll() is None:
                time.sleep(0.001)
            if command.process.poll() is None and kills < KILLS:
                command.kill()
                wait_until_released()
                kills += 1
                in_the_middle += batches() > begun
            else:
                assert command.wait() in (0, 4), command.said()
        assert_everything_is_right(rows)
        if kills < KILLS:
            rows = again()
    assert in_the_middle > kills // 2
    print(
        f"{kills} kills in {rounds} runs, "
        f"{in_the_middle} of them after the process had written batches"
    )


def test_a_killed_transactional_run_leaves_nothing_behind(
    rows: dict[int, str | None], tmp_path: Path
) -> None:
    small = ("--batch-size", "50", "--max-batch-size", "50")
    command = take_up(tmp_path, *small, "--strategy", "transactional")
    with transaction.atomic():
        # With the run's row locked it comes neither to its next sign of life nor to its end.
        wait_for(lambda: execute(HELD_AMONG_ITS_BATCHES), "its batches")
        command.kill()
    wait_until_released()
    assert stored() == rows
    assert not NormalizationLog.objects.exists()
    assert take_up(tmp_path, *GENTLE).wait() == 4
    assert_everything_is_right(rows)


HELD_AMONG_ITS_BATCHES = """
SELECT 1 FROM stage_migration_control
WHERE state = 'running' AND waiting_for LIKE '%of one transaction' FOR UPDATE
"""
HOLDERS_SESSION = (
    "SELECT 1 FROM pg_stat_activity JOIN stage_migration_control ON pid = lease_backend"
)


def wait_until_released() -> None:
    """Wait until the server has ended the killed process's session: until then the run is held."""
    wait_for(lambda: not execute(HOLDERS_SESSION), "the server to see it")


def writes(command: Command, begun: int) -> bool:
    return batches() > begun or command.process.poll() is not None


def batches() -> int:
    return sum(BackfillRun.objects.values_list("batch", flat=True))


def again() -> dict[int, str | None]:
    """The tables as before the first run, with keys that go on."""
    execute(
        "TRUNCATE stage_normalization_log, stage_migration_checkpoint, "
        "stage_migration_control, portfolio_companies"
    )
    store_many(ROWS)
    return stored()


@pytest.mark.parametrize("moment", ["active", "idle in transaction"])
def test_sessions_ended_in_and_between_statements(
    rows: dict[int, str | None], tmp_path: Path, moment: str
) -> None:
    """`idle in transaction`: between the batch's statement and its commit."""
    chance = random.Random(8)
    ended = rounds = 0
    while ended < KILLS:
        rounds += 1
        while not BackfillRun.objects.filter(state="completed").exists():
            command = take_up(tmp_path, *GENTLE)
            with psycopg.connect(address(), autocommit=True) as other:
                while command.process.poll() is None:
                    # Poll all the time, because the moment is short; then let some batches pass.
                    if ended < KILLS and other.execute(END_SESSION, [moment]).fetchall():
                        ended += 1
                        time.sleep(chance.uniform(0.02, 0.3))
            assert command.wait() in (0, 1, 4), command.said()
        assert_everything_is_right(rows)
        if ended < KILLS:
            rows = again()
    print(f"{ended} sessions ended while {moment}, in {rounds} runs")


END_SESSION = """
SELECT pg_terminate_backend(a.pid)
FROM pg_stat_activity a JOIN stage_migration_control c ON c.lease_backend = a.pid
WHERE a.state = %s AND c.batch > 0
"""


def put_to_sleep(command: Command, *, in_a_batch: bool) -> None:
    """SIGSTOP the process between two batches, or inside one that has written."""
    wanted = [("idle in transaction", True)] if in_a_batch else [("idle", False)]
    for _ in range(2000):
        if not in_a_batch:
            wait_for(lambda: execute(RESTS), "its rest")
        command.signal(signal.SIGSTOP)
        # A statement that is under way ends without the client.
        wait_for(lambda: "active" not in dict(execute(HOLDER)), "its end")
        if execute(HOLDER) == wanted:
            return
        command.signal(signal.SIGCONT)
        time.sleep(0.001)
    raise AssertionError(f"never stopped while {wanted}: {command.said()}")


HOLDER = """
SELECT a.state, a.backend_xid IS NOT NULL
FROM pg_stat_activity a JOIN stage_migration_control c ON c.lease_backend = a.pid
"""
RESTS = """
SELECT 1 FROM pg_stat_activity a JOIN stage_migration_control c ON c.lease_backend = a.pid
WHERE a.state = 'idle' AND a.state_change < clock_timestamp() - interval '50 ms'
"""


def test_a_process_that_slept_through_a_takeover_writes_nothing(
    rows: dict[int, str | None], tmp_path: Path
) -> None:
    asleep = take_up(tmp_path, *GENTLE, "--lease-seconds", "3600", "--backoff-ms", "1000")
    wait_for(BackfillCheckpoint.objects.filter(changed__gt=0).exists, "the first batch")
    put_to_sleep(asleep, in_a_batch=False)
    directory = tmp_path / "second"
    directory.mkdir()
    refused = take_up(directory, *GENTLE)
    assert refused.wait() == 1, refused.said()
    assert f"process {asleep.process.pid}" in refused.said()
    # Age the heartbeat instead of waiting for the end of the lease.
    execute("UPDATE stage_migration_control SET heartbeat_at = heartbeat_at - interval '3601 s'")
    taken_over(asleep, directory, rows)


def test_a_process_that_slept_inside_a_batch_loses_its_row_locks(
    rows: dict[int, str | None], tmp_path: Path
) -> None:
    """The server ends its session before the lease expires, so clients get its rows."""
    asleep = take_up(tmp_path, *GENTLE, "--lease-seconds", "2")
    wait_for(BackfillCheckpoint.objects.filter(changed__gt=0).exists, "the first batch")
    put_to_sleep(asleep, in_a_batch=True)
    directory = tmp_path / "second"
    directory.mkdir()
    taken_over(asleep, directory, rows)


def taken_over(asleep: Command, directory: Path, before: dict[int, str | None]) -> None:
    second = take_up(directory, *GENTLE)
    assert second.wait() in (0, 4), second.said()
    assert_everything_is_right(before)
    done = stored()
    execute("UPDATE portfolio_companies SET stage = 'Series A' WHERE id = %s", [min(done)])
    asleep.signal(signal.SIGCONT)
    assert asleep.wait() == 1
    assert stored() == done | {min(done): "Series A"}
    assert "taken over" in asleep.said()
    assert BackfillRun.objects.get().state == "completed"


def test_an_immediate_server_stop_loses_no_batch_and_repeats_none(
    postgres_server: Any, tmp_path: Path
) -> None:
    """`immediate`: the server's processes die where they stand, and it recovers from its WAL."""
    from django.core.management import call_command

    original = dict(connection.settings_dict)
    connection.close()
    chance = random.Random(7)
    try:
        connection.settings_dict.update(_address_of(postgres_server.url()))
        call_command("migrate", verbosity=0, skip_checks=True)
        store_many(20_000)
        valid_backup()
        before = stored()
        stops = 0
        while not BackfillRun.objects.filter(state="completed").exists():
            command = Command(
                "--apply", *(("--resume",) if BackfillRun.objects.exists() else ()), *GENTLE,
                directory=tmp_path, url=postgres_server.url(),
            )  # fmt: skip
            while command.process.poll() is None and stops < max(4, KILLS // 5):
                time.sleep(chance.uniform(0.2, 0.8))
                connection.close()
                postgres_server.server.stop("immediate")
                stops += 1
                postgres_server.start()
            assert command.wait() in (0, 1, 4), command.said()
        assert_everything_is_right(before)
        print(f"{stops} immediate stops")
    finally:
        connection.close()
        connection.settings_dict.clear()
        connection.settings_dict.update(original)


def _address_of(url: str) -> dict[str, Any]:
    from stagenorm.env import database_settings

    given = database_settings(url)
    return {
        key: given[key] for key in ("NAME", "HOST", "PORT", "USER", "PASSWORD") if key in given
    }
