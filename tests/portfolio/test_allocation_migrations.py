"""Migrations of strategy rows of the previous release; they lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError
from rest_framework.test import APIClient

from normalization.stages import Stage
from ops.backfill import control
from ops.backfill.columns import StageColumn
from ops.backfill.plan import make_plan
from tests.backfill_runs import (
    QUICK,
    another_connection,
    backup_on_record,
    begin,
    earlier_run,
    execute,
    not_derived,
    store,
    stored,
    undecided,
    work,
)
from tests.decided import decide

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = "portfolio_strategystageallocation"
SPELLING = StageColumn("public", TABLE, "spelling", "id")
COMPANY_STAGE = StageColumn("public", "portfolio_companies", "stage", "id")
LONG = "an unknown stage " * 15
ROWS = f"SELECT strategy_id, spelling, stage FROM {TABLE} ORDER BY strategy_id, position"
DEFINED = """
SELECT attnotnull, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'portfolio_strategystageallocation'::regclass AND attname = 'stage'
"""
CONSTRAINTS = f"""
SELECT conname FROM pg_constraint WHERE conrelid = '{TABLE}'::regclass AND contype = 'c' ORDER BY 1
"""


def migrate(*to: str) -> None:
    call_command("migrate", "portfolio", *to, verbosity=0, skip_checks=True)


@pytest.fixture
def before() -> Iterator[None]:
    """The tables as the release before had them."""
    migrate("0003")
    try:
        yield
    finally:
        execute(f"TRUNCATE {TABLE}")
        migrate()


def old(*rows: tuple[str, str | None]) -> int:
    """A strategy with (spelling, stage) rows, written by SQL that both releases take."""
    fund = execute(
        "INSERT INTO portfolio_fund (name, created_at)"
        " VALUES (gen_random_uuid()::text, now()) RETURNING id"
    )[0][0]
    strategy: int = execute(
        "INSERT INTO portfolio_portfoliostrategy (fund_id, name, description, model_type, "
        "target_portfolio_size, max_portfolio_size, deployment_months, sector_allocation, "
        "reserve_ratio, risk_tolerance, tags, client, created_at, updated_at) "
        "VALUES (%s, 's', '', 'balanced', 25, 30, 36, '{}', 0.5, 'moderate', '[]', 'c', now(), "
        "now()) RETURNING id",
        [fund],
    )[0][0]
    execute(
        f"INSERT INTO {TABLE} (strategy_id, spelling, stage, weight, position) "
        "SELECT %s, spelling, stage, 1 / %s::float, n - 1 "
        "FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS given (spelling, stage, n)",
        [strategy, len(rows), [spelling for spelling, _ in rows], [stage for _, stage in rows]],
    )
    return strategy


def stages_of(strategy: int) -> list[tuple[str, str | None]]:
    return [(spelling, stage) for of, spelling, stage in execute(ROWS) if of == strategy]


def shown(api: APIClient, strategy: int) -> dict[str, float]:
    return dict(api.get(f"/api/portfolio/strategies/{strategy}").json()["stage_allocation"])


def test_the_stage_is_what_it_was_or_else_what_is_spelled(before: None, api: APIClient) -> None:
    strategy = old(
        ("Series A", "series-a"), ("Foo", None), ("", None), (LONG[:255], None), ("SEED", None)
    )
    of_backfill = old(
        ("seed", "seed"), ("series-a", None), ("series-a", "series-a"), ("series-b", None)
    )
    migrate()
    assert stages_of(strategy) == [
        ("Series A", "series-a"),
        ("Foo", "Foo"),
        ("", ""),
        (LONG[:255], LONG[:255]),
        ("SEED", "SEED"),
    ]
    assert stages_of(of_backfill) == [
        (stage, stage) for stage in ("seed", "series-a", "series-a", "series-b")
    ]
    assert shown(api, of_backfill) == {"seed": 0.25, "series-a": 0.5, "series-b": 0.25}
    assert not_derived() == {TABLE: {"Foo": 1, "": 1, LONG[:255]: 1, "SEED": 1}}
    work(begin())
    assert stages_of(strategy) == [
        ("Series A", "series-a"),
        ("Foo", None),
        ("", None),
        (LONG[:255], None),
        ("SEED", "seed"),
    ]


def test_the_column_is_never_null_again_and_nothing_is_left_of_the_way_there(before: None) -> None:
    old(("Foo", None))
    execute(
        f"ALTER TABLE {TABLE} ADD CONSTRAINT portfolio_strategystageallocat_spelling_canonical "
        "CHECK (spelling IN ('seed')) NOT VALID"
    )
    migrate("0005")
    assert execute(DEFINED) == [(True, "character varying(255)")]
    assert [name for (name,) in execute(CONSTRAINTS) if not name.endswith("_position_check")] == []
    assert (
        execute(
            f"SELECT indexname FROM pg_indexes WHERE tablename = '{TABLE}' "
            "AND indexname ~ 'per_stage'"
        )
        == []
    )
    with pytest.raises(IntegrityError):
        old(("Foo", None))
    assert stages_of(old(("Series A", "seed"), ("words of a client", "seed"))) != []


def test_a_migration_that_was_cut_off_goes_on_where_it_was(before: None) -> None:
    old(*((f"unknown {n}", None) for n in range(12_000)))
    last = execute(f"SELECT max(id) FROM {TABLE}")[0][0]
    execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF new.id = {last} THEN RAISE EXCEPTION 'not this row'; END IF; "
        "RETURN new; END $$;"
        f"CREATE TRIGGER refuse BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    try:
        with pytest.raises(ProgrammingError, match="not this row"):
            migrate()
    finally:
        execute(f"DROP TRIGGER refuse ON {TABLE}; DROP FUNCTION refuse")
    assert execute(f"SELECT count(*) FROM {TABLE} WHERE stage = spelling") == [(10_000,)]
    migrate("0005")
    assert execute(f"SELECT count(*) FROM {TABLE} WHERE stage = spelling") == [(12_000,)]
    assert execute(DEFINED) == [(True, "character varying(255)")]


def test_a_migration_gives_up_rather_than_let_others_queue_up_behind_it(before: None) -> None:
    strategy = old(("Foo", None))
    with another_connection("reader") as reader, reader.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(ROWS)
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate()
        cursor.execute("COMMIT")
    assert stages_of(strategy) == [("Foo", None)]
    migrate()
    assert stages_of(strategy) == [("Foo", "Foo")]


def test_backwards_and_forwards_again_the_api_shows_the_same(before: None, api: APIClient) -> None:
    migrate()
    decide("Foo", Stage.SERIES_A)
    strategy = old(
        ("Foo", "series-a"), ("Series A", "series-a"), (LONG[:255], LONG[:255]), ("Bar", "Bar")
    )
    showed = shown(api, strategy)
    migrate("0003")
    assert stages_of(strategy) == [
        ("Foo", "series-a"),
        ("Series A", None),
        (LONG[:255], None),
        ("Bar", None),
    ]
    with pytest.raises(DataError):
        execute(f"UPDATE {TABLE} SET stage = repeat('x', 21)")
    with pytest.raises(IntegrityError):
        execute(f"UPDATE {TABLE} SET stage = 'seed'")
    migrate()
    work(begin())
    assert shown(api, strategy) == showed


def test_undoing_an_earlier_run_gives_the_clients_words_back_and_changes_no_stage(
    before: None,
) -> None:
    [company] = store(["Series A"])
    decide("Foo", Stage.SERIES_B)
    strategy = old(("SEED round", "seed"), ("Foo", None), ("Bar", None), ("series-a", "series-a"))
    run = earlier_run([COMPANY_STAGE, SPELLING])
    assert stages_of(strategy) == [
        ("seed", "seed"),
        ("series-b", None),
        ("Bar", None),
        ("series-a", "series-a"),
    ]
    assert stored() == {company: "series-a"}
    migrate()
    said = StringIO()
    call_command("normalize_stages", "--undo", str(run.pk), stdout=said, stderr=StringIO())
    assert stages_of(strategy) == [
        ("SEED round", "seed"),
        ("Foo", "series-b"),
        ("Bar", "Bar"),
        ("series-a", "series-a"),
    ]
    assert stored() == {company: "Series A"}
    run.refresh_from_db()
    assert run.state == "undone"
    assert "3 rows restored" in said.getvalue()
    assert (
        f"{TABLE}.spelling holds no stages in this release: its text is restored"
        in said.getvalue()
    )
    assert undecided() == {TABLE: {"Bar": 1}}
    assert not_derived()["portfolio_companies"] == {"Series A": 1}


def test_an_earlier_run_that_is_not_over_is_not_taken_up_and_can_be_cancelled(
    before: None,
) -> None:
    strategy = old(("SEED", "seed"))
    columns = [COMPANY_STAGE, SPELLING]
    backup_on_record()
    run = control.begin(make_plan(columns, sample=False), columns, QUICK, "tests")
    migrate()
    with pytest.raises(
        CommandError, match=rf"{TABLE}.spelling holds no stages in this one. .*--cancel {run.pk} "
    ):
        call_command(
            "normalize_stages", "--apply", "--resume", stdout=StringIO(), stderr=StringIO()
        )
    run.refresh_from_db()
    assert run.state == "planned"
    call_command("normalize_stages", "--cancel", str(run.pk), stdout=StringIO())
    assert work(begin()).run.state == "completed"
    assert stages_of(strategy) == [("SEED", "seed")]
