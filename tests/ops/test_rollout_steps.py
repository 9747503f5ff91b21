"""The rollout page takes the next step: its effect by client, what holds it, the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from normalization import rollout_steps, rollout_store
from normalization.models import RolloutChange, RolloutPlanChange
from normalization.rollout import Mode, Rollout, without_enforcement
from normalization.rollout_plan import DEFAULT_PLAN
from tests.observed import counted, plan_of, plan_without_waiting, saw
from tests.pages import ROLLOUT, HomePage, Page, RolloutPage

pytestmark = pytest.mark.django_db
NEXT = f"{ROLLOUT}next/"
PLAN = f"{ROLLOUT}plan/"


@pytest.fixture
def held(settings: Settings) -> None:
    """Ask the gates; each passes, so that only the plan can hold a step."""
    settings.STAGE_GATEKEEPER = "tests.observed.no_gate"


def clients_below(percent: int, count: int) -> list[str]:
    """Return names of clients that enter at most at `percent`."""
    to = Rollout(Mode.ENFORCE, Decimal(percent))
    names = (f"client-{number}" for number in range(1_000))
    return [name for name in names if to.mode_for("e", name) is Mode.ENFORCE][:count]


def taken(operator: Client, version: int, **given: str) -> RolloutPage:
    body = {"reason": "the owners know", "expected_version": str(version), **given}
    return RolloutPage(operator.post(NEXT, body, follow=True))


def test_the_effect_on_each_client_is_shown_before_the_step(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    hurt, fine = clients_below(10, 2)
    (later,) = [name for name in clients_below(25, 200) if name not in clients_below(10, 200)][:1]
    counted("canonical", 80, client=hurt)
    counted("unknown", 20, client=hurt)
    saw("1st Round", 20, client=hurt)
    counted("canonical", 50, client=fine)
    counted("unknown", 6, client=later)
    counted("canonical", 9, client="resting")
    set_mode("warn", holdouts=frozenset({"resting"}))
    page = RolloutPage.open(operator)
    assert page.one("h1").text == "Next step: enforce for 10 %"
    assert page.clients[hurt][1:] == ["100", "20 20.0 %", "1st Round"]
    assert page.clients[fine][1:3] == ["50", "none"]
    assert page.clients["resting"][0] == "held out"
    assert page.clients[later][2].startswith("6 ")
    assert f"It would refuse 20 requests a day of {hurt}" in page.text
    assert "Clients in grey stay as they are." in page.text
    shares = [each.text for each in page.one("ul", css="shares").all("li")]
    assert shares[0].startswith("10 % 2 clients 20 refused a day 13.3 %: the way back acts")
    assert shares[1].startswith("25 % 3 clients 26 refused a day")
    assert page.next_step.text.startswith("Enforce for 10 % Clients 2 of 4 Refused 20 a day")


def test_a_step_needs_one_reason_and_its_change_is_shown_at_the_top(
    operator: Client, set_mode: Callable[..., int], held: None
) -> None:
    version = set_mode("warn")
    plan_without_waiting()
    page = taken(operator, version)
    assert page.changed.startswith("Changed: Refusing unknown stages for 10 % of the clients.")
    assert "Share 100 % → 10 %" in page.changed
    assert "by ann: “the owners know”" in page.changed
    assert page.one("h1").text == "Enforcing for 10 %"
    assert "Changed:" not in RolloutPage.open(operator, f"?changed={version}").text
    page = taken(operator, version)
    assert "look at it again, then decide" in page.refusal
    seen = page.next_step.one("input", name="expected_version").attribute("value")
    assert seen == str(version + 1)
    page = taken(operator, version + 1, reason=" ")
    assert "Reason: This field is required." in page.refusal
    assert rollout_store.newest().rollout.enforce_percent == 10


def test_page_command_and_status_say_the_same_of_a_step_that_has_not_run_long_enough(
    operator: Client, set_mode: Callable[..., int], held: None
) -> None:
    version = set_mode("warn")
    counted("canonical", 120)
    page = RolloutPage.open(operator)
    said = "24 h and served 120 of 1,000 requests."
    assert said in page.next_step.text
    assert said in page.gates[0]
    assert said in HomePage.open(operator).next_step.text
    assert said in taken(operator, version).refusal
    with pytest.raises(CommandError, match=said):
        call_command("stage_mode", "next")
    out = StringIO()
    with pytest.raises(CommandError, match="step_proven"):
        call_command("rollout_status", "--json", stdout=out)
    status = json.loads(out.getvalue())
    assert (status["step"], status["next_step"], status["requests"]) == ("warn", "10 %", 120)
    assert status["gates"][-1]["sentence"].endswith(said)
    assert newest_mode() == "warn"
    page = taken(operator, version, sooner="1", reason="they asked for it")
    assert newest_mode() == "enforce"
    assert RolloutChange.objects.latest("id").evidence["overrides"] == {
        "step_proven": "they asked for it"
    }
    assert "Check step_proven skipped: “they asked for it”" in page.history[0][-1]


def newest_mode() -> str:
    return RolloutChange.objects.latest("id").mode


def test_after_a_way_back_the_page_offers_the_first_step_again(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    rollout_store.change(without_enforcement, actor="guard", source="guard", reason="8 %")
    page = RolloutPage.open(operator)
    assert page.next_step.one("h2").text == "Enforce for 10 %"
    assert page.one("tr", **{"aria-current": "step"}).text.startswith("Warn here")


def test_in_observe_the_first_step_warns_and_at_the_end_there_is_none(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    page = RolloutPage.open(operator)
    assert page.next_step.one("h2").text == "Warn clients"
    assert taken(operator, 0).changed.startswith("Changed: Clients are warned")
    set_mode("enforce")
    page = RolloutPage.open(operator)
    assert not page.has("section", id="next")
    assert page.one("h1").text == "Enforcing for every client"
    assert "last step" in taken(operator, rollout_store.newest().version).refusal


def test_a_step_or_a_plan_needs_the_permission_to_change_the_rollout(client: Client) -> None:
    client.force_login(User.objects.create_user("bob", is_staff=True))
    for address in (NEXT, PLAN):
        assert client.post(address, {"reason": "r", "expected_version": "0"}).status_code == 403
        assert client.get(address).status_code == 405
    page = RolloutPage.open(client)
    assert not page.has("form", action=NEXT)
    assert not page.has("form", action=PLAN)


def plan_body(*rows: tuple[str, str, str], reason: str = "fewer steps") -> dict[str, str]:
    body = {"steps-TOTAL_FORMS": str(len(rows)), "steps-INITIAL_FORMS": "0", "reason": reason}
    for number, values in enumerate(rows):
        for name, value in zip(("share", "hours", "requests"), values, strict=True):
            body[f"steps-{number}-{name}"] = value
    return body


WARNS = ("", "24", "1000")
WHOLE = ("100", "", "")


def test_the_plan_is_changed_on_the_page_and_recorded(operator: Client) -> None:
    shown = RolloutPage.open(operator).one("form", action=PLAN)
    assert shown.one("input", name="steps-1-share").attribute("value") == "10"
    page = Page(operator.post(PLAN, plan_body(WARNS, ("20", "1.5", ""), ("", "", ""), WHOLE),
                              follow=True))  # fmt: skip
    assert "The plan has changed." in page.text
    row = RolloutPlanChange.objects.get()
    assert (row.actor, row.source, row.reason) == ("ann", "admin", "fewer steps")
    assert [(each.name, each.least_seconds, each.least_requests)
            for each in rollout_steps.plan().steps] == [
        ("warn", 86_400, 1_000), ("20 %", 5_400, 0), ("100 %", 0, 0),
    ]  # fmt: skip
    assert "20 %" in HomePage.open(operator).text


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ((WARNS, ("20", "", "")), "The last step of a plan is 100 %."),
        ((WARNS, ("50", "", ""), ("20", "", ""), WHOLE), "enforces more than the one before"),
        ((WARNS, ("x", "", ""), WHOLE), "Give each step numbers"),
    ],
)
def test_a_plan_that_is_none_is_refused_with_its_reason_and_the_input_is_kept(
    operator: Client, rows: tuple[tuple[str, str, str], ...], why: str
) -> None:
    page = RolloutPage(operator.post(PLAN, plan_body(*rows)))
    assert why in page.refusal
    assert page.one("input", name="steps-1-share").attribute("value") == rows[1][0]
    assert rollout_steps.plan() == DEFAULT_PLAN


def test_a_misspelt_pilot_is_refused_on_the_page_with_the_name_that_is_meant(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    plan_of("warn", "100")
    counted("canonical", 1, client="deal-flow")
    body = {"mode": "warn", "enforce_percent": "100", "pilots": "deal-flw", "reason": "r",
            "expected_version": str(set_mode("warn"))}  # fmt: skip
    page = RolloutPage(operator.post(ROLLOUT, body))
    assert "No client is called deal-flw. Did you mean deal-flow?" in page.refusal
    assert page.form_value("pilots") == "deal-flw"
