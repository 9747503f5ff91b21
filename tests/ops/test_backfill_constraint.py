"""The CHECK constraint of a column: its name, its definition, and the check that compares it."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import IntegrityError, connection

from normalization.fields import CANONICAL_CONSTRAINT
from normalization.stages import Stage
from ops.backfill import columns, constraint
from ops.backfill.columns import StageColumn
from ops.backfill.stored import stored_stages
from ops.checks import STALE_CONSTRAINT
from tests.backfill_runs import COMPANIES, begin, execute, store, work

pytestmark = pytest.mark.django_db(transaction=True)

ALLOCATIONS = "portfolio_strategystageallocation"
EARLIER_NAME = "portfolio_strategystageallocat_stage_canonical"


@pytest.fixture
def companies() -> Iterator[StageColumn]:
    """The stage column of companies; its constraint is dropped at the end."""
    column = columns.named(COMPANIES, "stage")
    yield column
    constraint.drop(column)


def restrict(column: StageColumn, *stages: str, name: str = "", valid: bool = True) -> None:
    """Add a constraint as another release did."""
    name = name or constraint.name(column.table, column.column)
    allowed = ", ".join(f"'{stage}'" for stage in stages)
    suffix = "" if valid else " NOT VALID"
    execute(
        f"ALTER TABLE {column.table} ADD CONSTRAINT {name} CHECK (stage IN ({allowed})){suffix}"
    )


def warnings(databases: list[str] | None) -> list[str]:
    """Return the warnings about stale constraints."""
    found = run_checks(databases=databases)
    return [each.msg for each in found if each.id == STALE_CONSTRAINT]


@pytest.mark.parametrize(
    ("table", "column", "name"),
    [
        (COMPANIES, "stage", "portfolio_companies_stage_canonical"),
        ("t" * 30, "c" * 21, f"{'t' * 30}_{'c' * 21}_canonical"),
        ("t" * 31, "stage", None),
        ("table", "c" * 22, None),
    ],
)
def test_a_short_name_is_plain_and_a_cut_one_has_a_digest(
    table: str, column: str, name: str | None
) -> None:
    found = constraint.name(table, column)
    assert found.endswith(CANONICAL_CONSTRAINT)
    assert len(found) <= 63
    if name is None:
        assert found != f"{table[:30]}_{column[:21]}{CANONICAL_CONSTRAINT}"
    else:
        assert found == name


def test_two_columns_never_share_a_name() -> None:
    tables = [f"{'t' * 30}{end}" for end in ("", "a", "b", "ab")]
    fields = [f"{'c' * 21}{end}" for end in ("", "a", "b")]
    names = {constraint.name(table, field) for table in tables for field in fields}
    assert len(names) == len(tables) * len(fields)


def test_a_constraint_with_the_cut_name_of_an_earlier_release_is_recognized() -> None:
    column = columns.named(ALLOCATIONS, "stage")
    restrict(column, *Stage, name=EARLIER_NAME)
    try:
        found = constraint.find(column)
        assert found is not None
        assert (found.name, found.current, found.validated) == (EARLIER_NAME, True, True)
        assert constraint.holds(column)
        constraint.validate(column)  # nothing to add
        assert constraint.find(column) == found
    finally:
        constraint.drop(column)
    assert constraint.find(column) is None


def test_a_constraint_of_another_column_or_schema_is_not_taken(companies: StageColumn) -> None:
    name = constraint.name(COMPANIES, "stage")
    execute("CREATE SCHEMA elsewhere")
    try:
        execute(f"CREATE TABLE elsewhere.{COMPANIES} (stage text CONSTRAINT {name} CHECK (true))")
        execute(f"ALTER TABLE {COMPANIES} ADD CONSTRAINT {name} CHECK (sector <> 'x')")
        assert constraint.find(companies) is None
        execute(f"ALTER TABLE {COMPANIES} DROP CONSTRAINT {name}")
    finally:
        execute("DROP SCHEMA elsewhere CASCADE")


@pytest.mark.parametrize("stages", [list(Stage)[:-1], [*Stage, "series-z"]], ids=["less", "more"])
def test_a_stale_constraint_is_reported_and_replaced(
    companies: StageColumn, stages: list[str]
) -> None:
    store(["seed"])
    work(begin())
    restrict(companies, *stages)
    [message] = warnings(["default"])
    assert message.startswith(f"The constraint of {companies} does not allow exactly the stages")
    call_command(
        "normalize_stages", "--validate-constraint", "--table", COMPANIES, stdout=StringIO()
    )
    found = constraint.find(companies)
    assert found is not None
    assert (found.current, found.validated) == (True, True)
    assert warnings(["default"]) == []
    store(list(Stage), raws=list(Stage))
    with pytest.raises(IntegrityError):
        store(["series-z"], raws=["series-z"])
    with pytest.raises(IntegrityError):
        store(["seed"])


def test_a_stale_constraint_does_not_hide_rows_from_the_gate(companies: StageColumn) -> None:
    store(["series-z"])
    restrict(companies, *Stage, "series-z")
    assert not constraint.holds(companies)
    assert (stored_stages().not_derived, stored_stages().undecided) == (1, 1)


@pytest.mark.parametrize("valid", [True, False])
def test_a_constraint_that_is_not_validated_is_validated(
    companies: StageColumn, valid: bool
) -> None:
    restrict(companies, *Stage, valid=valid)
    assert constraint.holds(companies) is valid
    constraint.validate(companies)
    assert constraint.holds(companies)


LEFT_OVER = f"SELECT conname FROM pg_constraint WHERE conname = '{COMPANIES}_stage_raw_present'"


@pytest.mark.parametrize(
    "row", [(["series-z"], ["series-z"]), (["seed"], [None])], ids=["stage", "source"]
)
def test_a_constraint_that_a_row_violates_is_taken_back(
    companies: StageColumn, row: tuple[list[str], list[str | None]]
) -> None:
    store(row[0], raws=row[1])
    with pytest.raises(IntegrityError):
        constraint.validate(companies)
    assert constraint.find(companies) is None
    assert not constraint.requires_source(companies)
    assert execute(LEFT_OVER) == []


@pytest.mark.parametrize("databases", [None, []])
def test_the_check_reads_no_database_that_it_is_not_given(
    companies: StageColumn, databases: list[str] | None
) -> None:
    restrict(companies, "seed")
    assert warnings(databases) == []


def test_the_check_reports_nothing_while_the_database_is_away() -> None:
    before = connection.settings_dict["PORT"], connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict |= {"PORT": "1", "HOST": "127.0.0.1"}
    try:
        assert warnings(["default"]) == []
    finally:
        connection.close()
        connection.settings_dict["PORT"], connection.settings_dict["HOST"] = before
