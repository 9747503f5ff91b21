"""`/admin/ops/rollout/`: the rollout in force, and a form that overwrites no newer change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from normalization import rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode
from tests.pages import HOME, ROLLOUT, Page, RolloutPage

pytestmark = pytest.mark.django_db


def body(**given: Any) -> dict[str, Any]:
    return {
        "mode": "warn",
        "enforce_percent": "100",
        "reason": "tell the clients",
        "expected_version": 0,
        **given,
    }


def newest() -> RolloutChange:
    return RolloutChange.objects.latest("id")


@pytest.mark.parametrize("account", [None, {}])
def test_only_staff_may_open_the_page(client: Client, account: dict[str, Any] | None) -> None:
    if account is not None:
        client.force_login(User.objects.create_user("bob", **account))
    assert client.get(ROLLOUT).status_code == 302
    assert client.post(ROLLOUT, body()).status_code == 302
    assert not RolloutChange.objects.exists()


def test_the_page_shows_mode_share_version_since_actor_and_reason(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode(
        "warn", pilots=frozenset({"early-bird"}), holdouts=frozenset({"late-riser"})
    )
    page = RolloutPage.open(operator)
    assert "no-store" in page.answer["Cache-Control"]
    assert page.mode == "warn"
    assert "Share enforced" not in page.facts  # the plan has the next one
    assert page.facts["Version"] == str(version)
    assert page.facts["Since"].startswith(f"{newest().created_at:%-d %b %Y %H:%M} UTC")
    assert page.facts["By"] == "tests (tests)"
    assert page.facts["Reason"] == "a test asked"
    assert (page.facts["Pilots"], page.facts["Holdouts"]) == ("early-bird", "late-riser")
    assert page.faults() == []


def test_the_form_changes_the_whole_rollout_through_change(operator: Client) -> None:
    given = body(
        pilots="b\r\n a \r\n\r\n",
        holdouts="z",
        enforce_at="2026-12-31",
        enforce_percent="12.5",
        **{"endpoint:fund-companies": "off"},
    )
    assert operator.post(ROLLOUT, given).status_code == 302
    row = RolloutChange.objects.get()
    assert (row.mode, row.previous_mode, row.actor, row.source) == ("warn", "off", "ann", "admin")
    assert (row.pilots, row.holdouts, row.overrides) == (
        ["a", "b"],
        ["z"],
        {"fund-companies": "off"},
    )
    assert (str(row.enforce_percent), f"{row.enforce_at:%F %T%z}") == (
        "12.50",
        "2026-12-31 00:00:00+0000",
    )


def test_a_stale_form_overwrites_no_newer_change(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    seen = set_mode("warn")
    rollout_store.change(Mode.OFF, actor="bob", source="tests", reason="faster")
    page = RolloutPage(operator.post(ROLLOUT, body(mode="enforce", expected_version=seen)))
    assert "look at it again" in page.refusal
    assert newest().mode == "off"


def test_after_a_conflict_the_input_is_kept_and_the_next_click_decides_about_the_newer_version(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    seen = set_mode("warn")
    between = rollout_store.change(Mode.OFF, actor="bob", source="tests", reason="faster").version
    given = body(expected_version=seen, pilots="early-bird", reason="mine")
    page = RolloutPage(operator.post(ROLLOUT, given))
    assert "Your input is kept below" in page.refusal
    assert (page.form_value("pilots"), page.form_value("reason")) == ("early-bird", "mine")
    assert "New pilots: early-bird." in page.effects
    version = page.form_value("expected_version")
    assert version == str(between)
    assert operator.post(ROLLOUT, given | {"expected_version": version}).status_code == 302
    assert (newest().mode, newest().pilots) == ("warn", ["early-bird"])


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"reason": " "}, "This field is required"),
        ({"mode": "enforce"}, "set warn"),
        ({"enforce_percent": "101"}, "less than or equal to 100"),
        ({"pilots": "a", "holdouts": "a"}, "pilot and holdout"),
        ({"enforce_at": "soon"}, "valid date"),
        ({"expected_version": ""}, "This field is required"),
    ],
)
def test_an_invalid_change_shows_its_error_on_the_page(
    operator: Client, given: dict[str, str], error: str
) -> None:
    page = RolloutPage(operator.post(ROLLOUT, body(**given)))
    assert error in page.section("change").text
    assert not RolloutChange.objects.exists()


def test_a_change_needs_the_permission_to_add_rollout_changes(client: Client) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    assert not RolloutPage.open(client).may_change
    assert client.post(ROLLOUT, body()).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="add_rolloutchange"))
    assert client.post(ROLLOUT, body()).status_code == 302


def test_a_post_without_the_csrf_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ann"))
    assert client.post(ROLLOUT, body()).status_code == 403
    assert not RolloutChange.objects.exists()


def test_actor_and_reason_are_shown_as_text(operator: Client) -> None:
    rollout_store.change(
        Mode.WARN, actor="<b>x</b>", source="tests", reason="<script>alert(1)</script>"
    )
    page = RolloutPage.open(operator)
    assert "<script>alert" not in page.markup
    assert page.facts["Reason"] == "<script>alert(1)</script>"
    assert page.facts["By"] == "<b>x</b> (tests)"


def test_the_start_page_of_the_admin_links_to_the_rollout(operator: Client) -> None:
    assert Page.get(operator, HOME).has("a", href=ROLLOUT)
