"""`manage.py normalize_stages` for an operator: plan, gate, exit statuses, JSON, signals."""

from __future__ import annotations

import json
import signal
import traceback
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection

from normalization.decision_warnings import DecisionVerdict
from normalization.stages import Stage
from ops.backfill.models import BackfillRun, NormalizationLog
from tests.backfill_runs import (
    CANONICAL,
    MESSY,
    Command,
    execute,
    normalized,
    rewrite,
    store,
    store_many,
    stored,
    valid_backup,
    wait_for,
)
from tests.decided import decide

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
OPS = ROOT / "ops"


def run(*arguments: str) -> tuple[int, str]:
    """(exit status, what was printed) of the command in this process."""
    out = StringIO()
    try:
        call_command("normalize_stages", *arguments, stdout=out, stderr=StringIO())
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def data(*arguments: str) -> Any:
    """The last JSON object that the command prints."""
    return json.loads(run(*arguments, "--json")[1].splitlines()[-1])


@pytest.fixture
def open_gate() -> None:
    """A backup that the gate accepts."""
    valid_backup()


def test_the_plan_shows_each_value_with_its_stage_and_changes_nothing() -> None:
    store(["Series A", "Series A", "seed", "Seires A", "[bold]"])
    before = execute("SELECT *, xmin::text FROM portfolio_companies ORDER BY id")
    status, text = run()
    assert status == 0
    for shown in (
        "'Series A'",
        "series-a",
        "perhaps series-a",
        "[bold]",
        "5 rows to change, 5 of them to keep their text beside the stage",
        "3 rows known, 0 outside, 2 undecided",
    ):
        assert shown in text
    assert execute("SELECT *, xmin::text FROM portfolio_companies ORDER BY id") == before
    assert not BackfillRun.objects.exists()


def test_a_row_is_written_at_most_eight_modules_below_the_command(open_gate: None) -> None:
    store(["Series A"])
    paths: list[list[str]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "UPDATE" in sql and "portfolio_companies" in sql:
            frames = [Path(frame.filename) for frame in traceback.extract_stack()]
            ours = [str(each.relative_to(ROOT)) for each in frames if each.is_relative_to(OPS)]
            paths.append(list(dict.fromkeys(ours)))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        assert run("--apply")[0] == 0
    assert paths
    for path in paths:
        assert path[0] == "ops/management/commands/normalize_stages.py"
        assert len([*path, "ops/backfill/sql.py"]) <= 8, path


def test_the_plan_as_json_has_counts_suggestions_and_an_estimate() -> None:
    store(["Series A", "Series A", "seed", "Seires A"])
    plan = data()
    companies = plan["columns"][0]
    assert companies["pairs"] == [
        {"raw": "Series A", "stage": "series-a", "rows": 2},
        {"raw": "Seires A", "stage": None, "rows": 1},
        {"raw": "seed", "stage": "seed", "rows": 1},
    ]
    assert companies["unknown"] == [{"raw": "Seires A", "rows": 1, "suggestions": ["series-a"]}]
    counted = ("rows", "to_change", "to_fill", "known_rows", "unknown_rows", "outside_rows")
    assert [companies[name] for name in counted] == [4, 4, 4, 3, 1, 0]
    assert plan["seconds"] > 0


def test_the_plan_names_what_is_decided_outside() -> None:
    store(["Series A", "Grant", "Grant", "Seires A"])
    decide("Grant", DecisionVerdict.OUTSIDE)
    companies = data()["columns"][0]
    counted = ("known_rows", "unknown_rows", "outside_rows")
    assert [companies[name] for name in counted] == [1, 1, 2]
    assert companies["outside"] == [{"raw": "Grant", "rows": 2}]
    assert "1 rows known, 2 outside, 1 undecided" in run()[1]


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (lambda: store(["Series A"]), False),
        (lambda: execute("DELETE FROM portfolio_companies WHERE stage = 'Series A'"), False),
        (lambda: decide("Round X", Stage.SEED), False),
        (lambda: decide("Round Y", Stage.SEED), True),
        (lambda: store(["seed"], raws=["Seed"]), True),
    ],
    ids=[
        "a row more",
        "a row less",
        "an alias for a stored value",
        "an alias that no row has",
        "rows it leaves alone",
    ],
)
@pytest.mark.usefixtures("open_gate")
def test_an_approved_plan_is_carried_out_only_while_it_is_unchanged(
    change: Any, holds: bool
) -> None:
    store(["Series A", "Round X"])
    hash = data()["hash"]
    change()
    status, text = run("--apply", "--plan", hash)
    if holds:
        assert status == 4, text
    else:
        assert (status, "approve the new hash" in text) == (1, True)
        assert not BackfillRun.objects.exists()


def test_without_a_valid_backup_every_apply_is_refused() -> None:
    store(["Series A"])
    for arguments in (
        ["--apply"],
        ["--apply", "--restart"],
        ["--apply", "--strategy", "transactional"],
    ):
        status, text = run(*arguments)
        assert (status, "backup_valid" in text) == (3, True)
    assert set(stored().values()) == {"Series A"}
    assert not BackfillRun.objects.exists()


@pytest.mark.usefixtures("open_gate")
def test_with_a_valid_backup_a_run_is_completed_and_reported() -> None:
    store([*MESSY, *CANONICAL])
    before = stored()
    status, text = run("--apply")
    number = BackfillRun.objects.get().pk
    assert (status, text) == (
        0,
        f"Run {number} is completed: {len(before)} rows changed, {len(before)} scanned.\n",
    )
    assert stored() == normalized(before)
    assert run("--verify")[0] == 0


@pytest.mark.usefixtures("open_gate")
def test_undecided_values_are_exit_status_4_and_the_verification_compares_with_the_source() -> (
    None
):
    store(["Series A", "Series X"])
    status, text = run("--apply")
    assert (status, "1 rows with 1 values stay undecided" in text) == (4, True)
    status, text = run("--verify")
    assert (status, "1 rows known, 0 outside, 1 undecided" in text) == (0, True)
    decide("Series X", DecisionVerdict.OUTSIDE)
    assert (run("--verify")[0], run("--apply")[0]) == (0, 0)
    decide("Series X", Stage.SERIES_C_PLUS)
    status, text = run("--verify")
    assert (status, "1 rows are not what today's decisions give" in text) == (1, True)


@pytest.mark.usefixtures("open_gate")
def test_json_is_a_line_for_each_event_and_the_result_last() -> None:
    store(MESSY * 30)
    lines = [
        json.loads(line) for line in run("--apply", "--json", "--backoff-ms", "0")[1].splitlines()
    ]
    assert [each["event"] for each in lines] == ["pass", "batch", "finished"]
    assert lines[1]["changed"] == lines[2]["changed"] == len(MESSY) * 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume"], "--resume RUN"),
        (["--restart"], "need --apply"),
        (["--plan", "abc"], "need --apply"),
        (["--apply", "--resume", "--restart"], "excludes --restart and --plan"),
        (["--apply", "--resume", "7"], "needs no number"),
        (["--table", "portfolio_fund"], "holds no stages"),
        (["--validate-constraint"], "needs --table"),
        (["--undo", "1", "--strategy", "transactional"], "always uses batches"),
    ],
)
def test_contradicting_arguments_are_exit_status_2(arguments: list[str], message: str) -> None:
    status, text = run(*arguments)
    assert (status, message in text) == (2, True)


@pytest.mark.parametrize(
    "arguments", [["--pause", "99"], ["--cancel", "99"], ["--resume", "99"], ["--undo", "99"]]
)
def test_a_missing_run_is_exit_status_1(arguments: list[str]) -> None:
    status, text = run(*arguments)
    assert (status, "There is no run 99" in text) == (1, True)


@pytest.mark.usefixtures("open_gate")
def test_the_undo_command_reports_what_it_left() -> None:
    ids = store(["Series A"] * 5)
    run("--apply")
    rewrite("seed", [ids[0]])
    number = BackfillRun.objects.get().pk
    status, text = run("--undo", str(number))
    assert (status, text) == (
        0,
        f"Run {number} is undone: 4 rows restored; "
        f"1 rows of portfolio_companies were changed since and stay (first ids [{ids[0]}]).\n",
    )


@pytest.mark.usefixtures("open_gate")
def test_restart_cancels_the_unfinished_run_and_begins_a_new_one() -> None:
    store(["Series A"])
    from tests.backfill_runs import begin

    left = begin()
    assert run("--apply")[0] == 1
    assert run("--apply", "--restart")[0] == 0
    left.refresh_from_db()
    assert left.state == "cancelled"
    assert set(stored().values()) == {"series-a"}


@pytest.mark.usefixtures("open_gate")
def test_a_constraint_keeps_a_clean_column_clean_until_it_is_dropped() -> None:
    store(["Series A"])
    table = ("--table", "portfolio_companies")
    status, text = run("--validate-constraint", *table)
    assert (status, "run --apply first" in text) == (1, True)
    run("--apply")
    assert run("--validate-constraint", *table)[0] == 0
    assert run("--validate-constraint", *table)[0] == 0
    with pytest.raises(IntegrityError):
        store(["Series A"])
    store(["series-a"], raws=["Series A"])
    decide("Serie Q", Stage.SEED)
    rewrite("Serie Q", store(["seed"], raws=["Seed"]))
    assert run("--apply")[0] == 0
    later = BackfillRun.objects.latest("pk").pk
    assert run("--undo", str(later))[0] == 0
    status, text = run("--undo", str(BackfillRun.objects.order_by("pk")[0].pk))
    assert (status, "--drop-constraint" in text) == (1, True)
    assert run("--drop-constraint", *table)[0] == 0
    store(["Series A"])


@pytest.mark.usefixtures("open_gate")
def test_sigterm_finishes_the_batch_and_names_the_command_to_resume(tmp_path: Path) -> None:
    store_many(3000)
    before = stored()
    command = Command(
        "--apply", "--json", "--batch-size", "100", "--backoff-ms", "2000", directory=tmp_path
    )
    wait_for(NormalizationLog.objects.exists, "the first batch")
    command.signal(signal.SIGTERM)
    assert command.wait() == 1
    assert "Resume it with --apply --resume" in command.said()
    half = stored()
    left = BackfillRun.objects.get()
    assert (left.state, left.lease_token) == ("paused", None)
    assert 0 < sum(each.changed for each in left.checkpoints.all()) < 3000
    assert half != before
    again = Command("--apply", "--resume", "--json", "--backoff-ms", "0", directory=tmp_path)
    assert again.wait() == 4
    assert stored() == normalized(before)
    assert again.lines()[-1]["changed"] == 3000
