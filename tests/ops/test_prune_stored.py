"""Old stored rows are deleted in batches: those that the settings name, and no ledger's."""

from __future__ import annotations

import io
import json
import os
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings as declared
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import Model
from django.utils import timezone
from pytest_django import Settings

from normalization import rollout_store
from normalization.models import (
    ObservedSpelling,
    OutcomeTally,
    RolloutChange,
    ServedVersion,
    StageDecision,
)
from normalization.rollout import Mode
from normalization.stages import Stage
from ops import pruning
from ops.alerts.models import DeliveryOutcome, Heartbeat, WebhookDelivery
from ops.gates.facts import collect
from stagenorm.portfolio.models import Fund, Simulation
from tests.backfill_runs import address, execute
from tests.backup_faults import schema
from tests.children import start
from tests.decided import decide
from tests.servers import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def simulation(at: datetime) -> None:
    fund, _ = Fund.objects.get_or_create(name="Alder")
    made = Simulation.objects.create(
        fund=fund, client="c", parameters={}, profile="p", seed=1, summary={}
    )
    Simulation.objects.filter(pk=made.pk).update(created_at=at)


def tally(at: datetime) -> None:
    OutcomeTally.objects.create(
        minute=at,
        endpoint="e",
        client=str(uuid.uuid4()),
        mode="off",
        outcome="unknown",
        requests=1,
    )


def spelling(at: datetime) -> None:
    ObservedSpelling.objects.create(
        day=at.date(),
        spelling=str(uuid.uuid4()),
        endpoint="e",
        client="c",
        count=1,
        first_seen=at,
        last_seen=at,
    )


def heartbeat(at: datetime) -> None:
    made = Heartbeat.objects.create(fingerprint="f")
    Heartbeat.objects.filter(pk=made.pk).update(received_at=at)


def served_version(at: datetime) -> None:
    ServedVersion.objects.create(version=1, name=str(uuid.uuid4()), served_at=at)


STORE: dict[str, Callable[[datetime], None]] = {
    "portfolio.Simulation.created_at": simulation,
    "normalization.OutcomeTally.minute": tally,
    "normalization.ServedVersion.served_at": served_version,
    "normalization.ObservedSpelling.day": spelling,
    "ops.Heartbeat.received_at": heartbeat,
}
PLACES = list(declared.KEPT_DAYS)


@pytest.fixture(autouse=True)
def _the_day_does_not_end() -> None:
    """Wait for the next day if less than a minute is left: rows age by whole days."""
    wait_until(lambda: timezone.now() < midnight(-1) - timedelta(minutes=1), "the next day", 90)


def midnight(days_ago: int = 0) -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(
        days=days_ago
    )


def moments(place: str) -> list[Any]:
    """The moments of a table's rows, oldest first."""
    name, _, moment = place.rpartition(".")
    model: type[Model] = apps.get_model(name)
    return sorted(model._default_manager.values_list(moment, flat=True))


def as_stored(place: str, at: datetime) -> datetime | date:
    return at.date() if place.endswith(".day") else at


def command(*arguments: str) -> str:
    output = io.StringIO()
    call_command("prune_stored", *arguments, stdout=output)
    return output.getvalue()


def many_heartbeats(rows: int) -> None:
    """Store heartbeats of 90 to 60 days ago, not in the order of their ids, and one of today."""
    execute(
        "INSERT INTO ops_heartbeat (received_at, fingerprint) "
        "SELECT now() - interval '60 days' - interval '30 days' * random(), '' "
        "FROM generate_series(1, %s)",
        [rows],
    )
    heartbeat(timezone.now())


@pytest.mark.parametrize("place", PLACES)
def test_rows_go_when_their_days_are_over_and_not_a_moment_before(
    place: str, settings: Settings
) -> None:
    settings.KEPT_DAYS = {place: 7}
    stays = [midnight(7), midnight(6), timezone.now()]
    goes = [midnight(7) - timedelta(seconds=1), midnight(7) - timedelta(seconds=2), midnight(100)]
    for at in [*goes, *stays]:
        STORE[place](at)
    [done] = pruning.prune()
    assert (done.old, done.deleted, done.until) == (3, 3, midnight(7))
    assert moments(place) == [as_stored(place, at) for at in stays]


def test_more_rows_of_one_day_than_a_batch_holds_all_go(settings: Settings) -> None:
    settings.KEPT_DAYS = {"normalization.ObservedSpelling.day": 7}
    execute(
        "INSERT INTO normalization_observedspelling "
        "(day, spelling, stage, endpoint, client, count, first_seen, last_seen) "
        "SELECT '2020-01-01', n, '', 'e', 'c', 1, now(), now() FROM generate_series(1, %s) AS n",
        [2 * pruning.BATCH + 1],
    )
    spelling(timezone.now())
    assert pruning.prune()[0].deleted == 2 * pruning.BATCH + 1
    assert ObservedSpelling.objects.count() == 1


@pytest.mark.parametrize("place", PLACES)
def test_the_newest_row_stays_however_old_it_is(place: str, settings: Settings) -> None:
    settings.KEPT_DAYS = {place: 7}
    for days in (400, 300, 200):
        STORE[place](midnight(days))
    pruning.prune()
    assert moments(place) == [as_stored(place, midnight(200))]


@pytest.mark.parametrize("place", PLACES)
def test_zero_days_keep_a_table_for_ever(place: str, settings: Settings) -> None:
    settings.KEPT_DAYS = {place: 0}
    for days in (9_000, 0):
        STORE[place](midnight(days))
    assert "for ever" in command()
    assert len(moments(place)) == 2


def test_what_is_pruned_is_no_ledger_is_referred_to_by_nothing_and_is_found_by_an_index() -> None:
    assert set(PLACES) == set(STORE)
    for place in PLACES:
        name, _, moment = place.rpartition(".")
        table = apps.get_model(name)._meta.db_table
        assert not execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal",
            [table],
        )
        assert not execute(
            "SELECT conname FROM pg_constraint WHERE confrelid = %s::regclass", [table]
        )
        first_columns = execute(
            "SELECT attname FROM pg_index "
            "JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
            "WHERE indrelid = %s::regclass",
            [table],
        )
        assert (moment,) in first_columns


def test_ledgers_stay_whatever_their_age(settings: Settings) -> None:
    settings.KEPT_DAYS = dict.fromkeys(PLACES, 1)
    rollout_store.change(Mode.WARN, actor="ann", source="tests", reason="long ago")
    WebhookDelivery.objects.create(endpoint="heartbeat", outcome=DeliveryOutcome.ALIVE.value)
    decide("Angel", Stage.SEED)
    ledgers = (
        ("normalization_rolloutchange", "created_at"),
        ("ops_webhookdelivery", "received_at"),
        ("normalization_stagedecision", "created_at"),
        ("normalization_decisionbatch", "created_at"),
    )
    for table, moment in ledgers:
        with schema(
            f"ALTER TABLE {table} DISABLE TRIGGER USER", f"ALTER TABLE {table} ENABLE TRIGGER USER"
        ):
            execute(f"UPDATE {table} SET {moment} = '2001-01-01Z'")
    command()
    kept = (
        RolloutChange.objects.count(),
        WebhookDelivery.objects.count(),
        StageDecision.objects.count(),
    )
    assert kept == (1, 1, 1)


def test_a_dry_run_counts_what_a_run_deletes_and_deletes_nothing(settings: Settings) -> None:
    settings.KEPT_DAYS = {"ops.Heartbeat.received_at": 7, "normalization.OutcomeTally.minute": 7}
    many_heartbeats(2_500)
    tally(midnight(100))
    tally(midnight())
    foreseen = json.loads(command("--dry-run", "--json"))
    assert (Heartbeat.objects.count(), OutcomeTally.objects.count()) == (2_501, 2)
    assert (foreseen["dry_run"], foreseen["deleted"]) == (True, 0)
    assert [table["old"] for table in foreseen["tables"]] == [2_500, 1]
    assert "Would delete 2,501 rows; nothing was touched." in command("--dry-run")
    done = json.loads(command("--json"))
    assert [table["deleted"] for table in done["tables"]] == [2_500, 1]
    assert (Heartbeat.objects.count(), OutcomeTally.objects.count()) == (1, 1)
    assert command().splitlines()[-1] == "Deleted 0 rows."


# One row of the fourth batch cannot be deleted while somebody holds the lock.
HELD_UP = """
CREATE FUNCTION public.held_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(57); RETURN OLD; END $$;
CREATE TRIGGER held_up BEFORE DELETE ON ops_heartbeat
    FOR EACH ROW WHEN (OLD.fingerprint = 'held up')
EXECUTE FUNCTION public.held_up();
UPDATE ops_heartbeat SET fingerprint = 'held up'
WHERE id = (SELECT id FROM ops_heartbeat ORDER BY received_at OFFSET 3500 LIMIT 1);
"""
NOT_HELD_UP = "DROP TRIGGER held_up ON ops_heartbeat; DROP FUNCTION public.held_up()"
WAITING = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 57 AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def test_a_run_that_is_killed_has_finished_batches_and_the_next_one_does_the_rest() -> None:
    many_heartbeats(10_000)
    oldest = moments("ops.Heartbeat.received_at")
    environment = {**os.environ, "DATABASE_URL": address(), "HEARTBEATS_KEPT_DAYS": "30"}
    with schema(HELD_UP, NOT_HELD_UP):
        with schema("SELECT pg_advisory_lock(57)", "SELECT pg_advisory_unlock(57)"):
            process = start(
                [sys.executable, "manage.py", "prune_stored"], cwd=ROOT, env=environment
            )
            try:
                wait_until(lambda: bool(execute(WAITING)), "the fourth batch to be under way")
                [[session]] = execute(WAITING)
                assert Heartbeat.objects.count() == len(oldest) - 3 * pruning.BATCH
            finally:
                process.kill()
                process.wait()
        # The killed process's session may still end its last statement.
        there = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: not execute(there, [session]), "its session's end")
    left = moments("ops.Heartbeat.received_at")
    assert 1 < len(left) < len(oldest)
    assert (len(oldest) - len(left)) % pruning.BATCH == 0
    assert left == oldest[-len(left) :]
    command()
    assert moments("ops.Heartbeat.received_at") == oldest[-1:]


def test_a_locked_row_is_left_for_the_next_run(settings: Settings) -> None:
    settings.KEPT_DAYS = {"ops.Heartbeat.received_at": 30}
    many_heartbeats(2_500)
    with psycopg.connect(address()) as other:
        held = "(SELECT id FROM ops_heartbeat ORDER BY received_at OFFSET 10 LIMIT 3)"
        other.execute(f"SELECT 1 FROM ops_heartbeat WHERE id IN {held} FOR UPDATE")
        with schema("SET lock_timeout = '1s'", "RESET lock_timeout"):
            [done] = pruning.prune()
    assert (done.old, done.deleted) == (2_500, 2_497)
    assert pruning.prune()[0].deleted == 3


def test_two_runs_at_once_share_the_work(settings: Settings) -> None:
    settings.KEPT_DAYS = {"ops.Heartbeat.received_at": 30}
    many_heartbeats(20_000)

    def run() -> int:
        try:
            return pruning.prune()[0].deleted
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        deleted = sum(each.result() for each in [pool.submit(run), pool.submit(run)])
    assert deleted == 20_000
    assert Heartbeat.objects.count() == 1


def test_the_gates_see_the_same_requests_before_and_after(settings: Settings) -> None:
    settings.KEPT_DAYS = {"normalization.OutcomeTally.minute": 1}
    for hours in range(60):
        tally(timezone.now() - timedelta(hours=hours))
    before = collect(0)
    assert pruning.prune()[0].deleted >= 12
    after = collect(0)
    assert (after.traffic, after.traffic.requests) == (before.traffic, 24)


def test_a_database_that_fails_is_an_error_that_says_what_to_do(settings: Settings) -> None:
    settings.KEPT_DAYS = {"ops.Heartbeat.received_at": 30}
    execute("ALTER TABLE ops_heartbeat RENAME TO gone")
    try:
        with pytest.raises(CommandError, match="run it again for the rest"):
            command()
    finally:
        execute("ALTER TABLE gone RENAME TO ops_heartbeat")
