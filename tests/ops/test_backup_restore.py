"""The drill: the restored copy equals the snapshot or the check fails; nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from ops.backups import archive, drill_scope, scratch
from ops.backups.children import find_tools
from ops.backups.create import BackupRequest, create
from ops.backups.models import Backup
from ops.backups.outcomes import CheckInconclusive
from ops.backups.records import CheckFindings
from ops.backups.restore import drill, restore
from ops.backups.sidecar import hash_file, record_file
from ops.backups.source import source
from ops.backups.verify import authenticated
from stagenorm.terminal import no_progress
from tests.backup_faults import (
    NO_SLOW_DRILL,
    SLOW_DRILL,
    address,
    client_program,
    companies,
    ended,
    execute,
    flip,
    manage,
    schema,
    scratch_databases,
    sign,
)
from tests.children import run
from tests.servers import wait_until

# Not an autovacuum worker that happens to look into the new database.
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = ANY(%s) AND backend_type = 'client backend'
"""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_stays_behind(transactional_db: None) -> Iterator[None]:
    yield
    assert scratch_databases() == []


@pytest.fixture
def least_privilege(settings: Settings) -> Iterator[str]:
    """The documented role, which backups and drills then use; dropped at the end."""
    name = f"drill_{execute('SELECT current_database()')[0][0]}"
    execute(f"CREATE ROLE {name} LOGIN CREATEDB")
    execute(f"GRANT pg_read_all_data TO {name}")
    settings.BACKUP_DATABASE_URL, settings.BACKUP_ALLOW_SUPERUSER = address(user=name), False
    yield name
    execute(f"DROP OWNED BY {name}")
    execute(f"DROP ROLE {name}")


def replace_dump(backup: Backup, *options: str) -> None:
    """Replace the dump by a new one with a correct signature; only a restore finds that."""
    [[version]] = execute("SHOW server_version_num")
    command = [
        str(find_tools(int(version)).pg_dump),
        "-Fc",
        "-Z1",
        *options,
        "-f",
        str(backup.path),
        f"--dbname={address()}",
    ]
    done = run(command)
    assert done.returncode == 0, done.stderr
    with archive.opened(backup.path) as descriptor:
        sha256, size = archive.sha256_of(descriptor), backup.path.stat().st_size
    sign(backup, sha256=sha256, size=size)
    hash_file(backup.path).write_text(f"{sha256}  {backup.name}\n")
    Backup.objects.filter(pk=backup.pk).update(sha256=sha256, size=size)
    backup.refresh_from_db()


def schema_only(backup: Backup) -> None:
    replace_dump(backup, "--schema-only")


def of_a_release_with_stages_elsewhere(backup: Backup) -> None:
    facts = json.loads(record_file(backup.path).read_text())["facts"]
    facts["stages"]["public.portfolio_companies.sector"] = {"": 50}
    sign(backup, facts=facts)


def one_table_without_rows(backup: Backup) -> None:
    replace_dump(backup, "--exclude-table-data=portfolio_companies")


def one_value_changed(backup: Backup) -> None:
    execute(
        "UPDATE portfolio_companies SET sector = 'x' "
        "WHERE id = (SELECT min(id) FROM portfolio_companies)"
    )
    replace_dump(backup)


def one_stage_changed(backup: Backup) -> None:
    execute(
        "UPDATE portfolio_companies SET stage = 'seed' "
        "WHERE id = (SELECT min(id) FROM portfolio_companies)"
    )
    replace_dump(backup)


def one_table_missing(backup: Backup) -> None:
    replace_dump(backup, "--exclude-table=ops_heartbeat")


def without_index(backup: Backup) -> None:
    change = "DROP INDEX companies_fund_stage_id"
    undo = "CREATE INDEX companies_fund_stage_id ON portfolio_companies (fund_id, stage, id)"
    with schema(change, undo):
        replace_dump(backup)


def without_constraint(backup: Backup) -> None:
    change = "ALTER TABLE portfolio_companies DROP CONSTRAINT companies_status_known"
    undo = (
        "ALTER TABLE portfolio_companies ADD CONSTRAINT companies_status_known "
        "CHECK (status IN ('active', 'exited', 'written_off'))"
    )
    with schema(change, undo):
        replace_dump(backup)


def without_trigger(backup: Backup) -> None:
    change = "ALTER TABLE ops_backupcheck DISABLE TRIGGER stage_backup_check_append_only"
    with schema(change, change.replace("DISABLE", "ENABLE")):
        replace_dump(backup)


def without_not_null(backup: Backup) -> None:
    change = "ALTER TABLE portfolio_companies ALTER COLUMN sector DROP NOT NULL"
    with schema(change, change.replace("DROP", "SET")):
        replace_dump(backup)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (schema_only, "has 0 rows instead of"),
        (one_table_without_rows, "public.portfolio_companies has 0 rows instead of 50"),
        (one_value_changed, "public.portfolio_companies has other values in its 50 rows"),
        (one_stage_changed, "stages of public.portfolio_companies.stage differ"),
        (one_table_missing, "table public.ops_heartbeat is missing"),
        (without_index, "index public.companies_fund_stage_id is missing"),
        (
            without_constraint,
            "constraint public.portfolio_companies.companies_status_known is missing",
        ),
        (
            without_trigger,
            "trigger public.ops_backupcheck.stage_backup_check_append_only has another definition",
        ),
        (without_not_null, "table public.portfolio_companies has another definition"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_dump_that_restores_into_something_else_fails(
    tmp_path: Path, fault: Callable[[Backup], None], said: str
) -> None:
    companies(50)
    backup = create(BackupRequest(tmp_path))
    fault(backup)
    check = restore(backup)
    assert (check.verdict, said in check.reason) == ("failed", True), check.reason


def test_a_backup_of_a_release_that_kept_stages_in_other_columns_passes(tmp_path: Path) -> None:
    companies(50)
    backup = create(BackupRequest(tmp_path))
    of_a_release_with_stages_elsewhere(backup)
    check = restore(backup)
    assert check.verdict == "passed", check.reason


def test_every_kind_of_object_and_value_comes_back_equal(
    tmp_path: Path, least_privilege: str
) -> None:
    change = """
    CREATE EXTENSION citext;
    CREATE SCHEMA "Other place";
    CREATE TYPE public.mood AS ENUM ('sad', 'it''s ok');
    CREATE DOMAIN public.share AS numeric(5, 2) CHECK (VALUE >= 0 AND VALUE <= 100);
    CREATE TABLE "Other place"."A table" (
        t text, "B" bytea, f double precision, j jsonb, a text[], m public.mood,
        s public.share DEFAULT 1.5, w timestamptz, d interval, n numeric,
        g integer GENERATED ALWAYS AS (1 + 1) STORED,
        i bigint GENERATED ALWAYS AS IDENTITY (START 5), c citext,
        CHECK ((t IN ('x', 'y')) OR (f > 0 AND f < 10)));
    INSERT INTO "Other place"."A table" (t, "B", f, j, a, m, w, d, n) VALUES
        ('x', '\\x00ff', 0.1, '{"b": [1, null]}', '{a,NULL,"c d"}', 'sad',
         '2026-01-01 00:00+03', '1 day', 1e30),
        (NULL, NULL, 'NaN', NULL, NULL, 'it''s ok', 'infinity', NULL, NULL),
        (NULL, NULL, 1.0000000000000002, 'null', '{}', NULL, NULL, '-3 mons', 'NaN');
    CREATE VIEW public.some_view AS SELECT t, count(*) AS n FROM "Other place"."A table"
        WHERE f::text <> '1' GROUP BY t;
    CREATE MATERIALIZED VIEW public.some_copy AS SELECT f FROM "Other place"."A table";
    CREATE INDEX some_expression ON "Other place"."A table" (lower(t), (j ->> 'b'))
        WHERE m = 'sad'::public.mood;
    CREATE FUNCTION public.some_function(x integer DEFAULT 3) RETURNS integer LANGUAGE sql
        AS 'SELECT (x + 1)::integer';
    CREATE TABLE public.parts (id integer, day date) PARTITION BY RANGE (day);
    CREATE TABLE public.part_1 PARTITION OF public.parts
        FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO public.parts VALUES (1, '2026-06-01');
    CREATE SEQUENCE public.some_numbers START 7 INCREMENT 3 CYCLE MAXVALUE 1000;
    CREATE POLICY some_policy ON "Other place"."A table" USING (t = current_user);
    ALTER TABLE "Other place"."A table" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    COMMENT ON TABLE "Other place"."A table" IS 'not restored in a drill';
    CREATE PUBLICATION everything FOR ALL TABLES;
    CREATE INDEX on_a_fast_disk ON "Other place"."A table" (n) TABLESPACE {tablespace};
    CREATE STATISTICS public.some_statistics ON id, day FROM public.parts;
    SELECT lo_from_bytea(0, repeat('large', 500000)::bytea), lo_from_bytea(0, '');
    DO $$ DECLARE large oid; BEGIN FOR large IN SELECT oid FROM pg_largeobject_metadata LOOP
        EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO PUBLIC', large);
    END LOOP; END $$;
    """
    undo = """
    DROP PUBLICATION everything;
    DROP VIEW public.some_view; DROP MATERIALIZED VIEW public.some_copy; DROP TABLE public.parts;
    DROP SCHEMA "Other place" CASCADE; DROP FUNCTION public.some_function(integer);
    DROP SEQUENCE public.some_numbers;
    DROP DOMAIN public.share; DROP TYPE public.mood;
    DROP EXTENSION citext;
    SELECT lo_unlink(oid) FROM pg_largeobject_metadata;
    """
    execute(f"ALTER ROLE {least_privilege} BYPASSRLS")
    tablespace = f"of_{least_privilege}"
    execute("SET allow_in_place_tablespaces = on")
    with (
        schema(f"CREATE TABLESPACE {tablespace} LOCATION ''", f"DROP TABLESPACE {tablespace}"),
        schema(change.replace("{tablespace}", tablespace), undo),
    ):
        check = restore(create(BackupRequest(tmp_path)))
    assert check.verdict == "passed", check.reason


# What a DBA installs, and what the role of backups cannot create: object → statement.
INSTALLED = {
    "extension pg_stat_statements": "CREATE EXTENSION pg_stat_statements",
    "view public.slow": "CREATE VIEW public.slow AS SELECT queryid FROM pg_stat_statements",
    "extension postgres_fdw": "CREATE EXTENSION postgres_fdw",
    "server far": "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; "
    "CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (password 'secret')",
    "foreign table public.remote": "CREATE FOREIGN TABLE public.remote (id integer) SERVER far",
    "materialized view public.copied": "CREATE MATERIALIZED VIEW public.copied AS "
    "SELECT id FROM public.remote WITH NO DATA; CREATE INDEX copied_id ON public.copied (id)",
    "foreign table public.part_2": "CREATE TABLE public.parts (id integer) "
    "PARTITION BY LIST (id); "
    "CREATE TABLE public.part_1 PARTITION OF public.parts FOR VALUES IN (1); "
    "INSERT INTO public.parts VALUES (1); "
    "CREATE FOREIGN TABLE public.part_2 PARTITION OF public.parts FOR VALUES IN (2) SERVER far",
    "event trigger no_drops": "CREATE FUNCTION public.no_drops() RETURNS event_trigger "
    "LANGUAGE plpgsql AS 'BEGIN END'; "
    "CREATE EVENT TRIGGER no_drops ON sql_drop EXECUTE FUNCTION public.no_drops()",
    "extension bloom": "CREATE EXTENSION bloom",
    "index public.sectors": "CREATE INDEX sectors ON portfolio_companies USING bloom (sector)",
    'table public."Known places" (3 rows)': 'CREATE TABLE public."Known places" '
    "(id serial PRIMARY KEY, place public.place); "
    'INSERT INTO public."Known places" (place) VALUES (NULL), (NULL), (NULL)',
    "function public.same(integer)": "CREATE FUNCTION public.same(integer) RETURNS integer "
    "LANGUAGE internal IMMUTABLE AS 'int4up'",
}
BEFORE = """
CREATE EXTENSION cube; CREATE EXTENSION earthdistance; CREATE DOMAIN public.place AS earth;
"""
REMOVED = """
DROP EVENT TRIGGER no_drops; DROP FUNCTION public.no_drops(), public.same(integer);
DROP TABLE public.parts, public."Known places"; DROP DOMAIN public.place;
DROP EXTENSION bloom, pg_stat_statements, postgres_fdw, earthdistance, cube CASCADE;
"""


def test_a_drill_leaves_out_what_its_role_cannot_create_and_compares_everything_else(
    tmp_path: Path, least_privilege: str
) -> None:
    companies(50)
    with schema(BEFORE + ";\n".join(INSTALLED.values()), REMOVED):
        backup = create(BackupRequest(tmp_path))
        check = restore(backup)
        assert check.verdict == "passed", check.reason
        summary, _, left_out = check.reason.partition(
            f"; left out, because the role {least_privilege} cannot create it: "
        )
        assert set(left_out.split(", ")) == {
            *INSTALLED, "extension earthdistance", "type public.place",
            'sequence public."Known places_id_seq"',
        }  # fmt: skip
        tables = backup.facts["tables"]
        rows = sum(table["rows"] for table in tables.values()) - 3
        assert summary == (
            f"{rows:,} rows in {len(tables) - 1} tables restored and equal to the snapshot"
        )
        without_index(backup)
        check = restore(backup)
    missing = "index public.companies_fund_stage_id is missing"
    assert (check.verdict, missing in check.reason) == ("failed", True), check.reason


def test_a_table_of_the_application_is_never_left_out(
    tmp_path: Path, least_privilege: str
) -> None:
    change = """
    CREATE EXTENSION cube; CREATE EXTENSION earthdistance;
    ALTER TABLE portfolio_fund ADD COLUMN place earth;
    """
    undo = "ALTER TABLE portfolio_fund DROP COLUMN place; DROP EXTENSION earthdistance, cube;"
    with schema(change, undo):
        check = restore(create(BackupRequest(tmp_path)))
    assert (check.verdict, check.reason) == (
        "error",
        f"the role {least_privilege} cannot create extension earthdistance, and the table "
        "public.portfolio_fund depends on it: name a role that can in BACKUP_DATABASE_URL",
    )


LISTING = """
;     dbname: stagenorm
2; 3079 16384 EXTENSION - missing
215; 1259 16389 TABLE public a b owner
;\tdepends on: 2 2 7
3; 1417 16552 SERVER - far owner
;\tdepends on: 2
9; 0 0 USER MAPPING - USER MAPPING public SERVER far owner
8; 2605 17000 CAST - CAST (x AS y) owner
7; 1259 16500 SEQUENCE public s owner
"""


@pytest.mark.parametrize(
    ("superuser", "extensions", "kept"),
    [
        (True, {"missing"}, [2, 215, 3, 9, 8, 7]),
        (True, set(), [8, 7]),
        (False, {"missing"}, [2, 215, 3, 9, 7]),
    ],
)
def test_what_is_left_out_depends_on_the_role_and_the_extensions_of_the_server(
    superuser: bool, extensions: set[str], kept: list[int]
) -> None:
    entries = drill_scope.read_entries(LISTING)
    role = drill_scope.DrillRole("drill", superuser, frozenset(extensions))
    facts: dict[str, Any] = {"privileged": ["2605 17000"], "objects": {}, "tables": {}}
    scope = drill_scope.drill_scope(entries, facts, role)
    assert [each.number for each in scope.kept] == kept
    assert bool(scope.sentence()) == (len(kept) < len(entries))
    if scope.sentence():
        del facts["objects"]
        with pytest.raises(CheckInconclusive, match=r"older release.*make a new backup"):
            drill_scope.drill_scope(entries, facts, role)


def test_the_drill_reads_the_file_that_was_hashed_even_if_the_name_is_exchanged(
    tmp_path: Path,
) -> None:
    companies(10)
    good = create(BackupRequest(tmp_path))
    execute("UPDATE portfolio_companies SET stage = 'seed'")
    other = create(BackupRequest(tmp_path))
    findings = CheckFindings()
    with authenticated(good, findings, no_progress) as authentic:
        good.path.unlink()
        good.path.symlink_to(other.path)
        drill(findings, authentic.descriptor, authentic.record, None, 60, no_progress)
    assert "equal to the snapshot" in findings.summary
    assert restore(good).reason.endswith("is a symbolic link, not a backup")


def test_a_dump_that_pg_restore_refuses_fails(tmp_path: Path) -> None:
    companies(10)
    backup = create(BackupRequest(tmp_path))
    flip(backup.path, 5)  # the archive's version
    with archive.opened(backup.path) as descriptor:
        sha256 = archive.sha256_of(descriptor)
    sign(backup, sha256=sha256)
    hash_file(backup.path).write_text(f"{sha256}  {backup.name}\n")
    Backup.objects.filter(pk=backup.pk).update(sha256=sha256)
    backup.refresh_from_db()
    check = restore(backup)
    assert check.verdict == "failed"
    assert "pg_restore refused it" in check.reason


def test_a_restore_that_hangs_ends_at_its_limit_without_a_verdict_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    companies(1)
    with schema(SLOW_DRILL, NO_SLOW_DRILL):
        backup = create(BackupRequest(tmp_path))
        with pytest.raises(
            CommandError, match=r"pg_restore was stopped after 1 s \(--time-limit\)"
        ):
            call_command("test_restore", "--latest", "--time-limit", "1")
    assert [check.verdict for check in backup.checks.all()] == ["error"]


def test_a_killed_drill_leaves_no_pg_restore_and_the_sweep_drops_only_its_leftover(
    tmp_path: Path,
) -> None:
    companies(1)
    with schema(SLOW_DRILL, NO_SLOW_DRILL):
        create(BackupRequest(tmp_path))
        with manage("test_restore") as killed, manage("test_restore") as living:
            orphan, other = (
                client_program(killed, "pg_restore"),
                client_program(living, "pg_restore"),
            )
            wait_until(lambda: len(scratch_databases()) == 2, "both scratch databases")
            before = scratch_databases()
            killed.kill()
            wait_until(lambda: ended(orphan), "the orphan to end")
            with source().connect() as link:
                wait_until(lambda: len(scratch.sweep(link)) == 1, "the leftover to be dropped")
                assert scratch.sweep(link) == []
            assert len(scratch_databases()) == 1
            assert set(scratch_databases()) < set(before)
            assert not ended(other)
            living.kill()
            wait_until(lambda: ended(other), "the other one to end")
        with source().connect() as link:
            wait_until(lambda: len(scratch.sweep(link)) == 1, "the other leftover to be dropped")


def test_the_next_drill_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    with source().connect() as link:
        prefix = scratch._prefix(link)
        link.execute(f'CREATE DATABASE "{prefix}0123456789ab" TEMPLATE template0'.encode())
    assert restore(create(BackupRequest(tmp_path))).verdict == "passed"
    assert f"{prefix}0123456789ab" not in scratch_databases()


def test_a_configured_database_under_the_reserved_prefix_stops_the_drill_and_is_never_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = create(BackupRequest(tmp_path))
    with source().connect() as link:
        name = f"{scratch._prefix(link)}configured"
        link.execute(f'CREATE DATABASE "{name}"'.encode())
        monkeypatch.setitem(
            django_settings.DATABASES,
            "reports",
            {**django_settings.DATABASES["default"], "NAME": name},
        )
        try:
            check = restore(backup)
            assert scratch.sweep(link) == []
            assert name in scratch_databases()
        finally:
            scratch.drop(link, name)
    assert check.verdict == "error"
    assert f"{name} has a name that is reserved for scratch databases" in check.reason


def test_a_server_that_goes_away_says_nothing_about_the_backup(tmp_path: Path) -> None:
    companies(1)
    with schema(SLOW_DRILL, NO_SLOW_DRILL):
        backup = create(BackupRequest(tmp_path))
        with manage("test_restore") as drill:
            client_program(drill, "pg_restore")
            wait_until(
                lambda: bool(execute(TERMINATE, [scratch_databases()])), "the restoring session"
            )
            _, errors = drill.communicate(timeout=120)
    assert drill.returncode == 1
    assert "restore error" in errors
    assert [check.verdict for check in backup.checks.all()] == ["error"]


# The session waits in DROP DATABASE without FORCE.
WAITS = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE 'DROP DATABASE%%' AND query NOT LIKE '%%FORCE%%'
  AND usename = %s
"""


def test_a_copy_in_use_by_a_process_that_the_role_may_not_end_is_dropped_when_it_ends(
    least_privilege: str,
) -> None:
    with (
        source().connect() as link,
        scratch.scratch_database(link) as name,
        psycopg.connect(address(dbname=name)),  # as a superuser
        ThreadPoolExecutor(1) as others,
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            link.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
        dropped = others.submit(scratch.drop, link, name)
        wait_until(lambda: execute(WAITS, [least_privilege]) == [(1,)], "the drop to wait")
        assert name in scratch_databases()
        execute(TERMINATE, [[name]])
        dropped.result(60)
        assert name not in scratch_databases()


def test_nobody_else_may_connect_to_the_copy(tmp_path: Path) -> None:
    with source().connect() as link, scratch.scratch_database(link) as name:
        allowed = execute("SELECT has_database_privilege('pg_monitor', %s, 'CONNECT')", [name])
    assert allowed == [(False,)]
    assert connection.settings_dict["NAME"] != name
