"""A run waits while a replica lags, reports it, and continues when the replica has caught up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from stagenorm.env import database_settings
from tests.backfill_runs import QUICK, Heard, begin, execute, store, stored, wait_for, work
from tests.servers import PostgresServer

pytestmark = pytest.mark.django_db(transaction=True)

PARTS = ("NAME", "HOST", "PORT", "USER", "PASSWORD")


@pytest.fixture
def on_its_own_server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """The application's connection leads to a server of this test's own, migrated."""
    before = dict(connection.settings_dict)
    given = database_settings(postgres_server.url())
    connection.close()
    connection.settings_dict.update({part: given[part] for part in PARTS})
    try:
        call_command("migrate", verbosity=0, skip_checks=True)
        yield postgres_server
    finally:
        connection.close()
        connection.settings_dict.update({part: before[part] for part in PARTS})


@pytest.fixture
def replica(on_its_own_server: PostgresServer) -> Iterator[PostgresServer]:
    """A hot standby of it."""
    standby = PostgresServer()
    try:
        standby.follow(on_its_own_server)
        yield standby
    finally:
        standby.remove()


def test_a_run_waits_for_a_replica_that_lags(replica: PostgresServer) -> None:
    store(["Series A"] * 300)

    def lags() -> bool:
        execute(
            "INSERT INTO portfolio_fund (name, created_at) VALUES (gen_random_uuid()::text, now())"
        )
        lag = execute("SELECT replay_lag > '0.5 s' FROM pg_stat_replication")
        return bool(lag and lag[0][0])

    with psycopg.connect(replica.url(), autocommit=True) as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        wait_for(lags, "the replica to lag")
        shown: list[str] = []

        def tell(event: str, /, **fields: Any) -> None:
            heard(event, **fields)
            if event == "waiting":
                shown.append(execute("SELECT waiting_for FROM stage_migration_control")[0][0])
                standby.execute("SELECT pg_wal_replay_resume()")

        heard = Heard()
        finish = work(begin(replace(QUICK, max_lag_seconds=0.4)), tell)
    assert finish.run.state == "completed"
    assert set(stored().values()) == {"series-a"}
    reason = heard.all("waiting")[0]["reason"]
    assert reason.startswith("replica walreceiver is ")
    assert reason.endswith("(limit 0.4 s)")
    assert shown[0] == reason
