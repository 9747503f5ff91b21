"""Settings of a role or a database never change what the product does.

`ALTER ROLE … SET` and `ALTER DATABASE … SET` reach every session that does not pin a parameter
itself. A role's setting also reaches the scratch database of a drill, a database's does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as laws
from hypothesis import strategies as st
from psycopg import sql
from pytest_django import Settings

from normalization import rollout_store
from ops.backfill import control
from ops.backups import cycle
from ops.backups.create import BackupRequest
from stagenorm import sessions
from tests.backfill_runs import QUICK, begin, execute, logged, store, work, written
from tests.backup_faults import address
from tests.ops.deliveries import PATH, payload, raw, signed

pytestmark = pytest.mark.django_db(transaction=True)

HOSTILE = {
    "search_path": "pg_catalog",
    "timezone": "Asia/Kathmandu",
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "xmlbinary": "hex",
    "lc_monetary": "C",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "row_security": "on",
    "check_function_bodies": "off",
    "gin_fuzzy_search_limit": "1",
    "work_mem": "64kB",
    "statement_timeout": "300ms",
    "lock_timeout": "1ms",
    "transaction_timeout": "300ms",
    "idle_in_transaction_session_timeout": "300ms",
    "idle_session_timeout": "300ms",
}
SCOPES = ("ROLE", "DATABASE")
ROWS = 8
TEXTS = [
    "Series A",
    "seed ",
    "Séries A",
    r"a\'b",
    "シリーズA",
    "NULL",
    "series_c",
    "",
    "Series C+",
]


@dataclass(frozen=True)
class Setting:
    """One parameter, set for the role or for the database."""

    name: str
    scope: str

    def __repr__(self) -> str:
        return f"ALTER {self.scope} SET {self.name} = {HOSTILE[self.name]}"


def covering_array() -> list[list[Setting]]:
    """Return rows of settings in which any two occur together, either alone, and neither.

    Kleitman and Spencer: the rows of each setting are a subset of the same size that has row 0.
    Two such subsets meet in row 0, neither contains the other, and together they are too small to
    be all rows.
    """
    subsets = combinations(range(1, ROWS), ROWS // 2 - 1)
    rows: list[list[Setting]] = [[] for _ in range(ROWS)]
    for number, (name, subset) in enumerate(zip(HOSTILE, subsets, strict=False)):
        for turn, row in enumerate((0, *subset)):
            rows[row].append(Setting(name, SCOPES[(number + turn) % 2]))
    return rows


def test_the_covering_array_has_every_pair_and_every_setting_in_both_scopes() -> None:
    rows = covering_array()
    chosen = [{each.name for each in row} for row in rows]
    for one, other in combinations(HOSTILE, 2):
        found = {(one in names, other in names) for names in chosen}
        assert found == {(True, True), (True, False), (False, True), (False, False)}
    used = {(each.name, each.scope) for row in rows for each in row}
    assert used == {(name, scope) for name in HOSTILE for scope in SCOPES}


@pytest.fixture(scope="module")
def role(django_db_setup: None, django_db_blocker: Any) -> Iterator[str]:
    """A role of this test database only, as which everything runs."""
    with django_db_blocker.unblock():
        name = f"settings_{connection.settings_dict['NAME']}"
        execute(f'CREATE ROLE "{name}" LOGIN SUPERUSER')
        yield name
        execute(f'DROP ROLE "{name}"')


@contextmanager
def altered(chosen: Sequence[Setting], role: str) -> Iterator[None]:
    """Set the parameters for the block."""
    scopes = {"ROLE": role, "DATABASE": str(connection.settings_dict["NAME"])}

    def alter(scope: str, change: sql.Composable) -> None:
        target = sql.SQL("ALTER {} {} ").format(sql.SQL(scope), sql.Identifier(scopes[scope]))
        link.execute(target + change)

    with psycopg.connect(address(), autocommit=True, options=PLAIN) as link:
        try:
            for each in chosen:
                if link.info.server_version < 170000 and each.name == "transaction_timeout":
                    continue
                value = sql.SQL("SET {} = {}").format(
                    sql.Identifier(each.name), sql.Literal(HOSTILE[each.name])
                )
                alter(each.scope, value)
            yield
        finally:
            for scope in SCOPES:
                alter(scope, sql.SQL("RESET ALL"))


PLAIN = sessions.startup_options({**sessions.MEANING, **sessions.UNLIMITED})


@contextmanager
def session(role: str, needs: Any) -> Iterator[None]:
    """Connect as the role, as a web request or a command does, for the block."""
    database = connection.settings_dict
    before = {**database}
    options = {**database["OPTIONS"], "options": sessions.startup_options(needs)}
    connection.close()
    database |= {"USER": role, "OPTIONS": options}
    try:
        yield
    finally:
        connection.close()
        database |= before


@dataclass
class Operations:
    """Carries the five operations out, and returns what they gave."""

    role: str
    directory: Path
    set_mode: Callable[..., int]

    def results(self, chosen: Sequence[Setting]) -> dict[str, Any]:
        """Return the result of each under the chosen settings; nothing of it stays."""
        ids = store(TEXTS)
        before = written()
        with altered(chosen, self.role):
            with session(self.role, django_settings.SERVICE_SESSION_NEEDS):
                found: dict[str, Any] = {"change and webhook": self._change_and_webhook()}
            with session(self.role, django_settings.SESSION_NEEDS):
                run = begin()
                assert work(run).trouble == ""
                found["batch"] = [written()[key] for key in ids]
                found["log"] = sorted((ids.index(key), *rest) for key, *rest in logged(run))
                undo = control.begin_undo(run.pk, QUICK, "tests")
                assert work(undo).trouble == ""
                found["undo"] = written() == before
                found["backup cycle"] = self._cycle()
        execute("DELETE FROM portfolio_companies")
        return found

    def _change_and_webhook(self) -> list[Any]:
        self.set_mode("enforce", enforce_percent=Decimal(25))
        enforced = rollout_store.newest().rollout
        body = raw(payload())
        answer = Client().post(PATH, body, content_type="application/json", headers=signed(body))
        after = rollout_store.newest().rollout
        return [enforced, answer.status_code, answer.json().get("outcome"), after]

    def _cycle(self) -> list[tuple[str, str]]:
        done = cycle.run(BackupRequest(self.directory), keep=1, keep_days=0)
        return [
            (check.kind, check.verdict if check.verdict == "passed" else check.reason)
            for check in done.checks
        ]


@pytest.fixture
def operations(
    role: str, tmp_path: Path, settings: Settings, set_mode: Callable[..., int]
) -> Operations:
    """The operations as the role, over an empty database."""
    settings.BACKUP_DATABASE_URL = address(user=role)
    return Operations(role, tmp_path, set_mode)


@pytest.fixture(scope="module")
def without() -> dict[str, Any]:
    """The results without any setting, filled by the first test that needs them."""
    return {}


@pytest.mark.parametrize("row", covering_array(), ids=range(ROWS))
def test_settings_of_a_role_or_a_database_change_no_result(
    row: list[Setting], operations: Operations, without: dict[str, Any]
) -> None:
    without.update(without or operations.results([]))
    assert operations.results(row) == without


SETTINGS = st.builds(Setting, st.sampled_from(sorted(HOSTILE)), st.sampled_from(SCOPES))


@laws(max_examples=2, suppress_health_check=list(HealthCheck))
@given(st.lists(SETTINGS, min_size=1, max_size=6, unique_by=lambda each: each.name))
def test_no_drawn_settings_change_a_result(
    operations: Operations, without: dict[str, Any], chosen: list[Setting]
) -> None:
    without.update(without or operations.results([]))
    assert operations.results(chosen) == without
