"""Fixtures for all tests: isolated settings, one real PostgreSQL per session, further servers.

The process that starts the session (xdist's controller, or pytest) owns the database server and
the temporary directory. xdist's workers inherit the address, and each creates a test database on
that server.
"""

import atexit
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as laws

from stagenorm.env import make_secret
from tests import children
from tests.logs import Logged
from tests.servers import PostgresServer, RedisServer, Service

# Debian calls alertmanager prometheus-alertmanager.
E2E_PROGRAMS = (
    "prometheus",
    "promtool",
    "prometheus-alertmanager|alertmanager",
    "chromium",
    "chromedriver",
    "pgbouncer",
)
OWNER = "STAGENORM_TEST_SESSION"  # set for the whole family of processes of one session


def _begin_session() -> None:
    """Start the session's database and set the environment; both end with this process."""
    directory = Path(tempfile.mkdtemp(prefix="stagenorm-tests-"))
    for name in (
        "REDIS_URL",
        "DJANGO_BEHIND_PROXY",
        "PROMETHEUS_MULTIPROC_DIR",
        "STAGE_VALIDATION_MODE",
    ):
        os.environ.pop(name, None)
    os.environ |= {
        OWNER: str(os.getpid()),
        "DJANGO_SETTINGS_MODULE": "stagenorm.settings",
        "DJANGO_DEBUG": "0",
        "DJANGO_HTTPS_ONLY": "0",
        "DJANGO_SECRET_KEY": make_secret(),
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
        "ALERTMANAGER_WEBHOOK_SECRETS": make_secret(),
        "STAGENORM_DATA_DIR": str(directory),
        "BACKUP_DIR": str(directory / "backups"),
        "BACKUP_ALLOW_SUPERUSER": "1",  # the throwaway server has no other role
        "STAGE_GATES": "0",  # the gates' own tests ask them
        "ANONYMOUS_THROTTLE": "",  # its own test sets a rate
    }
    atexit.register(shutil.rmtree, directory)
    if given := os.environ.get("TEST_DATABASE_URL"):
        os.environ["DATABASE_URL"] = given
        return
    server = PostgresServer()
    atexit.register(server.remove)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # ended from outside is tidied like Ctrl-C
    server.start()
    os.environ["DATABASE_URL"] = server.url()


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with SIGINT ignored; the tests' processes would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# At import: pytest-django sets Django up in pytest_configure only after the settings were read.
if OWNER not in os.environ:
    _begin_session()
_static = Path(
    os.environ["STAGENORM_DATA_DIR"], "static-" + os.environ.get("PYTEST_XDIST_WORKER", "main")
)
_static.mkdir(exist_ok=True)
os.environ["DJANGO_STATIC_ROOT"] = str(_static)
settings.STATIC_ROOT = (
    _static  # a worker's settings were read before, from the environment of the session's owner
)


# No deadlines and no check of slow examples: a machine may stall for a moment. The
# examples are the same at each run, so that a change is judged by itself; CHAOS=full draws others.
laws.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CHAOS") != "full",
)
laws.load_profile("any machine")


# Content types and permissions are the same in every test.
CONSTANT_TABLES = {"django_content_type", "auth_permission"}


def pytest_configure() -> None:
    """Replace Django's flush, which writes all tables and permissions anew and takes 0.3 s."""
    from django.test import TransactionTestCase

    TransactionTestCase._fixture_teardown = _empty_tables  # type: ignore[attr-defined]


def _empty_tables(_: object) -> None:
    from django.db import connection

    tables = set(
        connection.introspection.django_table_names(only_existing=True, include_views=False)
    )
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}' WHERE EXISTS (SELECT FROM {quote(table)})"
                for table in sorted(tables - CONSTANT_TABLES)
            )
        )
        filled = [quote(table) for (table,) in cursor.fetchall()]
        if filled:
            cursor.execute(f"TRUNCATE {', '.join(filled)} CASCADE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip e2e tests if a program is missing and name it; with REQUIRE_E2E=1 (CI) fail instead."""
    missing = [names for names in E2E_PROGRAMS if not any(map(shutil.which, names.split("|")))]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}: install them as .ci/run does"
    if os.environ.get("REQUIRE_E2E") == "1":
        raise pytest.UsageError(f"REQUIRE_E2E=1 {reason}")
    for item in items:
        if item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """End the processes that a failed test has left, before fixtures clean up the database."""
    children.end_all()


@pytest.fixture(autouse=True)
def _as_a_new_process() -> None:
    """Forget the state of the process before each test: mode, decisions, tallies."""
    from normalization import decision_store, deprecations, guard, observations, rollout_store

    for remembered in (rollout_store, decision_store, deprecations, observations, guard):
        remembered.forget()


@pytest.fixture
def set_mode(db: None) -> Callable[..., int]:
    """``set_mode("enforce", pilots=frozenset({"a"}))`` → the version, reached through ``warn``."""
    from normalization import rollout_store
    from normalization.rollout import Mode, Rollout

    def change(mode: str, **rollout: Any) -> int:
        if mode == Mode.ENFORCE and rollout_store.newest().rollout.mode is Mode.OFF:
            rollout_store.change(Mode.WARN, actor="tests", source="tests", reason="on the way")
        to = Rollout(Mode(mode), **rollout)
        result = rollout_store.change(to, actor="tests", source="tests", reason="a test asked")
        rollout_store.forget()
        return result.version

    return change


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Collects the log beside standard error, whose place depends on how pytest captures."""
    root, collected = logging.getLogger(), Logged()
    collected.handler.setFormatter(
        next(h.formatter for h in root.handlers if h.name == "standard_error")
    )
    root.addHandler(collected.handler)
    yield collected
    root.removeHandler(collected.handler)


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """A started PostgreSQL for one test, which may stop, kill and start it."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A started Redis for one test, which may stop, kill, freeze and start it."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def granian_server(transactional_db: None) -> Iterator[Callable[..., Service]]:
    """``granian_server(workers=2, threads=4, env={...})`` → a Service on the test database."""
    from django.db import connection

    started: list[Service] = []

    def start(workers: int = 2, threads: int = 4, env: dict[str, str] | None = None) -> Service:
        database = {"DATABASE_URL": _address(connection.settings_dict)}
        service = Service(workers, {**database, **(env or {})}, threads)
        started.append(service)
        service.start()
        return service

    try:
        yield start
    finally:
        for service in started:
            service.remove()


def _address(database: dict[str, object]) -> str:
    from urllib.parse import quote, urlencode

    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    given = {parameter: database[key] for parameter, key in names.items() if database[key]}
    name = quote(str(database["NAME"]), safe="")
    return f"postgresql:///{name}?{urlencode(given, quote_via=quote)}"
