"""The operator decides spellings in the admin; everything else there is read-only."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from normalization import decision_store, decisions, observations, rollout_store
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, StageDecision
from normalization.rollout import Mode
from normalization.stages import Known, Outside, Stage, normalize
from tests.decided import active, decide, decide_all, row

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/normalization/stagedecision/"
ADD = f"{LIST}add/"
BATCHES = "/admin/normalization/decisionbatch/"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def form(
    spelling: str, verdict: str = "stage", stage: str = "seed", **more: str
) -> dict[str, str]:
    fields = {"spelling": spelling, "verdict": verdict, "stage": stage, "reason": "our feed"}
    return {**fields, "confirm": "on", **more}


def test_a_decision_made_in_the_admin_holds_and_names_who_decided(operator: Client) -> None:
    answer = operator.post(ADD, form("Angel", stage="pre-seed"))
    assert answer.status_code == 302
    decision = StageDecision.objects.get()
    assert (decision.decided_by, decision.batch.source) == ("operator", "admin")
    table = decision_store.current()
    assert normalize("ANGEL", table) == Known("ANGEL", Stage.PRE_SEED, canonical=False)


def test_an_outside_decision_has_a_public_note(operator: Client) -> None:
    operator.post(ADD, form("Grant", "outside", "", kind="grant", note="not equity"))
    assert normalize("grant", decision_store.current()) == Outside("grant", "grant", "not equity")


@pytest.mark.parametrize("spelling", ["", "  "])
def test_blank_text_can_be_decided_and_is_seen_in_the_list(
    operator: Client, spelling: str
) -> None:
    assert operator.post(ADD, form(spelling, "outside", "")).status_code == 302
    assert StageDecision.objects.get().spelling == spelling
    assert "(blank)" in operator.get(LIST).content.decode()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (form("Series A"), "built-in"),
        (form("Angel", reason=""), "required"),
        (form("Angel", stage=""), "belongs to the verdict stage"),
        (form("Angel", "outside"), "belongs to the verdict stage"),
        (form("Taken", confirm=""), "decided already: seed"),
        (form("Taken"), "in force already"),
    ],
)
def test_a_decision_that_cannot_be_made_is_refused_at_its_field(
    operator: Client, fields: dict[str, str], message: str
) -> None:
    decide("taken", Stage.SEED)
    if fields["spelling"] == "Taken" and not fields["confirm"]:
        fields = {**fields, "stage": "series-a"}
    answer = operator.post(ADD, {name: value for name, value in fields.items() if value})
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert active() == {"taken": "seed"}


def test_a_confirmed_decision_changes_the_one_in_force_in_one_step(operator: Client) -> None:
    decide("taken", Stage.SEED)
    assert operator.post(ADD, form("Taken", stage="series-a")).status_code == 302
    assert active() == {"taken": "series-a"}
    assert DecisionBatch.objects.count() == 2


def test_a_decision_is_retired_by_the_action_and_cannot_be_edited_or_deleted(
    operator: Client,
) -> None:
    decide("angel", Stage.SEED)
    decision = StageDecision.objects.get()
    operator.post(
        LIST, {"action": "retire", "_selected_action": decision.pk, "reason": "a mistake"}
    )
    decision.refresh_from_db()
    assert decision.superseded_by is not None
    assert (decision.superseded_by.author, decision.superseded_by.reason) == (
        "operator",
        "a mistake",
    )
    page = f"{LIST}{decision.pk}/"
    assert operator.post(f"{page}change/", form("b")).status_code == 403
    assert operator.post(f"{page}delete/", {"post": "yes"}).status_code == 403


def test_batches_are_undone_by_the_action_the_newest_first(operator: Client) -> None:
    first = decide_all([row("angel", Stage.SEED), row("grant", DecisionVerdict.OUTSIDE)])
    second = decide("angel", Stage.PRE_SEED)
    answer = operator.post(
        BATCHES,
        {"action": "undo", "_selected_action": [first.version, second.version]},
        follow=True,
    )
    assert f"Batch {second.version} is undone" in answer.content.decode()
    assert active() == {}
    assert operator.post(f"{BATCHES}add/", {}).status_code == 403


def test_a_batch_that_cannot_be_undone_is_reported(operator: Client) -> None:
    result = decide("angel", Stage.SEED)
    decisions.undo(result.version, author="x", source=DecisionBatch.Source.COMMAND)
    chosen = {"action": "undo", "_selected_action": [result.version]}
    page = operator.post(BATCHES, chosen, follow=True).content.decode()
    assert "was undone already" in page


def test_only_those_who_may_change_decisions_can_undo(client: Client) -> None:
    from django.contrib.auth.models import Permission

    result = decide("angel", Stage.SEED)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_decisionbatch"))
    client.force_login(viewer)
    client.post(BATCHES, {"action": "undo", "_selected_action": [result.version]})
    assert active() == {"angel": "seed"}


@pytest.mark.parametrize(
    "model", ["rolloutchange", "observedspelling", "outcometally", "decisionbatch"]
)
def test_ledgers_are_shown_and_cannot_be_written(operator: Client, model: str) -> None:
    rollout_store.change(Mode.WARN, actor="a", source="tests", reason="r")
    observations.record("e", "c", "warn", "unknown", {("<b>raw</b>", ""): 1})
    observations.flush()
    decide("x", Stage.SEED, reason="<b>raw</b>")
    page = operator.get(f"/admin/normalization/{model}/")
    assert page.status_code == 200
    assert "<b>raw</b>" not in page.content.decode()
    assert operator.get(f"/admin/normalization/{model}/add/").status_code == 403
