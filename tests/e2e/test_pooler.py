"""PgBouncer in transaction mode between the service and the database."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from stagenorm import env, sessions
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests import children
from tests.conftest import _address
from tests.servers import ROOT, PgBouncer, Service, get

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.e2e]

# What roles and databases have been seen to set, and what would change answers or end commands.
HOSTILE = {
    "search_path": "pg_catalog",
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "row_security": "on",
    "statement_timeout": "100ms",
    "lock_timeout": "77s",
    "idle_in_transaction_session_timeout": "1s",
    "idle_session_timeout": "1500ms",
}


@pytest.fixture
def role_settings() -> Iterator[Callable[[str], None]]:
    """Run lines such as ``ALTER ROLE … IN DATABASE … SET …``; the role is reset at the end."""
    database = connection.settings_dict
    role = f'ALTER ROLE {database["USER"]} IN DATABASE "{database["NAME"]}" '

    def run(line: str) -> None:
        with psycopg.connect(_address(database), autocommit=True) as link:
            link.execute("SET default_transaction_read_only = off")
            link.execute(line.encode() if line.startswith("ALTER") else (role + line).encode())

    yield run
    run("RESET ALL")


@pytest.fixture
def pooler() -> Iterator[PgBouncer]:
    """A started PgBouncer with Debian's defaults before the test database."""
    server = PgBouncer(_address(connection.settings_dict))
    try:
        server.start()
        yield server
    finally:
        server.remove()


def manage(pooler: PgBouncer, *arguments: str, direct: bool) -> Any:
    """Run a command as an operator beside a service that goes through the pooler."""
    own = _address(connection.settings_dict)
    environment = {
        **os.environ,
        "DATABASE_POOLER": "transaction",
        "DATABASE_URL": pooler.url(connection.settings_dict["NAME"]),
        **({"COMMAND_DATABASE_URL": own} if direct else {}),
    }
    return children.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment)


def test_settings_of_a_role_or_a_database_do_not_reach_a_direct_session(
    role_settings: Callable[[str], None],
) -> None:
    for name, value in HOSTILE.items():
        role_settings(f"SET {name} = '{value}'")
    address = _address(connection.settings_dict)
    with psycopg.connect(address) as plain, plain.cursor() as cursor:
        found = sessions.faults(cursor, settings.SESSION_NEEDS)
        assert {each.name.lower() for each in found} == set(HOSTILE)
    for needs in (settings.SESSION_NEEDS, settings.SERVICE_SESSION_NEEDS):
        parameters = env.libpq_parameters(env.database_settings(address))
        options = sessions.startup_options(needs)
        with psycopg.connect(**parameters, options=options) as link, link.cursor() as cursor:
            assert sessions.faults(cursor, needs) == []


def test_the_service_is_ready_behind_a_pooler_once_its_role_has_the_limits(
    pooler: PgBouncer,
    role_settings: Callable[[str], None],
    granian_server: Callable[..., Service],
) -> None:
    fund, (_, key) = Fund.objects.create(name="Alder"), create_key("load")
    address = pooler.url(connection.settings_dict["NAME"])
    service = granian_server(1, env={"DATABASE_URL": address, "DATABASE_POOLER": "transaction"})

    status, _, body = get(f"{service.address}/readyz")
    assert (status, json.loads(body)["checks"]["database"].partition(" is ")[0]) == (
        503,
        "Not ready: statement_timeout",
    )
    checked = manage(pooler, "check", "--database", "default", direct=True)
    lines = [line.strip() for line in checked.stderr.splitlines() if "ALTER ROLE" in line]
    lines = [line.removeprefix("HINT: ").partition(";")[0] for line in lines]
    assert checked.returncode == 1
    for line in lines:
        role_settings(line)
    pooler.reconnect()
    again = manage(pooler, "check", "--database", "default", direct=True)
    assert again.returncode == 0, again.stderr
    assert get(f"{service.address}/readyz")[0] == 200
    companies = f"{service.address}/api/funds/{fund.pk}/companies"
    assert {get(companies, Authorization=f"Api-Key {key}")[0] for _ in range(20)} == {200}


def test_the_check_reports_a_pooler_that_does_not_answer(pooler: PgBouncer) -> None:
    pooler.end()
    checked = manage(pooler, "check", "--database", "default", direct=True)
    assert checked.returncode == 0  # a migration does not wait for the pooler
    assert "could not be examined through the pooler" in checked.stderr
    assert "Traceback" not in checked.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("create_backup",),
        ("normalize_stages", "--apply"),
        ("migrate",),
        ("check", "--database", "default"),
    ],
)
def test_a_command_that_needs_a_session_is_refused_behind_a_pooler(
    pooler: PgBouncer, command: tuple[str, ...]
) -> None:
    refused = manage(pooler, *command, direct=False)
    assert refused.returncode != 0
    assert "Set COMMAND_DATABASE_URL" in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr
    name = connection.settings_dict["NAME"]
    with psycopg.connect(pooler.url(name)) as link, link.cursor() as cursor:
        needs = {"search_path": sessions.MEANING["search_path"], "lock_timeout": "0"}
        assert sessions.faults(cursor, needs) == []
