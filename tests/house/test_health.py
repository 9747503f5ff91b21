"""/healthz answers while the process lives, /readyz only when the work can be done."""

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from django.test.utils import CaptureQueriesContext


def test_healthz_asks_nothing_of_the_database(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_readyz_is_200_when_database_and_migrations_are_in_place(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": "ok", "migrations": "ok", "stage_mode": "ok"}


@pytest.mark.django_db
def test_readyz_builds_the_graph_of_migrations_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/readyz")
    monkeypatch.delattr(MigrationLoader, "build_graph")
    with CaptureQueriesContext(connection) as asked:
        assert client.get("/readyz").status_code == 200
    assert any("django_migrations" in query["sql"] for query in asked.captured_queries)


@pytest.mark.django_db
def test_readyz_names_a_migration_that_is_not_applied(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'portfolio'")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "ok"
    assert "portfolio.0001_initial" in answer.json()["checks"]["migrations"]
