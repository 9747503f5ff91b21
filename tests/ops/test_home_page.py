"""The start page shows where the rollout stands, what needs the operator, and what is next."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from normalization import rollout_store
from normalization.models import RolloutChange, ServingInstance
from normalization.rollout import Mode, Rollout, without_enforcement
from normalization.rollout_plan import DEFAULT_PLAN
from ops.alerts.models import Heartbeat
from ops.backfill.models import BackfillRun
from ops.backups.models import Backup
from ops.gates.rules import GATES
from ops.pages.home import page, state
from ops.pages.home.steps import steps
from tests.backup_faults import valid_backup
from tests.decided import consumers_decided
from tests.observed import counted, plan_without_waiting, serves
from tests.pages import BACK_TO_WARN, HOME, HomePage, HomeState, RolloutPage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each part a minute, so that a busy machine omits none."""
    monkeypatch.setattr(state, "SECONDS", 60.0)
    monkeypatch.setattr(page, "SECONDS", 60.0)


@pytest.fixture
def backed_up(settings: Settings, tmp_path: Path) -> None:
    """Give the platform a fresh, tested backup."""
    settings.BACKUP_DIR = tmp_path
    valid_backup(tmp_path)


def in_order(version: int) -> None:
    """Give the platform a heartbeat, a server that serves `version`, and known consumers."""
    Heartbeat.objects.create(fingerprint="f")
    serves(version)
    consumers_decided()


def takes_back(source: str, reason: str) -> int:
    """Take enforcement back as alert or guard do; return the version."""
    result = rollout_store.change(
        without_enforcement, actor=source, source=source, reason=reason, evidence={}
    )
    rollout_store.forget()
    return result.version


def settle(version: int) -> None:
    """Date a change an hour back. Only the owner of the table can, without its trigger."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE normalization_rolloutchange DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE normalization_rolloutchange SET created_at = created_at - interval '1 hour'"
            " WHERE id = %s",
            [version],
        )
        cursor.execute("ALTER TABLE normalization_rolloutchange ENABLE TRIGGER USER")


# -- Where the rollout stands -------------------------------------------------

WARNED = datetime(2026, 11, 3, 9, tzinfo=UTC)
NOW = datetime(2026, 11, 26, 15, 20, tzinfo=UTC)


def change(mode: str, percent: int, at: datetime, source: str = "admin") -> RolloutChange:
    """A change of the history, which is not stored."""
    return RolloutChange(
        mode=mode, enforce_percent=Decimal(percent), created_at=at, source=source,
        previous_mode="enforce",
    )  # fmt: skip


TENTH = change("enforce", 10, NOW - timedelta(hours=5))
TAKEN_BACK = change("warn", 10, NOW - timedelta(minutes=49), "guard")
WARN_CHANGE = change("warn", 100, WARNED)


@pytest.mark.parametrize(
    ("rollout", "history", "clean", "line"),
    [
        (
            Rollout(Mode.OFF), [], False,
            "here by default | next | todo | todo | todo | todo | todo",
        ),
        (
            Rollout(Mode.WARN), [WARN_CHANGE], False,
            "done | here since 3 Nov | hold not clean | next | todo | todo | todo",
        ),
        (
            Rollout(Mode.ENFORCE, Decimal(10)), [TENTH, WARN_CHANGE], True,
            "done | done from 3 Nov | done clean | here since 10:20 | next | todo | todo",
        ),
        (
            Rollout(Mode.WARN, Decimal(10)), [TAKEN_BACK, TENTH, WARN_CHANGE], None,
            "done | here since 14:31 | todo not known now | lost taken back 14:31 | todo | todo"
            " | todo",
        ),
        (
            Rollout(Mode.WARN), [WARN_CHANGE, change("enforce", 25, WARNED)], True,
            "done | here since 3 Nov | done clean | next | was from 3 Nov | todo | todo",
        ),
        (
            Rollout(Mode.ENFORCE, Decimal(30)), [change("enforce", 30, WARNED)], True,
            "done | done | done clean | done | done | here since 3 Nov | next | todo",
        ),
        (
            Rollout(Mode.ENFORCE, Decimal(0)), [change("enforce", 0, WARNED)], True,
            "done | done | done clean | here since 3 Nov | next | todo | todo | todo",
        ),
        (
            Rollout(Mode.ENFORCE), [change("enforce", 100, WARNED)], True,
            "done | done | done clean | done | done | done | here since 3 Nov",
        ),
    ],
)  # fmt: skip
def test_the_line_shows_what_is_done_what_is_next_and_what_was_taken_back(
    rollout: Rollout, history: list[RolloutChange], clean: bool | None, line: str
) -> None:
    found = steps(DEFAULT_PLAN, rollout, history, clean, NOW)
    assert " | ".join(f"{each.state} {each.note}".strip() for each in found) == line
    assert sum(each.state == "here" for each in found) == 1


# -- What needs the operator --------------------------------------------------


def test_a_platform_in_order_needs_nothing(
    operator: Client, backed_up: None, set_mode: Callable[..., int]
) -> None:
    BackfillRun.objects.create(state="completed", actor="a", alias_version=0, batch_size=1)
    in_order(set_mode("enforce"))
    home = HomePage.open(operator)
    assert (home.heading, home.matters) == ("All is well", [])
    tones = {label: row.tone for label, row in home.state.items()}
    assert tones["Newest valid backup"] == tones["Backfill"] == tones["Last heartbeat"] == "good"
    assert tones["Servers"] == "good"
    assert home.state["Newest valid backup"].detail == "fresh enough for the gate"
    assert home.state["Last heartbeat"].detail == "the way back is open"
    assert "Every client is enforced" in home.text


@pytest.mark.parametrize("source", ["alert", "guard"])
def test_a_way_back_is_shown_until_a_person_changes_the_rollout(
    operator: Client,
    set_mode: Callable[..., int],
    source: str,
) -> None:
    set_mode("enforce")
    in_order(takes_back(source, "8 % of the requests were rejected."))
    home = HomePage.open(operator)
    assert home.heading == "One thing needs you"
    assert home.matters[0].startswith(
        f"bad notice: Enforcement was taken back automatically by the {source}, "
    )
    assert "8 % of the requests were rejected. Every client is only warned" in home.matters[0]
    assert any(step.startswith("lost 100 %") for step in home.steps)
    assert "Enforce for 10 % of the clients" in home.next_step.text
    seen = Rollout(Mode.WARN, Decimal(10))
    result = rollout_store.change(seen, actor="ann", source="admin", reason="The cause is known.")
    serves(result.version)
    assert HomePage.open(operator).matters == []


def test_a_client_that_the_guard_held_out_is_named(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    held = Rollout(Mode.ENFORCE, holdouts=frozenset({"deal-flow"}))
    result = rollout_store.change(held, actor="guard", source="guard", reason="3 of 4 rejected.")
    in_order(result.version)
    home = HomePage.open(operator)
    assert "The guard protected clients" in home.matters[0]
    assert "New holdouts: deal-flow. 3 of 4 rejected." in home.matters[0]
    assert "Held out, never enforced: deal-flow." in home.text


@pytest.mark.parametrize(
    ("run_state", "says"),
    [("running", "has stopped"), ("failed", "has failed"), ("paused", "is paused")],
)
def test_a_run_that_waits_for_the_operator_is_named_with_its_page(
    operator: Client, run_state: str, says: str
) -> None:
    run = BackfillRun.objects.create(state=run_state, actor="a", alias_version=0, batch_size=1)
    in_order(0)
    (matter,) = HomePage.open(operator).matters
    assert matter.startswith(f"notice warn: Run {run.pk} over the stored rows {says}")
    assert operator.get(f"/admin/ops/backfillrun/{run.pk}/change/").status_code == 200


def test_an_old_backup_a_silent_alert_path_a_wrong_clock_and_a_late_server_are_named(
    operator: Client, backed_up: None, set_mode: Callable[..., int]
) -> None:
    version = set_mode("enforce")
    in_order(version - 1)
    Backup.objects.update(snapshot_at=timezone.now() - timedelta(hours=3))
    Heartbeat.objects.update(received_at=timezone.now() - timedelta(minutes=16))
    ServingInstance.objects.update(skew_seconds=600.0)
    assert not any("do not agree" in each for each in HomePage.open(operator).matters)
    settle(version)
    home = HomePage.open(operator)
    assert home.heading == "Four things need you"
    titles = [matter.split(": ", 1)[1] for matter in home.matters]
    assert titles[0].startswith("No fresh, tested backup")
    assert titles[1].startswith("The way back is closed")
    assert re.match(r"1 server is off the clock .+ by \+600 s\.", titles[2])
    assert titles[3].startswith("Servers do not agree 1 of 1 servers do not serve version")
    assert home.matters[1].startswith("bad notice")
    backup = home.state["Newest valid backup"]
    assert (backup.tone, backup.url, backup.word) == ("bad", "/admin/ops/backup/", "3 hours old")
    assert re.search(r" is 108\d\d s old; the limit is 3600 s\.$", backup.detail)
    assert home.state["Last heartbeat"] == HomeState(
        "bad", "/admin/ops/heartbeat/", "16 minutes ago", "the way back is closed"
    )
    serves(version, guard="off")
    home = HomePage.open(operator)
    assert home.state["Last heartbeat"].detail == "the way back is dead"
    assert any("The way back is dead" in matter for matter in home.matters)


# -- What is next -------------------------------------------------------------


def test_the_first_day_says_what_to_do_first_and_asks_no_check_for_warn(operator: Client) -> None:
    home = HomePage.open(operator)
    assert (home.heading, home.matters) == ("Observing", [])
    assert home.next_step.text.startswith("Next step Warn clients Answers begin to tell clients")
    assert "Nothing holds this step" in home.next_step.text
    assert any("A fresh, tested backup This database has no backup." in each
               for each in home.prepares)  # fmt: skip
    assert "in mode warn" not in home.text
    assert list(home.state) == [
        "Spellings",
        "Clients",
        "Newest valid backup",
        "Backfill",
        "Last heartbeat",
        "Servers",
    ]
    assert home.state["Newest valid backup"].word == "none"
    assert home.state["Spellings"].word == "not counted"
    assert home.state["Backfill"].word == "no run yet"
    assert home.state["Last heartbeat"].word == "never"
    assert home.state["Last heartbeat"].detail == "the way back is not proven"
    for row in home.state.values():
        assert operator.get(row.url).status_code == 200


def test_what_holds_the_next_step_is_named_beside_its_remedy(
    operator: Client,
    backed_up: None,
    set_mode: Callable[..., int],
    settings: Settings,
) -> None:
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"
    in_order(set_mode("warn"))
    waits, held = HomePage.open(operator).held
    assert waits.startswith("Holds the step: The step has run long enough Warn has run for")
    plan_without_waiting()
    home = HomePage.open(operator)
    assert home.held == [held]
    assert held.startswith("Holds the step: Few requests would be refused No client sent a stage")
    assert held.endswith("Decide spellings")
    assert home.heading == "Warning clients"
    assert not home.next_step.has("a", css="primary")
    assert f"{len(GATES)} checks pass" in home.next_step.text


def test_a_step_that_nothing_holds_shows_whom_it_would_refuse_and_opens_its_form(
    operator: Client,
    backed_up: None,
    set_mode: Callable[..., int],
    settings: Settings,
) -> None:
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"
    enforced = next(
        name
        for name in (f"client-{number}" for number in range(1_000))
        if Rollout(Mode.ENFORCE, Decimal(10)).mode_for("fund-companies", name) is Mode.ENFORCE
    )
    counted("canonical", 2_000, client=enforced)
    counted("unknown", 5, client=enforced)
    in_order(set_mode("warn"))
    plan_without_waiting()
    home = HomePage.open(operator)
    assert (home.heading, home.held) == ("Ready for the next step", [])
    assert f"Would refuse 5 requests a day of {enforced}" in home.next_step.text
    assert f"Newly enforced: {enforced}." in home.next_step.text
    form = RolloutPage(operator.get(home.next_step.one("a", css="primary").attribute("href")))
    assert form.clients[enforced][1:3] == ["2,005", "5 0.2 %"]
    assert form.next_step.text.startswith("Enforce for 10 % Clients 1 of 1 Refused 5 a day")
    assert "Passes: The step has run long enough" in " ".join(form.gates)
    assert "Holds: " not in " ".join(form.gates)


@pytest.mark.parametrize("step", ["nan", "101", "-1", "1e400000", "x", "", "enforce"])
def test_a_step_that_does_not_exist_fills_in_nothing(
    operator: Client, set_mode: Callable[..., int], step: str
) -> None:
    set_mode("warn")
    form = RolloutPage(operator.get("/admin/ops/rollout/", {"step": step}))
    assert form.one("input", name="enforce_percent").attribute("value") == "100"


def test_back_to_warn_is_one_click_from_the_start_page_for_who_may_change(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("warn")
    assert not HomePage.open(operator).offers_back_to_warn
    set_mode("enforce")
    home = HomePage.open(operator)
    reason = home.one("form", css="actions").one("input", name="reason").attribute("value")
    assert operator.post(BACK_TO_WARN, {"reason": reason}).status_code == 302
    assert rollout_store.newest().rollout.mode is Mode.WARN
    set_mode("enforce")
    staff = Client()
    staff.force_login(User.objects.create_user("bob", is_staff=True))
    assert not HomePage.open(staff).offers_back_to_warn


def test_the_start_page_needs_a_login_and_keeps_the_tables_of_the_admin(operator: Client) -> None:
    assert Client().get(HOME).status_code == 302
    assert operator.get(HOME).resolver_match.view_name != "admin:index"
    assert HomePage.open(operator).has("a", href="/admin/portfolio/fund/")


# -- A part that fails --------------------------------------------------------


def test_a_locked_table_of_stages_removes_the_checks_and_not_the_page(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "SECONDS", 1.0)
    other = connection.copy()
    try:
        other.ensure_connection()
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE portfolio_companies IN ACCESS EXCLUSIVE MODE")
        home = HomePage.open(operator)
    finally:
        other.rollback()
        other.close()
    assert home.steps[2] == "todo Clean up rows , later not known now"
    assert home.heading == "Observing"
