"""The operator decides aliases in the admin; ledgers there are read-only."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from normalization import aliases, observations, rollout_store
from normalization.models import StageAlias
from normalization.rollout import Mode
from normalization.stages import Known, Stage, normalize

pytestmark = pytest.mark.django_db(transaction=True)
ADD = "/admin/normalization/stagealias/add/"


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("operator"))
    return client


def test_an_alias_added_in_the_admin_holds_and_names_who_decided(operator: Client) -> None:
    answer = operator.post(ADD, {"spelling": "Angel", "stage": "pre-seed", "reason": "our feed"})
    assert answer.status_code == 302
    assert StageAlias.objects.get().decided_by == "operator"
    assert normalize("ANGEL", aliases.current()) == Known("ANGEL", Stage.PRE_SEED, canonical=False)


@pytest.mark.parametrize(
    ("spelling", "reason", "message"),
    [
        ("Series A", "x", "cannot be an alias"),
        ("Angel", "", "required"),
        ("Taken", "x", "retire it first"),
    ],
)
def test_a_spelling_that_cannot_be_an_alias_is_refused_at_its_field(
    operator: Client, spelling: str, reason: str, message: str
) -> None:
    aliases.add("taken", Stage.SEED, decided_by="x", reason="x")
    answer = operator.post(ADD, {"spelling": spelling, "stage": "seed", "reason": reason})
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert StageAlias.objects.count() == 1


def test_an_alias_is_retired_by_the_action_and_cannot_be_edited_or_deleted(
    operator: Client,
) -> None:
    alias = aliases.add("angel", Stage.SEED, decided_by="x", reason="x")
    operator.post(
        "/admin/normalization/stagealias/", {"action": "retire", "_selected_action": alias.pk}
    )
    alias.refresh_from_db()
    assert alias.retired_by == "operator"
    page = f"/admin/normalization/stagealias/{alias.pk}/"
    assert (
        operator.post(
            f"{page}change/", {"spelling": "b", "stage": "seed", "reason": "x"}
        ).status_code
        == 403
    )
    assert operator.post(f"{page}delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", ["rolloutchange", "observedspelling", "outcometally"])
def test_ledgers_are_shown_and_cannot_be_written(operator: Client, model: str) -> None:
    rollout_store.change(Mode.WARN, actor="a", source="tests", reason="r")
    observations.record("e", "c", "warn", "unknown", {("<b>raw</b>", ""): 1})
    observations.flush()
    page = operator.get(f"/admin/normalization/{model}/")
    assert page.status_code == 200
    assert "<b>raw</b>" not in page.content.decode()
    assert operator.get(f"/admin/normalization/{model}/add/").status_code == 403
