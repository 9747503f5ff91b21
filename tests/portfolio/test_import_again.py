"""Imports that meet each other: stale plans, the same file again, corrected lines, undo, kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from normalization.rollout import Mode
from normalization.stages import Stage
from stagenorm.portfolio.imports.undo import undo
from stagenorm.portfolio.models import CompanyImport, Fund, PortfolioCompany
from tests import children
from tests.backfill_runs import address, begin, work
from tests.decided import decide
from tests.imported import command, import_file, import_text, plan_file
from tests.servers import wait_until

ROOT = Path(__file__).parents[2]
TEXT = "name,stage,sector\nA,Foo,Health\nB,Series A,Robots\nC,seed,\n"


def names() -> list[str]:
    return list(PortfolioCompany.objects.order_by("name", "pk").values_list("name", flat=True))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "companies.csv"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("change", ["a byte", "an option", "a decision", "the mode", "a company"])
@pytest.mark.django_db(transaction=True)
def test_a_plan_that_would_be_another_one_today_is_refused(
    change: str, file: Path, fund: Fund, set_mode: Any
) -> None:
    plan = plan_file(file, fund)["plan"]
    options: tuple[str, ...] = ()
    if change == "a byte":
        file.write_text(TEXT.replace("Health", "Wealth"))
    elif change == "an option":
        options = ("--map", "sector=")
    elif change == "a decision":
        decide("Bar", Stage.SEED)
    elif change == "the mode":
        set_mode(Mode.WARN)
    else:
        import_text(file.parent, fund, "name,stage\nZ,seed\n")
        file.write_text(TEXT)
    count = PortfolioCompany.objects.count()
    _, refusal = command(file, fund, *options, "--apply", plan)
    assert refusal.startswith("Nothing was imported: the plan is now ")
    assert PortfolioCompany.objects.count() == count
    now = plan_file(file, fund, *options)["plan"]
    assert command(file, fund, *options, "--apply", now)[1] == ""
    assert {"A", "B", "C"} <= set(names())


@contextmanager
def waiting_import(file: Path, fund: Fund, plan: str) -> Iterator[subprocess.Popen[str]]:
    """A process that applies a plan, and waits to insert until the block ends."""
    with psycopg.connect(address()) as holder:
        holder.execute("LOCK TABLE portfolio_companies IN SHARE MODE")
        line = [sys.executable, "manage.py", "import_companies", str(file), "--apply", plan]
        importing = children.start(
            [*line, "--fund", str(fund.pk)],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": address()},
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: waiting_sessions() == 1, "the import is about to insert")
        yield importing


def waiting_sessions() -> int:
    """Count the sessions that wait for the table of companies, or hold it to insert."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE relation = 'portfolio_companies'::regclass "
            "AND mode = 'RowExclusiveLock'"
        )
        return int(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_of_two_applies_of_one_plan_at_once_exactly_one_imports(file: Path, fund: Fund) -> None:
    plan = plan_file(file, fund)["plan"]
    with waiting_import(file, fund, plan) as first:
        _, refusal = command(file, fund, "--apply", plan)
        assert (
            refusal == f"Nothing was changed: another import or undo in fund {fund.pk} is running."
        )
    assert "Imported 3 of 3 lines" in first.communicate(timeout=120)[0]
    assert "the plan is now" in command(file, fund, "--apply", plan)[1]
    assert names() == ["A", "B", "C"]
    assert CompanyImport.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_import_that_is_killed_leaves_nothing_and_its_plan_stays_usable(
    file: Path, fund: Fund
) -> None:
    plan = plan_file(file, fund)["plan"]
    with waiting_import(file, fund, plan) as killed:
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
    wait_until(lambda: waiting_sessions() == 0, "the server has noticed")
    assert not PortfolioCompany.objects.exists()
    assert not CompanyImport.objects.exists()
    assert command(file, fund, "--apply", plan)[0]["imported"] == 3


@pytest.mark.django_db
def test_equal_lines_stay_as_many_however_often_they_are_imported(file: Path, fund: Fund) -> None:
    file.write_text("name,stage\nA,seed\nB,seed\nA,seed\nA,Series A\n")
    assert import_file(file, fund)["imported"] == 4
    assert import_file(file, fund)["imported"] == 0
    assert names() == ["A", "A", "A", "B"]


@pytest.mark.django_db
def test_a_corrected_report_and_the_whole_file_again_give_each_company_once(
    file: Path, fund: Fund, set_mode: Any, tmp_path: Path
) -> None:
    set_mode(Mode.ENFORCE)
    report = tmp_path / "report.csv"
    lines = ["Acme,seed,=1+1", "Acme,Foo,=1+1", ",seed,Robots", 'Beta "Labs,seed,Health']
    file.write_text("name;stage;sector\n" + "\n".join(lines).replace(",", ";") + "\n")
    done = import_file(file, fund, "--report", str(report))
    assert (done["imported"], done["rejected"]) == (2, 2)

    with report.open(encoding="utf-8-sig", newline="") as opened:
        header, *rows = csv.reader(opened, delimiter=";")
    assert header == ["name", "stage", "sector", "_line", "_column", "_reason", "_raw", "_key"]
    assert rows[0][:5] == ["Acme", "Foo", "\\u003d1+1", "3", "stage"]
    rows[0][1], rows[1][0] = "seed", "Gamma"
    with report.open("w", encoding="utf-8-sig", newline="") as opened:
        csv.writer(opened, delimiter=";").writerows([header, *rows])

    assert import_file(report, fund)["imported"] == 2
    assert names() == ["Acme", "Acme", 'Beta "Labs', "Gamma"]
    assert set(PortfolioCompany.objects.values_list("sector", flat=True)) == {
        "=1+1", "Robots", "Health"
    }  # fmt: skip
    again = import_file(file, fund)
    assert (again["imported"], again["rejected"]) == (0, 2)
    # The stage is decided, and the line of the first file is the one that was corrected.
    decide("Foo", Stage.SEED)
    assert import_file(file, fund)["imported"] == 0
    assert import_file(report, fund)["imported"] == 0


@pytest.mark.django_db
def test_a_line_that_could_not_be_parsed_is_in_the_report_as_it_was(
    file: Path, fund: Fund, tmp_path: Path
) -> None:
    report = tmp_path / "report.csv"
    file.write_text('name,stage\n"Beta "Labs" Inc",Series A\nB,seed\n')
    assert import_file(file, fund, "--report", str(report))["rejected"] == 1
    with report.open(encoding="utf-8-sig", newline="") as opened:
        [row] = csv.DictReader(opened)
    assert row["_raw"] == '"Beta "Labs" Inc",Series A'
    assert (row["name"], row["_line"]) == ("", "2")
    # Imported without a correction it is refused again, not skipped.
    assert import_file(report, fund)["rejected"] == 1


@pytest.mark.django_db
def test_another_stage_of_a_company_is_counted_and_taken_only_when_asked(
    file: Path, fund: Fund
) -> None:
    import_file(file, fund)
    file.write_text(TEXT.replace("Series A", "Series B"))
    again = import_file(file, fund)
    assert (again["imported"], again["other_stage"], again["updated"]) == (0, 1, 0)
    taken = import_file(file, fund, "--update-stage")
    assert (taken["imported"], taken["other_stage"], taken["updated"]) == (0, 1, 1)
    stored = PortfolioCompany.objects.get(name="B")
    assert (stored.stage_raw, stored.stage) == ("Series B", "series-b")
    assert stored.updated_at > stored.created_at


@pytest.mark.django_db
def test_a_key_column_identifies_companies_and_an_empty_or_repeated_key_makes_none(
    file: Path, fund: Fund
) -> None:
    file.write_text("id,name,stage\n1,A,seed\n2,B,seed\n1,A again,Series A\n,C,seed\n")
    done = import_file(file, fund, "--key", "id")
    assert (done["imported"], done["repeated"], done["rejected"]) == (2, 1, 1)
    file.write_text("id,name,stage\n1,Renamed,Series A\n3,D,seed\n")
    done = import_file(file, fund, "--key", "id")
    assert (done["imported"], done["skipped"], done["other_stage"]) == (1, 1, 1)
    assert names() == ["A", "B", "D"]


@pytest.mark.django_db
def test_the_same_file_is_other_companies_in_another_fund(file: Path, fund: Fund) -> None:
    other = Fund.objects.create(name="Birch Ventures")
    assert [import_file(file, each)["imported"] for each in (fund, other)] == [3, 3]


@pytest.mark.django_db(transaction=True)
def test_undo_removes_unchanged_companies_keeps_changed_ones_and_allows_the_import_again(
    file: Path, fund: Fund
) -> None:
    done = import_file(file, fund)
    decide("Foo", Stage.SEED)
    assert work(begin()).trouble == ""  # a backfill changes the derived stage of A
    assert PortfolioCompany.objects.get(name="A").stage == "seed"
    edited = PortfolioCompany.objects.get(name="B")
    edited.sector = "Agriculture"
    edited.save()
    PortfolioCompany.objects.get(name="C").delete()

    result = undo(done["import"], actor="ann")
    assert (result.removed, result.kept_rows, result.gone) == (1, 1, 1)
    assert result.kept == ("B",)
    record = CompanyImport.objects.get()
    assert (record.removed, record.kept, record.gone, record.undone_by) == (1, 1, 1, "ann")
    assert record.undone_at
    assert names() == ["B"]
    with pytest.raises(CommandError, match=r"undone already: .* by ann"):
        call_command("import_companies", "--undo", str(done["import"]))

    again = import_file(file, fund)
    assert (again["imported"], again["skipped"]) == (2, 1)
    assert names() == ["A", "B", "C"]


@pytest.mark.django_db
def test_an_import_is_recorded_with_its_counts_options_and_actor(file: Path, fund: Fund) -> None:
    import_file(file, fund, "--map", "sector=", "--actor", "ann")
    record = CompanyImport.objects.get()
    found = (record.actor, record.file_name, record.options, record.mode, record.fund)
    assert found == ("ann", "companies.csv", {"map": {"sector": ""}}, "off", fund)
    counts = (record.lines, record.imported, record.normalized, record.unknown, record.outside)
    assert counts == (3, 3, 1, 1, 0)
    ids = PortfolioCompany.objects.order_by("pk").values_list("pk", flat=True)
    assert (record.first_company, record.last_company) == (ids[0], ids[2])
    assert set(PortfolioCompany.objects.values_list("from_import", flat=True)) == {record.pk}


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--undo", "7"], "Import 7 does not exist."), ([], "Give a FILE.csv and --fund N")],
)
@pytest.mark.django_db
def test_missing_arguments_and_imports_are_one_sentence(options: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("import_companies", *options)
