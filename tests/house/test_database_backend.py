"""The pool's connections: one that has ended is replaced, and a check costs no statement."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection as django_connection
from django.db.utils import load_backend

from stagenorm.database.base import DatabaseWrapper, is_alive

pytestmark = pytest.mark.django_db(transaction=True)

STATEMENTS = "SELECT query FROM pg_stat_activity WHERE pid = %s"


@pytest.fixture
def pooled() -> Iterator[DatabaseWrapper]:
    """A wrapper of its own, with a pool, on the tests' database."""
    own = {**django_connection.settings_dict, "CONN_HEALTH_CHECKS": False}
    own["OPTIONS"] = {**own["OPTIONS"], "pool": {"min_size": 0, "max_size": 2, "timeout": 5.0}}
    wrapper = load_backend("stagenorm.database").DatabaseWrapper(own, "default")
    wrapper._connection_pools = {}  # Django keeps the pools by alias in the class
    try:
        yield wrapper
    finally:
        wrapper.close()
        wrapper.close_pool()


def pid_of(wrapper: DatabaseWrapper) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    return pid


def end(pid: int) -> None:
    with django_connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert cursor.fetchone() == (True,)


def test_a_connection_that_ended_between_two_requests_is_replaced(pooled: DatabaseWrapper) -> None:
    first = pid_of(pooled)
    pooled.close()  # a request's end gives it back
    end(first)
    assert pid_of(pooled) != first


def test_a_living_connection_is_kept_without_a_statement(pooled: DatabaseWrapper) -> None:
    first = pid_of(pooled)
    pooled.close()
    pooled.ensure_connection()
    with django_connection.cursor() as cursor:
        cursor.execute(STATEMENTS, [first])
        assert cursor.fetchone() == ("SELECT pg_backend_pid()",)
    assert pid_of(pooled) == first


def test_data_at_the_socket_is_no_end(pooled: DatabaseWrapper) -> None:
    """A server that reloads its configuration reports parameters to idle connections."""
    pooled.ensure_connection()
    link: psycopg.Connection[object] = pooled.connection
    link.execute("LISTEN house")
    with django_connection.cursor() as cursor:
        cursor.execute("NOTIFY house")
    assert is_alive(link)


def test_the_service_uses_it() -> None:
    assert django_connection.settings_dict["ENGINE"] == "stagenorm.database"
