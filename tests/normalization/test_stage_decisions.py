"""`manage.py stage_decisions`: from a file to a plan, from a plan to decisions, and back."""

import csv
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normalization import decision_file, decision_store, decisions
from normalization.decision_file import DecisionRow
from normalization.decision_plan import table_after, table_of
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, ObservedSpelling, StageDecision
from normalization.stages import (
    BUILTIN,
    LONGEST,
    Known,
    Outside,
    SpellingTable,
    Stage,
    Unknown,
    fold,
    normalize,
)
from stagenorm.portfolio.models import Fund, PortfolioCompany
from tests.backfill_runs import address
from tests.children import start
from tests.decided import active, decide, decide_all, row
from tests.servers import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
VOCABULARY = [
    record["raw"]
    for record in csv.DictReader(
        io.StringIO((ROOT / "tests/data/stage_vocabulary.csv").read_text(encoding="utf-8"))
    )
]
HOSTILE = [
    "",
    " ",
    "\u200b",
    "\u202egrant",
    "=1+1",
    "-",
    "+",
    "@x",
    'a"b,c\nd\\n',
    "x" * LONGEST,
    "\ufdfa" * LONGEST,
    "<b>",
    "\U0001f600",
    "Series D",
    "seriesc",
]


def run(*arguments: str) -> tuple[int, Any]:
    """Run the command; return its exit status and its JSON."""
    out = io.StringIO()
    try:
        call_command("stage_decisions", *arguments, "--json", stdout=out, stderr=io.StringIO())
        status = 0
    except SystemExit as ended:
        status = int(str(ended.code))
    except CommandError as error:
        status = error.returncode
    decision_store.forget()
    return status, json.loads(out.getvalue() or "{}")


def shown(*arguments: str) -> str:
    out = io.StringIO()
    call_command("stage_decisions", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """``file("Grant,outside,,,,")`` → the path of a file with these lines."""

    def write(*lines: str) -> str:
        path = tmp_path / "decisions.csv"
        header = ",".join(decision_file.COLUMNS)
        path.write_text("\n".join((header, *lines, "")), encoding="utf-8")
        return str(path)

    return write


def planned(path: str, *more: str) -> Any:
    status, plan = run("plan", path, *more)
    assert status == 0
    return plan


def stored(*texts: str, fund: str = "Alder") -> Fund:
    made, _ = Fund.objects.get_or_create(name=fund)
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=made, name=f"{number}", stage=text)
        for number, text in enumerate(texts)
    )
    return made


def sent(text: str, times: int, client: str = "web", stage: str = "") -> None:
    now = datetime.now(UTC)
    ObservedSpelling.objects.create(
        day=now.date(), spelling=text, stage=stage, endpoint="e", client=client, count=times,
        first_seen=now, last_seen=now,
    )  # fmt: skip


# -- Plan and apply -------------------------------------------------------------------------------


def test_a_plan_shows_decisions_rows_clients_and_changes_nothing(
    file: Callable[..., str],
) -> None:
    alder, birch = stored("Angel", "ANGEL", "Grant"), stored("angel", fund="Birch")
    sent("Angel", 5)
    sent("Idea", 7, "app", stage="seed")
    decide_all([row("Idea", Stage.SEED), row("Kept", Stage.SEED)])
    version = decisions.version()
    path = file(
        "Angel,stage,pre-seed,angel,,our feed: confirmed",
        "Grant,outside,,grant,not equity,our feed",
        "Idea,outside,,,,our feed",
        "Kept,stage,seed,,,x",
    )
    plan = planned(path)
    assert [each["spelling"] for each in plan["new"]] == ["Angel", "Grant"]
    assert [each["after"]["spelling"] for each in plan["changed"]] == ["Idea"]
    assert (plan["unchanged"], plan["retired"], plan["conflicts"]) == (1, [], [])
    table = PortfolioCompany._meta.db_table
    assert sorted(
        (each["fund"], each["before"], each["after"], each["rows"]) for each in plan["rows"]
    ) == sorted(
        [
            (alder.pk, "undecided", "pre-seed", 2),
            (alder.pk, "undecided", "outside", 1),
            (birch.pk, "undecided", "pre-seed", 1),
        ]
    )
    assert {each["table"] for each in plan["rows"]} == {table}
    assert plan["rows_to_derive"] == 3
    assert (plan["newly_accepted"], plan["newly_refused"]) == (5, 7)
    assert plan["clients"]["app"]["refused_spellings"] == ["Idea"]
    assert decisions.version() == version


def test_an_approved_plan_is_applied_and_the_rows_wait_for_a_backfill(
    file: Callable[..., str],
) -> None:
    stored("Angel")
    path = file("Angel,stage,pre-seed,,,confirmed", "Grant,outside,,,,our feed")
    plan = planned(path)
    status, result = run("apply", path, "--plan", plan["hash"], "--actor", "ann")
    assert (status, result["status"], result["rows_to_derive"]) == (4, 4, 1)
    assert active() == {"angel": "pre-seed", "grant": "outside"}
    batch = DecisionBatch.objects.get()
    assert (batch.author, batch.source, batch.plan_hash) == ("ann", "file", plan["hash"])
    assert len(batch.file_digest) == 64


def test_without_stored_rows_nothing_is_left_to_do(file: Callable[..., str]) -> None:
    stored("Grant")
    path = file("Grant,outside,,,,our feed")
    assert run("apply", path, "--plan", planned(path)["hash"])[0] == 0


@pytest.mark.parametrize("change", ["the file", "the decisions", "prune"])
def test_a_stale_plan_is_refused(file: Callable[..., str], change: str) -> None:
    path = file("Grant,outside,,,,our feed")
    plan = planned(path)["hash"]
    more = []
    if change == "the file":
        path = file("Grant,outside,,,another note,our feed")
    elif change == "the decisions":
        decide("Idea", Stage.SEED)
    else:
        more = ["--prune"]
    status, answer = run("apply", path, "--plan", plan, *more)
    assert (status, answer["status"]) == (1, 1)
    assert "Nothing was written" in answer["error"]
    assert "grant" not in active()


def test_a_hard_warning_has_to_be_confirmed(file: Callable[..., str]) -> None:
    path = file("Seires A,stage,series-b,,,our feed")
    plan = planned(path)
    assert (plan["unconfirmed"], plan["warnings"]["against_suggestion"]) == (["Seires A"], 1)
    status, answer = run("apply", path, "--plan", plan["hash"])
    assert status == 1
    assert "looks like series-a" in answer["error"]
    assert run("apply", path, "--plan", plan["hash"], "--confirm", "SEIRES_A")[0] == 0
    assert active() == {"seires a": "series-b"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Seed,outside,,,,x", "line 2: “Seed” is built in as seed"),
        ("Grant,choose,,,,x", "line 2: unknown verdict “choose”"),
        ("Grant,outside,seed,,,x", "line 2: the verdict outside has no stage"),
    ],
)
def test_a_faulty_file_is_refused_with_its_lines(
    file: Callable[..., str], line: str, reason: str
) -> None:
    status, answer = run("plan", file(line))
    assert status == 1
    assert reason in answer["error"]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    status, answer = run("plan", str(tmp_path / "none.csv"))
    assert (status, "No such file" in answer["error"]) == (1, True)


@pytest.mark.parametrize("arguments", [[], ["apply", "x.csv"], ["retire", "x"], ["undo", "x"]])
def test_wrong_usage_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("stage_decisions", *arguments)


def test_absent_rows_stay_unless_the_file_prunes(file: Callable[..., str]) -> None:
    decide_all([row("Idea", Stage.SEED), row("Grant", DecisionVerdict.OUTSIDE)])
    path = file("Grant,outside,,,,our feed")
    assert planned(path)["retired"] == []
    plan = planned(path, "--prune")
    assert [each["spelling"] for each in plan["retired"]] == ["Idea"]
    assert run("apply", path, "--prune", "--plan", plan["hash"], "--reason", "tidy")[0] == 0
    assert active() == {"grant": "outside"}


def test_a_plan_for_people_names_every_part(file: Callable[..., str]) -> None:
    stored("Angel")
    sent("Angel", 5)
    text = shown("plan", file("Angel,stage,pre-seed,,<b>,x", ",outside,,missing,no stage,x"))
    for part in ("(blank)", "<b>", "portfolio_companies", "outside_word", "--confirm", "Plan "):
        assert part in text


# -- Retire, undo, list ---------------------------------------------------------------------------


def test_retire_and_undo_report_the_rows_that_change() -> None:
    stored("Angel", "Angel")
    decide("Angel", Stage.SEED)
    status, retired = run("retire", "ANGEL", "--reason", "a mistake", "--actor", "bob")
    assert (status, retired["rows_to_derive"], active()) == (4, 2, {})
    batch = DecisionBatch.objects.get(pk=retired["batch"])
    assert (batch.author, batch.reason, batch.source) == ("bob", "a mistake", "command")
    assert run("undo", str(retired["batch"]))[0] == 4
    assert active() == {"angel": "seed"}
    assert run("undo", str(retired["batch"]))[0] == 1


def test_a_retirement_names_whom_it_would_refuse() -> None:
    decide("Angel", Stage.SEED)
    sent("Angel", 5, "app", stage="seed")
    _, retired = run("retire", "Angel", "--reason", "x")
    assert (retired["newly_refused"], list(retired["clients"])) == (5, ["app"])


def test_the_list_has_decisions_or_what_is_undecided() -> None:
    decide_all([row("Idea", Stage.SEED), row("Grant", DecisionVerdict.OUTSIDE, "not equity")])
    stored("Growth", "growth", "Grant", "Seires A")
    sent("GROWTH", 5, "app")
    sent("Seires A", 1)
    _, every = run("list")
    assert [each["spelling"] for each in every["decisions"]] == ["Grant", "Idea"]
    _, outside = run("list", "--outside")
    assert [each["note"] for each in outside["decisions"]] == ["not equity"]
    _, found = run("list", "--undecided")
    assert found["undecided"] == [
        {"spelling": "GROWTH", "rows": 2, "requests": 5, "clients": ["app"], "suggestions": []},
        {
            "spelling": "Seires A",
            "rows": 1,
            "requests": 1,
            "clients": ["web"],
            "suggestions": ["series-a"],
        },
    ]
    assert "not equity" in shown("list")
    assert "perhaps" in shown("list", "--undecided")


# -- Packs ----------------------------------------------------------------------------------------


def test_packs_show_what_they_would_settle_of_rows_and_of_each_client() -> None:
    stored("Early Stage VC (Series A)", "Grant", "no such words")
    sent("Early Stage VC (Series B)", 3, "desk")
    sent("no such words", 3, "desk")
    _, found = run("packs")
    packs = {each["name"]: each for each in found["packs"]}
    assert len(packs) == 11
    pitchbook = packs["pitchbook"]
    assert (pitchbook["rows"], pitchbook["undecided_rows"], pitchbook["all_rows"]) == (2, 3, 3)
    assert pitchbook["clients"] == {"desk": 0.5}
    assert "pack:pitchbook" in shown("packs")


def test_a_pack_is_applied_like_a_file_and_never_decides_a_choice() -> None:
    plan = planned("pack:pitchbook")
    assert (plan["unconfirmed"], plan["conflicts"]) == ([], [])
    to_choose = {fold(each["spelling"]) for each in plan["to_choose"]}
    assert to_choose
    assert run("apply", "pack:pitchbook", "--plan", plan["hash"])[0] == 0
    assert len(active()) == len(plan["new"])
    assert not to_choose & set(active())
    assert DecisionBatch.objects.get().source == "pack"
    assert run("plan", "pack:none")[0] == 2


def test_a_pack_leaves_earlier_decisions_as_they_are() -> None:
    decide("Grant", DecisionVerdict.OUTSIDE, "we pay no grants")
    decide("Grants", DecisionVerdict.OPEN)
    plan = planned("pack:common-outside")
    assert (plan["retired"], plan["unchanged"]) == ([], 0)
    assert [each["after"]["spelling"].casefold() for each in plan["changed"]] == ["grants"]
    run("apply", "pack:common-outside", "--plan", plan["hash"])
    notes = {each.key: each.note for each in StageDecision.objects.filter(superseded_at=None)}
    assert notes["grant"] == "we pay no grants"


# -- Export ---------------------------------------------------------------------------------------


def every_decision() -> list[DecisionRow]:
    """A decision about each undecided spelling of the vocabulary and each hostile text."""
    rows: dict[str, DecisionRow] = {}
    verdicts: list[Stage | DecisionVerdict] = [
        Stage.SEED,
        DecisionVerdict.OUTSIDE,
        DecisionVerdict.OPEN,
        Stage.SERIES_C_PLUS,
    ]
    for number, text in enumerate([*VOCABULARY, *HOSTILE]):
        if not BUILTIN.holds(fold(text)):
            verdict = verdicts[number % len(verdicts)]
            rows.setdefault(fold(text), row(text, verdict, f"note {number}", f"kind {number % 7}"))
    return list(rows.values())


def answers(table: SpellingTable) -> list[Any]:
    return [normalize(text, table) for text in [*VOCABULARY, *HOSTILE]]


def test_an_export_into_a_fresh_database_brings_every_decision_back(tmp_path: Path) -> None:
    decide_all(every_decision())
    before, rows = answers(decision_store.current()), decisions.in_force()
    path = str(tmp_path / "export.csv")
    assert run("export", path)[0] == 0
    decisions.retire(
        [each.spelling for each in rows],
        author="x", source=DecisionBatch.Source.COMMAND, reason="a fresh database",
    )  # fmt: skip
    decision_store.forget()
    assert answers(decision_store.current()) != before
    assert run("apply", path, "--plan", planned(path)["hash"])[0] == 0
    assert answers(decision_store.current()) == before
    assert decisions.in_force() == rows
    again = str(tmp_path / "again.csv")
    run("export", again)
    assert Path(again).read_bytes() == Path(path).read_bytes()


def test_an_export_to_standard_output_is_the_file() -> None:
    decide("Grant", DecisionVerdict.OUTSIDE, "not equity", reason="our feed")
    assert shown("export", "-") == decision_file.write(decisions.in_force())


# -- Laws -----------------------------------------------------------------------------------------

TEXTS = st.sampled_from([*HOSTILE, "Angel", "ANGEL ", "Grant", "Idea", "seed", "Series A", "2nd"])
VERDICTS = st.sampled_from([*Stage, DecisionVerdict.OUTSIDE, DecisionVerdict.OPEN])
ROWS = st.lists(st.builds(row, TEXTS, VERDICTS, st.sampled_from(["", "a note"])), max_size=6)
law = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def cleared() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE normalization_stagedecision, normalization_decisionbatch CASCADE")
    decision_store.forget()


def applicable(rows: list[DecisionRow]) -> list[DecisionRow]:
    """The rows without conflicts."""
    once = {each.key: each for each in rows if not BUILTIN.holds(each.key)}
    return list(once.values())


@law
@given(first=ROWS, second=ROWS, prune=st.booleans())
def test_what_a_plan_announces_is_what_changes(
    first: list[DecisionRow], second: list[DecisionRow], prune: bool
) -> None:
    cleared()
    decide_all(applicable(first))
    in_force = decisions.in_force()
    plan = decisions.plan(applicable(second), prune=prune)
    announced = table_after(plan, in_force)
    result = decisions.apply(
        plan, author="ann", source=DecisionBatch.Source.FILE, reason="x",
        confirmed=[each.spelling for each in second],
    )  # fmt: skip
    table = decision_store.newest()
    assert answers(table) == answers(announced)
    assert answers(table_of(decisions.in_force(), result.version)) == answers(table)
    assert (result.decided, result.superseded) == (
        len(plan.written),
        len(plan.changed) + len(plan.retired),
    )
    after = {each.key: each for each in decisions.in_force()}
    assert {each.key for each in plan.new} == set(after) - {each.key for each in in_force}
    kept = {each.key for each in in_force} - set(after)
    assert {each.key for each in plan.retired} == kept


@law
@given(first=ROWS, batches=st.lists(ROWS, min_size=1, max_size=3))
def test_applying_and_then_undoing_leaves_what_was_before(
    first: list[DecisionRow], batches: list[list[DecisionRow]]
) -> None:
    cleared()
    decide_all(applicable(first))
    before, exported = answers(decision_store.current()), decisions.in_force()
    results = [decide_all(applicable(rows)) for rows in batches]
    for result in reversed(results):
        if result.batch is not None:
            decisions.undo(result.version, author="bob", source=DecisionBatch.Source.COMMAND)
    decision_store.forget()
    assert answers(decision_store.current()) == before
    assert decisions.in_force() == exported


@law
@given(rows=ROWS, text=st.text() | TEXTS)
def test_a_stage_is_answered_only_for_a_listed_spelling(
    rows: list[DecisionRow], text: str
) -> None:
    table = table_of(applicable(rows), 1)
    found = normalize(text, table)
    listed = {each.key: each for each in applicable(rows)}
    if isinstance(normalize(text), Known):
        assert found == normalize(text)
    elif len(text) <= LONGEST and fold(text) in listed:
        decided = listed[fold(text)]
        match found:
            case Known():
                assert found.stage is decided.stage
            case Outside():
                assert (decided.verdict, decided.note) == (DecisionVerdict.OUTSIDE, found.note)
            case Unknown():
                assert decided.verdict is DecisionVerdict.OPEN
    else:
        assert isinstance(found, Unknown)


# -- Ten thousand ---------------------------------------------------------------------------------


def many(count: int = 10_000) -> str:
    rows = [row(f"Fund Round {number}", DecisionVerdict.OUTSIDE) for number in range(count)]
    return decision_file.write(rows)


def test_ten_thousand_decisions_are_applied_and_undone(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text(many(), encoding="utf-8")
    approved = planned(str(path))["hash"]
    assert run("apply", str(path), "--plan", approved)[0] == 0
    assert StageDecision.objects.count() == 10_000
    undone = run("undo", str(decisions.version()))
    assert (undone[0], active()) == (0, {})


def test_a_kill_during_an_apply_leaves_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text(many(3_000), encoding="utf-8")
    approved = planned(str(path))["hash"]
    # The last row waits for this lock, so that the process is killed with all others written.
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF NEW.key = 'fund round 999' THEN PERFORM pg_advisory_lock(4711); END IF; "
            "RETURN NEW; END $$; CREATE TRIGGER wait_here BEFORE INSERT ON "
            "normalization_stagedecision FOR EACH ROW EXECUTE FUNCTION wait_here(); "
            "SELECT pg_advisory_lock(4711)"
        )
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    command = [sys.executable, "manage.py", "stage_decisions", "apply", str(path)]
    environment = os.environ | {"DATABASE_URL": address()}
    child = start([*command, "--plan", approved], cwd=ROOT, env=environment)
    try:
        wait_until(lambda: scalar(waiting) == 1, "the process inside its transaction")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_unlock(4711); "
                "DROP TRIGGER wait_here ON normalization_stagedecision; DROP FUNCTION wait_here"
            )
    wait_until(lambda: scalar(waiting) == 0, "the end of its session")
    assert (active(), decisions.version()) == ({}, 0)
    assert run("apply", str(path), "--plan", approved)[0] == 0
    assert len(active()) == 3_000


def scalar(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]
