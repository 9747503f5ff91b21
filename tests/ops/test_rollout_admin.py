"""`/admin/ops/rollout/`: what holds, who runs it, and a form that cannot overwrite what its reader has not seen."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from normalization import rollout_store
from normalization.models import RolloutChange
from normalization.rollout import Mode

pytestmark = pytest.mark.django_db
URL = "/admin/ops/rollout/"


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


def hidden(text: str, name: str) -> str:
    (tag,) = re.findall(rf'<input type="hidden" name="{name}"[^>]*>', text)
    return str(re.findall(r'value="([^"]*)"', tag)[0])


def section(text: str, name: str) -> str:
    """One part of the page, without tags and with every run of white space as one space."""
    (found,) = re.findall(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found)).split())


@pytest.mark.parametrize("account", [None, {}])
def test_whoever_is_not_staff_is_sent_to_the_login(
    client: Client, account: dict[str, Any] | None
) -> None:
    if account is not None:
        client.force_login(User.objects.create_user("bob", **account))
    assert client.get(URL).status_code == 302
    assert client.post(URL, body()).status_code == 302
    assert not RolloutChange.objects.exists()


def test_the_page_shows_mode_share_version_since_actor_and_reason(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode(
        "warn", pilots=frozenset({"early-bird"}), holdouts=frozenset({"late-riser"})
    )
    page = operator.get(URL)
    text = page.content.decode()
    assert "no-store" in page["Cache-Control"]
    for shown in ("mode-warn", "100 %", f"<dd>{version}</dd>", "tests (tests)", "a test asked"):
        assert shown in text
    for role, name in (("Pilots", "early-bird"), ("Holdouts", "late-riser")):
        assert f"<dt>{role}</dt><dd>{name}</dd>" in text
    assert not re.search(r"<script(?![^>]*src=)[^>]*>|\sstyle=|\son\w+=|<style", text)


def test_the_form_changes_the_whole_rollout_through_change(operator: Client) -> None:
    given = body(
        pilots="b\r\n a \r\n\r\n", holdouts="z", enforce_at="2026-12-31", enforce_percent="12.5",
        **{"endpoint:fund-companies": "off"},
    )  # fmt: skip
    assert operator.post(URL, given).status_code == 302
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


def test_a_page_out_of_date_overwrites_nothing(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    seen = set_mode("warn")
    rollout_store.change(Mode.OFF, actor="bob", source="tests", reason="faster")
    answer = operator.post(URL, body(mode="enforce", expected_version=seen))
    assert answer.status_code == 200
    assert "look at it again" in answer.content.decode()
    assert newest().mode == "off"


def test_after_a_conflict_what_was_typed_is_kept_and_the_next_click_decides_about_the_newer_version(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    seen = set_mode("warn")
    between = rollout_store.change(Mode.OFF, actor="bob", source="tests", reason="faster").version
    given = body(expected_version=seen, pilots="early-bird", reason="mine")
    text = operator.post(URL, given).content.decode()
    assert "What was typed is still here" in text
    for kept in ("early-bird", "mine", "New pilots: early-bird."):
        assert kept in text
    assert (
        operator.post(
            URL, given | {"expected_version": hidden(text, "expected_version")}
        ).status_code
        == 302
    )
    assert (newest().mode, newest().pilots, hidden(text, "expected_version")) == (
        "warn",
        ["early-bird"],
        str(between),
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"reason": " "}, "This field is required"),
        ({"mode": "enforce"}, "set warn"),
        ({"enforce_percent": "101"}, "less than or equal to 100"),
        ({"pilots": "a", "holdouts": "a"}, "pilot and holdout"),
        ({"enforce_at": "soon"}, "valid date"),
        ({"expected_version": ""}, "This field is required"),
    ],
)
def test_what_cannot_be_is_told_on_the_page(
    operator: Client, given: dict[str, str], says: str
) -> None:
    answer = operator.post(URL, body(**given))
    assert answer.status_code == 200
    assert says in answer.content.decode()
    assert not RolloutChange.objects.exists()


def test_staff_without_the_permission_sees_and_changes_nothing(client: Client) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    assert "Change the rollout" not in client.get(URL).content.decode()
    assert client.post(URL, body()).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="add_rolloutchange"))
    assert client.post(URL, body()).status_code == 302


def test_a_post_without_the_csrf_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("ann"))
    assert client.post(URL, body()).status_code == 403
    assert not RolloutChange.objects.exists()


def test_what_people_wrote_is_shown_as_text(operator: Client) -> None:
    rollout_store.change(
        Mode.WARN, actor="<b>x</b>", source="tests", reason="<script>alert(1)</script>"
    )
    text = operator.get(URL).content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_the_admin_s_first_page_leads_there(operator: Client) -> None:
    assert f'href="{URL}"' in operator.get("/admin/").content.decode()
