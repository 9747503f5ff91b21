"""Aliases of the previous schema become decisions; none is lost, and history stays true."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection

from normalization import decision_store, decisions
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, StageDecision
from normalization.stages import Known, Stage, Unknown, normalize
from tests.decided import decide, decide_all, row

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def migrate(*to: str) -> None:
    call_command("migrate", "normalization", *to, verbosity=0, skip_checks=True)
    decision_store.forget()


def execute(statement: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def before() -> Iterator[None]:
    """The tables as the previous release had them."""
    migrate("0003")
    try:
        yield
    finally:
        migrate()


def alias(
    spelling: str, stage: str, hour: int, *, by: str = "ann", retired: int | None = None
) -> None:
    """Add an alias as the previous release did, and retire it at hour `retired`."""
    execute(
        "INSERT INTO normalization_stagealias (spelling, key, stage, decided_by, reason, "
        "created_at, retired_at, retired_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        spelling,
        spelling.lower(),
        stage,
        by,
        f"why {spelling}",
        START + timedelta(hours=hour),
        None if retired is None else START + timedelta(hours=retired),
        "" if retired is None else "bob",
    )


def test_active_and_retired_aliases_become_decisions_in_batches_in_order_of_time(
    before: None,
) -> None:
    alias("Angel", "pre-seed", 0, retired=2)
    alias("Angel", "seed", 3)
    alias("Round One", "series-a", 1, by="eve")
    migrate()
    assert [
        (batch.action, batch.author, batch.source, (batch.created_at - START).seconds // 3600)
        for batch in DecisionBatch.objects.order_by("id")
    ] == [
        ("apply", "ann", "admin", 0),
        ("apply", "eve", "admin", 1),
        ("retire", "bob", "admin", 2),
        ("apply", "ann", "admin", 3),
    ]
    assert [
        (each.spelling, each.verdict, each.stage, each.decided_by, each.reason, each.note)
        for each in StageDecision.objects.order_by("created_at")
    ] == [
        ("Angel", "stage", "pre-seed", "ann", "why Angel", ""),
        ("Round One", "stage", "series-a", "eve", "why Round One", ""),
        ("Angel", "stage", "seed", "ann", "why Angel", ""),
    ]
    retired = StageDecision.objects.get(stage="pre-seed")
    assert retired.superseded_at == START + timedelta(hours=2)
    table = decision_store.current()
    assert normalize("ANGEL", table) == Known("ANGEL", Stage.SEED, canonical=False)
    assert normalize("Round One", table) == Known("Round One", Stage.SERIES_A, canonical=False)


def test_a_moved_alias_can_be_changed_retired_and_undone(before: None) -> None:
    alias("Angel", "seed", 0)
    migrate()
    first = DecisionBatch.objects.get().pk
    changed = decide("angel", Stage.PRE_SEED)
    decisions.undo(changed.version, author="x", source=DecisionBatch.Source.COMMAND)
    decisions.undo(
        decisions.retire(
            ["angel"], author="x", source=DecisionBatch.Source.COMMAND, reason="x"
        ).version,
        author="x",
        source=DecisionBatch.Source.COMMAND,
    )
    decision_store.forget()
    assert normalize("Angel", decision_store.current()) == Known("Angel", Stage.SEED, False)
    assert first < changed.version


def test_the_table_of_aliases_is_dropped_after_its_rows_moved(before: None) -> None:
    alias("Angel", "seed", 0)
    migrate()
    assert execute("SELECT to_regclass('normalization_stagealias')") == [(None,)]


def test_who_could_add_aliases_can_add_decisions(before: None) -> None:
    call_command("migrate", "normalization", "0003", verbosity=0, skip_checks=True)
    group = Group.objects.create(name="operators")
    group.permissions.add(*Permission.objects.filter(codename__endswith="_stagealias"))
    held = group.permissions.count()
    assert held == 4
    migrate()
    assert sorted(group.permissions.values_list("codename", flat=True)) == [
        f"{what}_stagedecision" for what in ("add", "change", "delete", "view")
    ]


def test_backwards_the_stages_are_aliases_again_and_forwards_they_are_decisions() -> None:
    decide_all(
        [
            row("Angel", Stage.SEED),
            row("Grant", DecisionVerdict.OUTSIDE),
            row("", DecisionVerdict.OPEN),
        ]
    )
    decide("Idea", Stage.SEED)
    decisions.retire(["Idea"], author="bob", source=DecisionBatch.Source.COMMAND, reason="x")
    migrate("0003")
    rows = "SELECT spelling, stage, decided_by, retired_by FROM normalization_stagealias"
    assert sorted(execute(rows)) == [("Angel", "seed", "ann", ""), ("Idea", "seed", "ann", "bob")]
    migrate()
    table = decision_store.current()
    assert normalize("angel", table) == Known("angel", Stage.SEED, canonical=False)
    assert isinstance(normalize("idea", table), Unknown)
