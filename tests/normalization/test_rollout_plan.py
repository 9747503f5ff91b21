"""The plan of the rollout: its rules by table, the recorded plan, the next step, the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from normalization import rollout_steps, rollout_store
from normalization.known_clients import similar
from normalization.models import AppendOnlyError, RolloutChange, RolloutPlanChange
from normalization.rollout import Mode, Rollout, without_enforcement
from normalization.rollout_plan import (
    DEFAULT_PLAN,
    WARN,
    PlanInvalid,
    PlanStep,
    RolloutPlan,
    StepRun,
    judge_step,
    parse_step,
    spoken,
)
from normalization.rollout_store import ChangeRefused, GateRefused
from tests.observed import counted, plan_without_waiting

HOUR = 3600
TENTH = PlanStep(Decimal(10), 24 * HOUR, 1_000)


def at(mode: str, percent: float = 100) -> Rollout:
    return Rollout(Mode(mode), Decimal(str(percent)))


# -- The rules ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rollout", "current", "following", "enforcing"),
    [
        (at("off"), None, "warn", "10 %"),
        (at("warn"), "warn", "10 %", "10 %"),
        (at("warn", 50), "warn", "10 %", "10 %"),  # after a way back the share has stayed
        (at("enforce", 0), "warn", "10 %", "10 %"),
        (at("enforce", 10), "10 %", "25 %", "25 %"),
        (at("enforce", 17.5), "10 %", "25 %", "25 %"),
        (at("enforce", 50), "50 %", "100 %", "100 %"),
        (at("enforce", 100), "100 %", None, None),
    ],
)
def test_the_next_step_follows_from_the_mode_and_the_share(
    rollout: Rollout, current: str | None, following: str | None, enforcing: str | None
) -> None:
    found = (
        DEFAULT_PLAN.current(rollout), DEFAULT_PLAN.next(rollout),
        DEFAULT_PLAN.next_enforcing(rollout),
    )  # fmt: skip
    assert [step and step.name for step in found] == [current, following, enforcing]


@pytest.mark.parametrize(
    ("seconds", "requests", "sentence", "remedy"),
    [
        (3 * HOUR, 1_000, "10 % has run for 3 h of 24 h.", "wait 21 h more"),
        (
            24 * HOUR, 120, "10 % has served 120 of 1,000 requests.",
            "wait for 880 more requests",
        ),
        (
            90, 0, "10 % has run for 90 s of 24 h and served 0 of 1,000 requests.",
            "wait 23 h more and for 1,000 more requests",
        ),
        (
            24 * HOUR, 1_000,
            "10 % has run for 24 h; at least 24 h and 1,000 requests are needed.", "",
        ),
    ],
)  # fmt: skip
def test_a_step_holds_the_next_one_until_its_least_time_and_its_least_requests(
    seconds: int, requests: int, sentence: str, remedy: str
) -> None:
    found = judge_step(TENTH, StepRun(None, seconds, requests))
    assert (found.sentence, found.remedy, found.passes) == (sentence, remedy, not remedy)
    assert found.evidence["least_seconds"] == 24 * HOUR


def test_a_step_keeps_all_else_of_the_rollout() -> None:
    before = Rollout(Mode.WARN, pilots=frozenset({"a"}), holdouts=frozenset({"b"}))
    after = TENTH.applied_to(before)
    assert (after.mode, after.enforce_percent) == (Mode.ENFORCE, Decimal(10))
    assert (after.pilots, after.holdouts) == (before.pilots, before.holdouts)
    assert PlanStep(WARN).applied_to(at("off", 30)) == at("warn", 30)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("warn", PlanStep(WARN)),
        ("warn:30m:5", PlanStep(WARN, 1_800, 5)),
        ("12.5 %:7d", PlanStep(Decimal("12.5"), 7 * 86_400)),
        ("100:0:0", PlanStep(Decimal(100))),
    ],
)
def test_a_step_is_read_from_its_short_form(text: str, step: PlanStep) -> None:
    assert parse_step(text) == step


@pytest.mark.parametrize("text", ["", "x", "nan", "0", "101", "1.234", "10:1w", "10:24h:-1", "10:"
                                  "366d", "10:1h:x", "10:1h:9999999999"])  # fmt: skip
def test_what_is_not_a_step_is_refused(text: str) -> None:
    with pytest.raises(PlanInvalid):
        parse_step(text)


@pytest.mark.parametrize(
    ("ranks", "why"),
    [
        ([], "first step of a plan is warn"),
        ([10, 100], "first step of a plan is warn"),
        ([WARN, 10], "last step of a plan is 100"),
        ([WARN, 50, 25, 100], "enforces more than the one before"),
        ([WARN, 25, 25, 100], "enforces more than the one before"),
        ([WARN, *range(1, 20), 100], "at most 20 steps"),
    ],
)
def test_a_plan_warns_first_rises_and_ends_with_every_client(ranks: list[Any], why: str) -> None:
    with pytest.raises(PlanInvalid, match=why):
        RolloutPlan(tuple(PlanStep(Decimal(rank)) for rank in ranks))


def test_the_json_of_a_plan_is_read_strictly() -> None:
    wire = DEFAULT_PLAN.to_wire()
    assert RolloutPlan.from_wire(wire) == DEFAULT_PLAN
    with pytest.raises(PlanInvalid):
        RolloutPlan.from_wire([{**wire[0], "more": 1}, *wire[1:]])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (60, "1 min"), (90, "90 s"), (HOUR, "1 h"), (100 * 60, "100 min"),
     (86_399, "23 h"), (86_400, "24 h"), (9 * 86_400, "9 days")],
)  # fmt: skip
def test_a_duration_has_one_whole_unit(seconds: int, words: str) -> None:
    assert spoken(seconds) == words


@pytest.mark.parametrize(
    ("name", "meant"),
    [("deal-flw", "deal-flow"), ("Deal-Flow", "deal-flow"), ("app-2", ""), ("reporting", ""),
     ("app-l", "")],
)  # fmt: skip
def test_a_misspelt_client_is_like_exactly_one_that_has_the_same_digits(
    name: str, meant: str
) -> None:
    assert similar(name, ["deal-flow", "deal-desk", "app-1"]) == meant


# -- The recorded plan and the next step --------------------------------------


@pytest.fixture
def gated(settings: Settings) -> None:
    """Ask the gates; each passes, so that only the plan can hold a step."""
    settings.STAGE_GATEKEEPER = "tests.observed.no_gate"


def take(**given: Any) -> rollout_store.ChangeResult:
    return rollout_steps.take_next(actor="ann", source="tests", **given)


@pytest.mark.django_db
def test_the_newest_recorded_plan_is_in_force_and_no_row_can_change() -> None:
    assert rollout_steps.plan() == DEFAULT_PLAN
    short = RolloutPlan((PlanStep(WARN), PlanStep(Decimal(100))))
    words = {"actor": "ann", "source": "tests", "reason": "two clients"}
    assert rollout_steps.change_plan(short, **words)
    assert not rollout_steps.change_plan(short, **words)
    assert rollout_steps.plan() == short
    with pytest.raises(ChangeRefused, match="needs a reason"):
        rollout_steps.change_plan(DEFAULT_PLAN, actor="a", source="s", reason=" ")
    row = RolloutPlanChange.objects.get()
    for act in (row.save, row.delete):
        with pytest.raises(AppendOnlyError):
            act()
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE normalization_rolloutplanchange SET actor = 'eve'")


@pytest.mark.django_db
def test_a_step_that_has_not_run_long_enough_is_taken_only_with_a_reason(
    set_mode: Callable[..., int], gated: None
) -> None:
    set_mode("warn")
    counted("canonical", 1_200)
    with pytest.raises(GateRefused, match=r"step_proven: Warn has run for \d+ s of 24 h") as held:
        take(reason="go")
    assert [each.gate for each in held.value.held] == ["step_proven"]
    result = take(reason="go", gate_overrides={"step_proven": "the owners agreed"})
    assert result.rollout == at("enforce", 10)
    evidence = RolloutChange.objects.latest("id").evidence
    assert evidence["overrides"] == {"step_proven": "the owners agreed"}
    assert evidence["gates"][0]["evidence"]["requests"] >= 1_000


@pytest.mark.django_db
def test_the_steps_lead_to_every_client_and_begin_anew_after_a_way_back(
    set_mode: Callable[..., int], gated: None
) -> None:
    plan_without_waiting()
    names = [take().rollout.to_wire() for _ in range(3)]
    assert [(each["mode"], each["enforce_percent"]) for each in names] == [
        ("warn", "100"),
        ("enforce", "10"),
        ("enforce", "25"),
    ]
    assert RolloutChange.objects.latest("id").reason == "Next step of the plan: 25 %"
    rollout_store.change(without_enforcement, actor="alertmanager", source="alert", reason="r")
    found = rollout_steps.standing(rollout_store.newest())
    assert found.current
    assert found.next
    assert (found.current.name, found.next.name) == ("warn", "10 %")
    assert found.run
    assert found.run.seconds < HOUR
    assert [take().rollout.enforce_percent for _ in range(4)] == [10, 25, 50, 100]
    with pytest.raises(ChangeRefused, match="last step"):
        take()


@pytest.mark.django_db
def test_only_requests_of_the_step_s_mode_since_it_began_count(
    set_mode: Callable[..., int],
) -> None:
    set_mode("warn")
    set_mode("enforce", enforce_percent=Decimal(10))
    set_mode("enforce", enforce_percent=Decimal(10), pilots=frozenset({"p"}))  # the same step
    counted("canonical", 40, mode="enforce")
    counted("rejected", 2, mode="enforce")
    counted("canonical", 500, mode="warn")
    counted("canonical", 600, minutes=2, mode="enforce")
    found = rollout_steps.standing(rollout_store.newest())
    changes = RolloutChange.objects.order_by("id")
    assert found.run
    assert found.run.since == changes[1].created_at
    assert found.run.requests == 42


@pytest.mark.django_db
def test_by_default_a_step_runs_since_its_first_counted_request(settings: Settings) -> None:
    settings.STAGE_VALIDATION_MODE = "warn"
    assert rollout_steps.entered_at(at("warn")) is None
    counted("canonical", 1, minutes=90)
    rollout_store.forget()
    found = rollout_steps.standing(rollout_store.newest())
    assert found.run
    assert found.run.seconds >= timedelta(minutes=89).total_seconds()


@pytest.mark.django_db
def test_a_misspelt_pilot_or_holdout_of_a_person_is_refused_with_the_name_that_is_meant() -> None:
    counted("canonical", 1, client="deal-flow")
    for role in ("pilots", "holdouts"):
        with pytest.raises(CommandError, match=r"called deal-flw\. Did you mean deal-flow\?"):
            run("set", "warn", f"--{role}", "deal-flw", "--reason", "r")
    assert rollout_store.newest().version == 0
    run("set", "warn", "--pilots", "deal-flow,partner", "--reason", "r")
    held = Rollout(Mode.WARN, holdouts=frozenset({"deal-flw"}))
    assert rollout_store.change(held, actor="guard", source="guard", reason="r").changed


# -- The commands -------------------------------------------------------------


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("stage_mode", *arguments, stdout=out, stderr=out)
    return out.getvalue().strip()


@pytest.mark.django_db(transaction=True)
def test_the_command_shows_changes_and_follows_the_plan(gated: None) -> None:
    assert "now warn" in run("next", "--reason", "begin", "--actor", "ann")
    held = "step_proven: Warn has run for .* of 24 h and served 0 of 1,000 requests"
    with pytest.raises(CommandError, match=held):
        run("next", "--reason", "too early")
    shown = run("plan", "warn", "20:1h:10", "100", "--reason", "two clients", "--actor", "ann")
    assert [line.split("│")[1].strip() for line in shown.splitlines() if "│ " in line] == [
        "warn",
        "20 %",
        "100 %",
    ]
    found = json.loads(run("next", "--json", "--override", "step_proven=seen"))
    assert (found["mode"], found["enforce_percent"], found["changed"]) == ("enforce", "20", True)
    found = json.loads(run("plan", "--json"))
    assert [(each["step"], each["state"]) for each in found["plan"]] == [
        ("warn", "done"), ("20", "here"), ("100", "next"),
    ]  # fmt: skip
    assert (found["step"], found["next_step"], found["requests"]) == ("20 %", "100 %", 0)
    assert found["step_proven"]["outcome"] == "fail"
    with pytest.raises(CommandError, match="last step of a plan is 100"):
        run("plan", "warn", "20", "--reason", "r")
