"""One fact has one answer: each page, command, gate and rule agrees at its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient

from normalization import rollout_store
from normalization.outcomes import OUTCOMES, WOULD_BE_REFUSED, would_be_refused
from normalization.rollout import Mode, Rollout, asks_gates
from ops import clock
from ops.alerts.models import Heartbeat, last_heartbeat_at
from ops.alerts.way_back import read_way_back
from ops.gates import facts, rules
from ops.gates.rules import HEARTBEAT_MAX_AGE, HEARTBEAT_PROVES, GateOutcome
from ops.pages.rollout.changes import effects
from ops.rollout_metrics import RolloutCollector
from stagenorm.portfolio.keys import create_key
from tests.observed import counted, plan_of, serves
from tests.pages import ROLLOUT, ClientPage, ClientsPage, HomePage, Page, RolloutPage

pytestmark = pytest.mark.django_db

LISTS = ("/admin/ops/heartbeat/", "/admin/ops/webhookdelivery/")
RULES = Path(__file__).resolve().parents[2] / "ops" / "prometheus" / "rules.yml"


def status_gates() -> dict[str, dict[str, object]]:
    """What `rollout_status --json` prints about each gate."""
    out = StringIO()
    with pytest.raises(CommandError):  # without a backup, a gate never passes here
        call_command("rollout_status", "--json", stdout=out)
    return {gate["gate"]: gate for gate in json.loads(out.getvalue())["gates"]}


# -- Whether the automatic way back is open -----------------------------------

SECOND = timedelta(seconds=1)
GATE_WORDS = {
    GateOutcome.PASS: "Passes",
    GateOutcome.FAIL: "Holds",
    GateOutcome.INCONCLUSIVE: "Not known",
}


@pytest.mark.parametrize(
    ("age", "outcome", "word", "tone"),
    [
        (None, GateOutcome.INCONCLUSIVE, "not proven", "unsure"),
        (timedelta(0), GateOutcome.PASS, "open", "good"),
        (timedelta(minutes=4), GateOutcome.PASS, "open", "good"),
        (HEARTBEAT_PROVES, GateOutcome.PASS, "open", "good"),
        (HEARTBEAT_PROVES + SECOND, GateOutcome.INCONCLUSIVE, "not proven", "unsure"),
        (HEARTBEAT_MAX_AGE, GateOutcome.INCONCLUSIVE, "not proven", "unsure"),
        (HEARTBEAT_MAX_AGE + timedelta(microseconds=1), GateOutcome.FAIL, "closed", "bad"),
        (HEARTBEAT_MAX_AGE + SECOND, GateOutcome.FAIL, "closed", "bad"),
    ],
)
def test_the_age_of_the_last_heartbeat_gives_the_same_answer_everywhere(
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
    age: timedelta | None,
    outcome: GateOutcome,
    word: str,
    tone: str,
) -> None:
    now = timezone.now()
    if age is not None:
        for earlier in (timedelta(0), timedelta(minutes=1)):  # the newest counts
            Heartbeat.objects.create(fingerprint="f")
            Heartbeat.objects.filter(received_at__gt=now).update(received_at=now - age - earlier)
    monkeypatch.setattr(clock, "database_now", lambda: now)
    serves(0)

    assert rules.way_back_proven(facts.collect(0)).outcome is outcome
    assert read_way_back().word == word
    assert status_gates()["way_back_proven"]["outcome"] == outcome
    tile = HomePage.open(operator).state["Last heartbeat"]
    assert (tile.tone, tile.detail) == (tone, f"the way back is {word}")
    shown = re.search(r"\d+ minutes ago", read_way_back().verdict.sentence)
    assert shown is None or tile.word.replace("\xa0", " ") == shown[0]
    page = RolloutPage.open(operator)
    assert page.facts["Automatic way back"].startswith(f"{word} ")
    row = f"{GATE_WORDS[outcome]}: The way back works"
    assert [each for each in page.gates if each.startswith(row)]
    for address in LISTS:
        badge = Page.get(operator, address).one("div", css="summary").one("span", css="badge")
        assert badge.text.endswith(f" {word}"), address


def test_the_documents_name_the_limits_of_the_heartbeat() -> None:
    for limit in (HEARTBEAT_PROVES, HEARTBEAT_MAX_AGE):
        minutes = int(limit.total_seconds() / 60)
        for name in ("alerting.md", "runbook.md"):
            text = (RULES.parents[2] / "docs" / name).read_text()
            assert f"{minutes} minutes" in " ".join(text.split()), name


def test_every_reader_of_heartbeats_sees_the_newest() -> None:
    assert last_heartbeat_at() is None
    for _ in range(2):
        Heartbeat.objects.create(fingerprint="f")
    newest = Heartbeat.objects.latest("received_at").received_at
    assert last_heartbeat_at() == read_way_back().last_heartbeat_at == newest
    (exported,) = (
        sample.value
        for family in RolloutCollector().collect()
        for sample in family.samples
        if sample.name == "stage_heartbeat_last_timestamp_seconds"
    )
    assert exported == newest.timestamp()


# -- Whether enforcement would refuse a request -------------------------------

KINDS = list(product(OUTCOMES, Mode))


@pytest.mark.parametrize(("outcome", "mode"), KINDS)
def test_the_condition_in_sql_is_the_function_in_python(outcome: str, mode: Mode) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {WOULD_BE_REFUSED} FROM (VALUES (%s, %s)) AS tally (outcome, mode)",
            [outcome, mode.value],
        )
        assert cursor.fetchone()[0] is would_be_refused(outcome, mode)


@pytest.mark.parametrize(("outcome", "mode"), KINDS)
def test_a_request_is_counted_as_refused_everywhere_or_nowhere(
    operator: Client, outcome: str, mode: Mode
) -> None:
    plan_of("warn", "100")  # the next step enforces every client
    counted("canonical", 995)
    counted(outcome, 5, mode=mode, minutes=1)
    refused = would_be_refused(outcome, mode)

    assert facts.collect(0).traffic.refused == (5 if refused else 0)
    gate = rules.would_refuse(facts.collect(0))
    assert gate.outcome is (GateOutcome.FAIL if refused else GateOutcome.PASS)
    assert status_gates()["would_refuse"]["outcome"] == gate.outcome
    clients = ClientsPage.open(operator)
    assert clients.rows[0][6] == ("0.50 %" if refused else "none")
    assert clients.kinds["Would be refused"] == refused
    page = ClientPage.open(operator)
    assert page.consequence.startswith("5 of its" if refused else "None of its 1,000")
    assert page.table("endpoints")[0][6] == ("0.50 %" if refused else "none")
    assert HomePage.open(operator).state["Clients"].word == f"{refused:d} of 1"
    out = StringIO()
    call_command("stage_clients", "--json", stdout=out)
    assert json.loads(out.getvalue())["listed"][0]["refusable"] == (5 if refused else 0)


def test_the_rule_over_metrics_counts_the_same_outcomes_and_modes() -> None:
    (expression,) = re.findall(
        r"record: stage:unknown_share:rate1h\n.*?expr: >\n(.*?)\n\n", RULES.read_text(), re.DOTALL
    )
    counting, excepting = re.findall(r"stage_validation_requests_total\{(.*?)\}", expression)
    assert counting == 'outcome=~"outside|unknown|rejected"'
    assert excepting == 'mode="enforce",outcome=~"outside|unknown"'
    counts = {
        (outcome, mode)
        for outcome, mode in KINDS
        if outcome == "rejected" or (outcome in ("outside", "unknown") and mode != Mode.ENFORCE)
    }
    assert counts == {kind for kind in KINDS if would_be_refused(*kind)}


# -- Whether a change asks the gates ------------------------------------------

TENTH = Rollout(Mode.ENFORCE, Decimal(10))
CHANGES = {
    "warn to enforce": (Rollout(Mode.WARN), Rollout(Mode.ENFORCE)),
    "warn to enforce for nobody": (Rollout(Mode.WARN), Rollout(Mode.ENFORCE, Decimal(0))),
    "enforce to warn": (Rollout(Mode.ENFORCE), Rollout(Mode.WARN)),
    "a larger share": (TENTH, replace(TENTH, enforce_percent=Decimal("10.01"))),
    "a smaller share": (TENTH, replace(TENTH, enforce_percent=Decimal("9.99"))),
    "a new pilot": (TENTH, replace(TENTH, pilots=frozenset({"a"}))),
    "a pilot less": (replace(TENTH, pilots=frozenset({"a"})), TENTH),
    "a new holdout": (TENTH, replace(TENTH, holdouts=frozenset({"a"}))),
    "a holdout less": (replace(TENTH, holdouts=frozenset({"a"})), TENTH),
    "a new cap": (TENTH, replace(TENTH, overrides={"fund-companies": Mode.WARN})),
    "a cap less": (replace(TENTH, overrides={"fund-companies": Mode.WARN}), TENTH),
    "a larger share while warning": (
        Rollout(Mode.WARN, Decimal(10)),
        Rollout(Mode.WARN, Decimal(20)),
    ),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
def test_page_command_and_api_ask_the_gates_for_the_same_changes(
    operator: Client,
    set_mode: Callable[..., int],
    settings: Settings,
    old: Rollout,
    new: Rollout,
) -> None:
    version = _record(set_mode, old)
    settings.STAGE_GATEKEEPER, settings.PRODUCTION = "ops.gates.ask.examine", False
    asked = asks_gates(old, new)

    assert effects(old, new, [], []).asks_gates is asked
    preview = RolloutPage(operator.post(ROLLOUT, _form(new, version, preview="1")))
    assert ("every check has to pass" in preview.effects) is asked
    assert ("no check is needed" in preview.effects) is not asked
    if asked:
        page = RolloutPage(operator.post(ROLLOUT, _form(new, version)))
        assert "These checks hold the change" in page.refusal
        with pytest.raises(CommandError, match="More enforcement is refused"):
            call_command(*_command(old, new))
        answer = _put(new)
        assert answer.status_code == 409
        assert "More enforcement is refused" in answer.json()["detail"]
        assert rollout_store.newest().version == version
        return
    assert operator.post(ROLLOUT, _form(new, version)).status_code == 302
    _record(set_mode, old)
    call_command(*_command(old, new))
    assert rollout_store.newest().rollout == new
    _record(set_mode, old)
    assert _put(new).status_code == 200
    assert rollout_store.newest().rollout == new


def _record(set_mode: Callable[..., int], rollout: Rollout) -> int:
    """Record `rollout` without asking a gate; return its version."""
    members = {
        name: getattr(rollout, name)
        for name in ("enforce_percent", "pilots", "holdouts", "overrides")
    }
    with override_settings(STAGE_GATEKEEPER=""):
        return set_mode(rollout.mode, **members)


def _form(rollout: Rollout, version: int, **given: str) -> dict[str, object]:
    caps = {f"endpoint:{name}": mode.value for name, mode in rollout.overrides.items()}
    return {
        "mode": rollout.mode.value,
        "enforce_percent": str(rollout.enforce_percent),
        "pilots": "\n".join(rollout.pilots),
        "holdouts": "\n".join(rollout.holdouts),
        "reason": "r",
        "expected_version": version,
        **caps,
        **given,
    }


def _command(old: Rollout, new: Rollout) -> list[str]:
    caps = dict.fromkeys(old.overrides, "none") | dict(new.overrides)
    return [
        *("stage_mode", "set", new.mode.value, "--reason", "r"),
        *("--percent", str(new.enforce_percent)),
        f"--pilots={','.join(new.pilots)}",
        f"--holdouts={','.join(new.holdouts)}",
        *(f"--endpoint-mode={name}={mode}" for name, mode in caps.items()),
    ]


def _put(new: Rollout) -> Any:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {create_key('ops', operator=True)[1]}")
    wire = new.to_wire()
    names = ("mode", "enforce_percent", "pilots", "holdouts", "overrides")
    body = {**{name: wire[name] for name in names}, "reason": "r"}
    return client.put("/_ops/stage-validation/mode", body)
