"""Which columns the backfill takes: by model, by schema, and only those with an integer key."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.test import Client
from django.test.utils import isolate_apps

from normalization.columns import ModelColumn, schemas_of, stage_columns
from normalization.decision_effects import stored_texts
from normalization.fields import KEY_NOT_AN_INTEGER, StageField
from ops.backfill import columns
from ops.backfill.columns import NoSuchTable, StageColumn, UnsupportedKey
from ops.backfill.stored import stored_stages
from ops.backups.facts import stage_columns as backed_up_columns
from ops.backups.source import source
from ops.pages.spellings import weights
from ops.pages.spellings.models import SpellingWeight
from tests.backfill_runs import COMPANIES, begin, execute, not_derived, store, stored, work
from tests.pages import Page

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = "ops_other"


def declared(name: str, key: models.Field[Any, Any]) -> type[models.Model]:
    """Declare a model of the app `ops` with stages and this primary key."""
    members = {"__module__": "ops.models", "id": key, "stage": StageField()}
    return type(name, (models.Model,), members)


@pytest.fixture(params=[models.UUIDField, models.CharField], ids=["uuid", "text"])
def other(request: pytest.FixtureRequest) -> Iterator[type[models.Model]]:
    """A table with stages, whose key is not an integer, with one row that is not canonical."""
    size = {"max_length": 50} if request.param is models.CharField else {}
    model = declared("Other", request.param(primary_key=True, **size))
    with connection.schema_editor() as editor:
        editor.create_model(model)
    execute(f"INSERT INTO {OTHER} VALUES (gen_random_uuid(), 'Series A')")
    try:
        yield model
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(model)
        del apps.all_models["ops"]["other"]
        apps.clear_cache()


def answer(*arguments: str) -> str:
    """Return what `normalize_stages` prints; exit statuses are errors of the call."""
    out = StringIO()
    call_command("normalize_stages", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_a_table_whose_key_is_not_an_integer_is_refused_alone_in_one_sentence(
    other: type[models.Model],
) -> None:
    sentence = f"The primary key of {OTHER}.stage is not an integer"
    with pytest.raises(CommandError, match=sentence):
        answer("--table", OTHER)
    store(["Series A"])
    text = answer()
    assert "1 rows to change" in text
    assert sentence in text
    assert work(begin()).run.state == "completed"
    assert set(stored().values()) == {"series-a"}
    assert execute(f"SELECT stage FROM {OTHER}") == [("Series A",)]


def test_gates_and_verification_count_a_table_whose_key_is_not_an_integer(
    other: type[models.Model],
) -> None:
    assert not_derived() == {OTHER: {"Series A": 1}}
    assert stored_stages().not_derived == 1
    with pytest.raises(SystemExit):
        answer("--verify")
    execute(f"UPDATE {OTHER} SET stage = 'series-a'")
    assert not_derived() == {}
    assert (stored_stages().rows, stored_stages().not_derived) == (1, 0)
    assert "Every stored stage is what today's decisions give." in answer(
        "--verify", "--table", OTHER
    )


def test_columns_that_are_not_asked_for_are_never_looked_at(other: type[models.Model]) -> None:
    execute(f"ALTER TABLE {OTHER} RENAME TO hidden")
    try:
        assert [str(column) for column in columns.find([COMPANIES])] == [f"{COMPANIES}.stage"]
        assert "0 rows to change" in answer("--table", COMPANIES)
        with pytest.raises(NoSuchTable, match=f"no table {OTHER}: run manage.py migrate"):
            columns.find([OTHER])
    finally:
        execute(f"ALTER TABLE hidden RENAME TO {OTHER}")


@pytest.mark.parametrize(
    ("key", "warned"),
    [
        (models.UUIDField(primary_key=True), True),
        (models.CharField(primary_key=True, max_length=9), True),
        (models.BigAutoField(primary_key=True), False),
        (models.SmallIntegerField(primary_key=True), False),
    ],
    ids=["uuid", "text", "bigauto", "smallint"],
)
@isolate_apps("ops")
def test_a_check_warns_of_a_stage_field_beside_a_key_that_is_not_an_integer(
    key: models.Field[Any, Any], warned: bool
) -> None:
    found = [each.id for each in declared("Checked", key).check()]
    assert (KEY_NOT_AN_INTEGER in found) is warned


@isolate_apps("ops")
def test_a_child_table_has_the_key_of_its_parent() -> None:
    for name, key in (("Whole", models.BigAutoField), ("Text", models.UUIDField)):
        parent = declared(f"{name}Parent", key(primary_key=True))
        child: Any = type(
            f"{name}Child", (parent,), {"__module__": "ops.models", "then": StageField()}
        )
        found = [each.id for each in child.check()]
        assert (KEY_NOT_AN_INTEGER in found) is (name == "Text")


@pytest.mark.parametrize("kind", ["schema", "temporary"])
def test_a_table_of_the_same_name_elsewhere_is_never_taken(kind: str) -> None:
    [ours] = store(["Series A"])
    if kind == "schema":
        execute("CREATE SCHEMA elsewhere")
        execute(f"CREATE TABLE elsewhere.{COMPANIES} (id bigint PRIMARY KEY, stage text)")
    else:
        execute(f"CREATE TEMPORARY TABLE {COMPANIES} (id bigint PRIMARY KEY, stage text)")
    theirs = f"{'elsewhere' if kind == 'schema' else 'pg_temp'}.{COMPANIES}"
    execute(f"INSERT INTO {theirs} VALUES (1, 'SEED')")
    try:
        assert schemas_of([COMPANIES]) == {COMPANIES: "public"}
        assert not_derived() == {COMPANIES: {"Series A": 1}}
        work(begin())
        assert execute(f"SELECT id, stage FROM public.{COMPANIES}") == [(ours, "series-a")]
        assert execute(f"SELECT stage FROM {theirs}") == [("SEED",)]
    finally:
        execute("DROP SCHEMA elsewhere CASCADE" if kind == "schema" else f"DROP TABLE {theirs}")


def test_the_application_follows_its_search_path() -> None:
    execute("CREATE SCHEMA elsewhere")
    execute(f"CREATE TABLE elsewhere.{COMPANIES} (id bigint PRIMARY KEY, stage text)")
    try:
        execute("SET search_path = elsewhere, public")
        assert schemas_of([COMPANIES]) == {COMPANIES: "elsewhere"}
        assert columns.named(COMPANIES, "stage").regclass == f'"elsewhere"."{COMPANIES}"'
    finally:
        execute("RESET search_path; DROP SCHEMA elsewhere CASCADE")


def test_every_stage_field_is_listed_once_with_its_key() -> None:
    found = stage_columns()
    companies = ModelColumn(
        COMPANIES, "stage", "id", integer_key=True, source="stage_raw", fillable=True
    )
    assert companies in found
    assert len(found) == len(set(found))
    assert [(each.table, each.column) for each in columns.find()] == [
        (each.table, each.column) for each in found
    ]


def test_every_place_reads_the_same_columns(operator: Client, other: type[models.Model]) -> None:
    store(["Series A"])
    tables = {each.table for each in stage_columns()}
    assert tables > {OTHER, COMPANIES}
    assert {each.table for each in columns.find()} == tables
    log = Page.get(operator, "/admin/ops/normalizationlog/")
    assert all(log.has("a", href=f"?table_name={table}") for table in tables)
    with source().connect() as link:
        assert {table for (_, table), _ in backed_up_columns(link)} == tables
    assert stored_stages().rows == 2
    assert {each.table for each in stored_texts()} == {OTHER, COMPANIES}
    assert weights.count()
    assert SpellingWeight.objects.get(spelling="Series A").rows == 2


def test_names_are_quoted_in_statements() -> None:
    column = StageColumn('a"b', "c%d", "e f", "ID")
    assert column.sql("{table} {column} {key} {span}") == (
        '"a""b"."c%%d" "e f" "ID" min("ID"), max("ID")'
    )


def test_a_run_over_a_named_table_without_an_integer_key_is_refused(
    other: type[models.Model],
) -> None:
    with pytest.raises(UnsupportedKey):
        columns.find_for_run([f"{OTHER}.stage"])
    assert OTHER not in [column.table for column in columns.find_for_run()]
