"""A decision that would refuse accepted traffic in enforce asks the gate, on every way to it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from normalization import decision_file, decisions
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, StageDecision
from normalization.stages import Stage
from ops.alerts.models import DeliveryOutcome, WebhookDelivery
from ops.alerts.payload import DOWNGRADE_ALERT
from ops.pages.spellings.drafts import DraftChoice, change_draft, explicit
from tests.observed import counted, saw
from tests.pages import Page
from tests.spelling_pages import HISTORY, PREVIEW, RETIRE, UNDO, InboxForm

pytestmark = pytest.mark.django_db

SETTLED = DecisionRow("Seires A", DecisionVerdict.STAGE, Stage.SERIES_A, source="test")
OUTSIDE = DecisionRow("Seires A", DecisionVerdict.OUTSIDE, None, source="test, confirmed")


@pytest.fixture
def batch(settings: Settings, set_mode: Callable[..., int]) -> int:
    """`Seires A` is series-a. The client deal-flow sent it 12 times in 2,000 accepted requests."""
    settings.STAGE_DECISION_GATEKEEPER = "ops.gates.ask.examine_decisions"
    result = decisions.apply(decisions.plan([SETTLED]), **BY)  # type: ignore[arg-type]
    saw("Seires A", 12, stage="series-a", client="deal-flow")
    counted("normalized", 12, client="deal-flow")
    counted("canonical", 1_988, client="deal-flow")
    set_mode("enforce")
    return result.version


BY = {"author": "ann", "source": DecisionBatch.Source.COMMAND}


def by_retiring(batch: int, **overrides: dict[str, str]) -> None:
    decisions.retire(["Seires A"], reason="wrong", **BY, **overrides)  # type: ignore[arg-type]


def by_undo(batch: int, **overrides: dict[str, str]) -> None:
    decisions.undo(batch, **BY, **overrides)  # type: ignore[arg-type]


def by_another_decision(batch: int, **overrides: dict[str, str]) -> None:
    decisions.apply(decisions.plan([OUTSIDE]), **BY, **overrides)  # type: ignore[arg-type]


def by_pruning(batch: int, **overrides: dict[str, str]) -> None:
    decisions.apply(decisions.plan([], prune=True), **BY, **overrides)  # type: ignore[arg-type]


WAYS = [by_retiring, by_undo, by_another_decision, by_pruning]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_refuse_accepted_requests_asks_the_gate(
    batch: int, way: Callable[..., None]
) -> None:
    with pytest.raises(decisions.DecisionHeld) as held:
        way(batch)
    assert "would_refuse: Too many requests would be refused: 12 of 2,000" in str(held.value)
    assert "deal-flow (12)" in str(held.value)
    assert StageDecision.objects.get(superseded_at=None).stage == "series-a"
    with pytest.raises(decisions.DecisionRefused, match="There is no gate cooldown"):
        way(batch, gate_overrides={"cooldown": "x"})
    way(batch, gate_overrides={"would_refuse": "they know"})
    evidence = DecisionBatch.objects.latest("id").evidence
    assert evidence["overrides"] == {"would_refuse": "they know"}
    assert evidence["gates"][0]["evidence"]["refused"] == 12


@pytest.mark.parametrize("way", WAYS)
def test_no_override_counts_while_a_downgrade_alert_fires(
    batch: int, way: Callable[..., None]
) -> None:
    WebhookDelivery.objects.create(
        endpoint="auto-downgrade", outcome=DeliveryOutcome.ALREADY, alert_names=[DOWNGRADE_ALERT]
    )
    with pytest.raises(decisions.DecisionHeld, match="It cannot be overridden"):
        way(batch, gate_overrides={"would_refuse": "they know"})


def test_fewer_than_half_a_percent_pass_and_the_verdict_is_recorded(batch: int) -> None:
    counted("canonical", 10_000, minutes=5, client="other")
    by_retiring(batch)
    (verdict,) = DecisionBatch.objects.latest("id").evidence["gates"]
    assert (verdict["outcome"], verdict["evidence"]["refused"]) == ("pass", 12)


@pytest.mark.parametrize(
    "rollout",
    [
        {"mode": "warn"},
        {"mode": "enforce", "holdouts": frozenset({"deal-flow"})},
        {"mode": "enforce", "enforce_percent": Decimal(0), "pilots": frozenset({"other"})},
    ],
)
def test_a_change_that_hurts_no_enforced_client_asks_no_gate(
    batch: int, set_mode: Callable[..., int], rollout: dict[str, object]
) -> None:
    set_mode(**rollout)
    by_retiring(batch)
    assert DecisionBatch.objects.latest("id").evidence == {}


def test_a_change_that_refuses_nothing_more_asks_no_gate(batch: int) -> None:
    row = DecisionRow("Seires A", DecisionVerdict.STAGE, Stage.SERIES_A, note="n", source="test")
    decisions.apply(decisions.plan([row]), **BY)  # type: ignore[arg-type]
    row = DecisionRow("Grant", DecisionVerdict.OUTSIDE, source="test")
    decisions.apply(decisions.plan([row]), **BY)  # type: ignore[arg-type]
    assert DecisionBatch.objects.latest("id").evidence == {}


# -- The command ----------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    """Run the command; return its exit status and what it says."""
    out = io.StringIO()
    try:
        call_command("stage_decisions", *arguments, "--json", stdout=out, stderr=io.StringIO())
    except SystemExit as ended:
        return int(str(ended.code)), ""
    except CommandError as error:
        return int(json.loads(out.getvalue())["status"]), str(error)
    return 0, ""


def test_the_command_exits_3_and_takes_an_override(batch: int, tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text(decision_file.write([OUTSIDE]))
    approved = decisions.plan(decision_file.read(file.read_bytes())).hash
    for arguments in (
        ["retire", "Seires A", "--reason", "wrong"],
        ["undo", str(batch)],
        ["apply", str(file), "--plan", approved],
    ):
        status, sentence = run(*arguments)
        assert (status, "would_refuse: Too many" in sentence) == (3, True), arguments
    assert run("undo", str(batch), "--override", "would_refuse=they know")[0] in (0, 4)
    assert not StageDecision.objects.filter(superseded_at=None).exists()


# -- The pages ------------------------------------------------------------------


def test_the_preview_shows_the_gate_and_saves_with_an_override(
    operator: Client, batch: int
) -> None:
    from django.contrib.auth.models import User

    name, choice = explicit(OUTSIDE)
    change_draft(
        User.objects.get(username="ann").pk, {name: DraftChoice("outside", row=choice.row)}
    )
    page = Page.get(operator, PREVIEW)
    assert "A check holds this change" in page.text
    assert "deal-flow + 0 0 12 12" in page.text
    form = InboxForm.of(page.one("form", css="two"))
    answer = form.send(operator, PREVIEW, reason="so")
    assert answer.status_code == 409
    assert StageDecision.objects.get(superseded_at=None).stage == "series-a"
    form = InboxForm.of(Page.get(operator, PREVIEW).one("form", css="two"))
    assert form.send(operator, PREVIEW, reason="so", override="they know").status_code == 200
    assert StageDecision.objects.get(superseded_at=None).verdict == "outside"
    assert "One check skipped: “they know”" in Page.get(operator, HISTORY).text


@pytest.mark.parametrize("way", ["retire", "undo"])
def test_taking_back_shows_whom_it_hurts_and_needs_a_confirmation_and_an_override(
    operator: Client, batch: int, way: str
) -> None:
    decision = StageDecision.objects.get()
    address = f"{RETIRE}?id={decision.pk}" if way == "retire" else f"{UNDO}?batch={batch}"
    page = Page(operator.get(address))
    assert "2 requests a day would be refused" in page.text
    assert "A check holds this change" in page.text
    assert page.faults() == []
    given = {"reason": "wrong"}
    assert "Confirm that 2 requests" in operator.post(address, given).content.decode()
    given["confirm"] = "1"
    answer = operator.post(address, given)
    assert (answer.status_code, "would_refuse" in answer.content.decode()) == (409, True)
    assert operator.post(address, {**given, "override": "they know"}).status_code == 302
    assert not StageDecision.objects.filter(superseded_at=None).exists()


def test_the_undo_page_shows_what_comes_back_and_what_a_later_batch_has_overtaken(
    operator: Client, batch: int
) -> None:
    rows = [
        DecisionRow(text, DecisionVerdict.OUTSIDE, source="test, confirmed")
        for text in ("Grant", "Loan", "Seires A")
    ]
    decisions.apply(
        decisions.plan(rows),
        gate_overrides={"would_refuse": "test"},
        **BY,  # type: ignore[arg-type]
    )
    later = DecisionRow("Loan", DecisionVerdict.OUTSIDE, note="debt", source="test")
    second = DecisionBatch.objects.latest("id").pk
    decisions.apply(decisions.plan([later]), **BY)  # type: ignore[arg-type]
    page = Page.get(operator, UNDO, batch=str(second))
    tables = {each.all("caption")[0].text: each.cells() for each in page.all("table")}
    assert [row[0] for row in tables["Undecided again"]] == ["Grant"]
    assert [row[:2] for row in tables["As before the batch"]] == [["Seires A", "series-a"]]
    assert [row[0] for row in tables["Stays as it is"]] == ["Loan"]
    operator.post(f"{UNDO}?batch={second}", {"reason": "wrong"})
    found = StageDecision.objects.filter(superseded_at=None).order_by("spelling")
    assert [(each.spelling, each.stage) for each in found] == [
        ("Loan", ""),
        ("Seires A", "series-a"),
    ]
    again = operator.get(UNDO, {"batch": second}, follow=True)
    assert "was undone already" in Page(again).text
