"""A database that is read-only, then fails over: reads work, writes are 503, no restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest

from tests import children
from tests.servers import ROOT, PostgresServer, Service, get, wait_until

WRITES = (
    (
        "POST",
        "/api/portfolio/strategies",
        {"fund_id": 1, "name": "n", "stage_allocation": {"seed": 1}},
    ),
    (
        "POST",
        "/api/monte-carlo/simulate",
        {"fund_id": 1, "stage_distribution": [{"stage": "seed", "weight": 1}]},
    ),
    ("PATCH", "/api/portfolio/strategies/1", {"name": "m"}),
)
COMMANDS = {
    "create_api_key x": "The database is read-only: ",
    "stage_mode set warn --reason x": "The database is read-only: ",
    "create_backup": "The database is read-only: ",
}


@dataclass
class Pair:
    """A primary and its standby, and a service that may use either."""

    primary: PostgresServer
    standby: PostgresServer
    service: Service
    key: str = ""

    def statuses(self) -> tuple[int, set[int]]:
        """The status of a read, and those of the writes; each 503 has a time to retry."""
        read = self.ask("GET", "/api/funds")
        wrote = [self.ask(*each) for each in WRITES]
        for status, headers in (read, *wrote):
            assert status != 503 or int(headers["Retry-After"]) >= 1
        return read[0], {status for status, _ in wrote}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request with the key; return status and headers."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Api-Key {self.key}", "Content-Type": "application/json"}
        address = self.service.address + path
        request = urllib.request.Request(address, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.headers

    def ready(self) -> tuple[int, str, str]:
        """The status of /readyz, its word, and what it has about writes."""
        status, _, body = get(f"{self.service.address}/readyz")
        found = json.loads(body)
        return status, found["status"], found["checks"].get("writes", "")


def both(first: PostgresServer, second: PostgresServer, session: str) -> str:
    """The libpq address of two servers, in this order."""
    hosts = ",".join(str(each.server.socket_directory) for each in (first, second))
    parts = {"host": hosts, "port": "5432,5432", "user": "stagenorm"}
    query = urlencode({**parts, "target_session_attrs": session}, quote_via=quote)
    return f"postgresql:///stagenorm?{query}"


def manage(command: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the operator on the database of the address."""
    line = [sys.executable, "manage.py", *command.split()]
    return children.run(line, cwd=ROOT, env={**os.environ, "DATABASE_URL": url})


@pytest.fixture
def pair(postgres_server: PostgresServer) -> Iterator[Pair]:
    standby = PostgresServer()
    service = Service(1, {"DATABASE_URL": both(postgres_server, standby, "any")})
    try:
        manage("migrate --verbosity 0", postgres_server.url()).check_returncode()
        with psycopg.connect(postgres_server.url(), autocommit=True) as link:
            link.execute("INSERT INTO portfolio_fund (name, created_at) VALUES ('a', now())")
        standby.follow(postgres_server)
        service.start()
        yield Pair(postgres_server, standby, service)
    finally:
        service.remove()
        standby.remove()


def test_reads_go_on_writes_are_503_and_all_recovers_without_a_restart(pair: Pair) -> None:
    # The standby is listed first: the command finds the primary.
    made = manage("create_api_key me", both(pair.standby, pair.primary, "read-write"))
    assert made.returncode == 0, made.stderr
    pair.key = made.stdout.strip()
    assert pair.statuses() == (200, {201, 200})
    assert pair.ready() == (200, "ok", "")
    with psycopg.connect(pair.primary.url()) as link:
        [(position,)] = link.execute("SELECT pg_current_wal_lsn()").fetchall()
    with psycopg.connect(pair.standby.url(), autocommit=True) as link:
        replayed = "SELECT pg_last_wal_replay_lsn() >= %s"
        wait_until(lambda: link.execute(replayed, [position]).fetchone() == (True,), "the WAL")

    pair.primary.kill()
    wait_until(lambda: pair.statuses() == (200, {503}), "reads of the standby, refused writes")
    writes = "the database refuses writes, because it is a standby. Reads work."
    assert pair.ready() == (200, "read-only", f"Not ready: {writes}")
    assert "Traceback" not in pair.service.log.read_text()
    for command, state in COMMANDS.items():
        done = manage(command, pair.standby.url())
        assert (done.returncode != 0, "Traceback" in done.stderr) == (True, False), done.stderr
        assert state in done.stderr
        assert done.stderr.count("\n") <= 2, done.stderr

    with psycopg.connect(pair.standby.url(), autocommit=True) as link:
        link.execute("SELECT pg_promote()")
    wait_until(lambda: pair.statuses() == (200, {201, 200}), "writes")
    assert pair.ready() == (200, "ok", "")
    found = manage("create_api_key you", both(pair.primary, pair.standby, "read-write"))
    assert found.returncode == 0, found.stderr

    pair.standby.kill()
    assert pair.statuses() == (503, {503})
    assert pair.ready()[:2] == (503, "unavailable")
    pair.standby.start()
    wait_until(lambda: pair.statuses() == (200, {201, 200}), "the database again")
