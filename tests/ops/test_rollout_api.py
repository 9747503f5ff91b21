"""`/_ops/stage-validation/mode`: operators read it, and outside production set it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIClient

from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout
from stagenorm.portfolio.keys import create_key

pytestmark = pytest.mark.django_db
URL = "/_ops/stage-validation/mode"
WARN = {"mode": "warn", "reason": "tell the clients"}


def with_key(**options: Any) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {create_key('ops-tool', **options)[1]}")
    return client


def with_session(**options: Any) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("ann", **options))
    return client


@pytest.fixture
def development(settings: Settings) -> None:
    settings.PRODUCTION = False


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        (APIClient, 401),
        (with_key, 403),
        (lambda: with_key(operator=True), 200),
        (lambda: with_key(operator=True, read_only=True), 200),
        (with_session, 403),
        (lambda: with_session(is_staff=True), 200),
    ],
)
def test_only_operators_read_it(caller: Callable[[], Any], status: int) -> None:
    answer = caller().get(URL)
    assert answer.status_code == status
    if status == 200:
        body = answer.json()
        assert (body["mode"], body["version"], body["enforce_percent"]) == ("off", 0, "100")
        assert answer["Cache-Control"] == "no-store"
    else:
        assert answer["Content-Type"] == "application/problem+json"


def test_in_production_a_put_is_refused_and_names_the_command() -> None:
    answer = with_key(operator=True).put(URL, WARN)
    assert answer.status_code == 403
    assert "manage.py stage_mode set warn --reason" in answer.json()["detail"]
    assert not RolloutChange.objects.exists()


@pytest.mark.usefixtures("development")
@pytest.mark.parametrize(("may", "status"), [(False, 403), (True, 200)])
def test_a_change_with_a_session_needs_the_permission_of_the_pages(may: bool, status: int) -> None:
    user = User.objects.create_user("bob", is_staff=True)
    if may:
        user.user_permissions.add(Permission.objects.get(codename="add_rolloutchange"))
    client = APIClient()
    client.force_login(user)
    assert client.put(URL, WARN, format="json").status_code == status
    assert RolloutChange.objects.exists() == may


@pytest.mark.usefixtures("development")
def test_a_put_changes_what_it_names_and_keeps_the_rest() -> None:
    client = with_key(operator=True)
    first = client.put(
        URL,
        {
            **WARN,
            "pilots": ["a", "b"],
            "enforce_percent": 10,
            "enforce_at": "2026-12-31T00:00:00Z",
        },
    )
    assert (first.status_code, first.json()["changed"], first.json()["spread"]) == (
        200,
        True,
        "at_commit",
    )
    second = client.put(
        URL, {"mode": "enforce", "reason": "go on", "expected_version": first.json()["version"]}
    )
    assert second.status_code == 200
    assert (second.json()["pilots"], second.json()["enforce_percent"]) == (["a", "b"], "10")
    row = RolloutChange.objects.first()
    assert row
    assert (row.mode, row.actor, row.source, row.reason) == ("enforce", "ops-tool", "api", "go on")
    shown = client.get(URL).json()
    assert (shown["version"], shown["actor"], shown["reason"]) == (row.pk, "ops-tool", "go on")


@pytest.mark.usefixtures("development")
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"mode": "warn"}, "/reason"),
        ({"reason": "x"}, "/mode"),
        ({**WARN, "mode": "loud"}, "/mode"),
        ({**WARN, "more": 1}, "/more"),
        ({**WARN, "enforce_percent": 101}, "/enforce_percent"),
        ({**WARN, "enforce_percent": True}, "/enforce_percent"),
        ({**WARN, "pilots": [1]}, "/pilots/0"),
        ({**WARN, "pilots": ["a"], "holdouts": ["a"]}, ""),
        ({**WARN, "overrides": {"x": "loud"}}, "/overrides/x"),
        ({**WARN, "expected_version": "1"}, "/expected_version"),
        ({**WARN, "enforce_at": "soon"}, "/enforce_at"),
    ],
)
def test_an_invalid_body_is_a_problem_that_names_the_member(body: Any, pointer: str) -> None:
    answer = with_key(operator=True).put(URL, body)
    assert answer.status_code == 400
    assert [item["pointer"] for item in answer.json()["errors"]] == [pointer]
    assert not RolloutChange.objects.exists()


@pytest.mark.usefixtures("development")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({**WARN, "expected_version": 7}, "look at it again"),
        ({"mode": "enforce", "reason": "x"}, "set warn"),
    ],
)
def test_an_impossible_change_is_a_conflict_with_its_reason(body: Any, reason: str) -> None:
    answer = with_key(operator=True).put(URL, body)
    assert answer.status_code == 409
    assert reason in answer.json()["detail"]
    assert not RolloutChange.objects.exists()


@pytest.mark.usefixtures("development")
def test_a_read_only_key_changes_nothing() -> None:
    assert with_key(operator=True, read_only=True).put(URL, WARN).status_code == 403
    assert not RolloutChange.objects.exists()


@pytest.mark.usefixtures("development")
def test_a_session_needs_its_csrf_token_to_write() -> None:
    client = with_session(is_staff=True, is_superuser=True)
    assert client.put(URL, WARN, content_type="application/json").status_code == 403
    client.get("/admin/")
    token = (
        client.get("/admin/ops/rollout/", follow=True).cookies.get("csrftoken")
        or client.cookies["csrftoken"]
    )
    answer = client.put(
        URL, WARN, content_type="application/json", headers={"X-CSRFToken": token.value}
    )
    assert answer.status_code == 200
    assert RolloutChange.objects.get().actor == "ann"


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        ("https://stages.example.com:8443", "https://stages.example.com:8443"),
        ("https://stages.example.com/<b>x", "https://stages.example.com"),
        ("null", "The form's token"),
    ],
)
def test_a_form_from_an_origin_that_is_not_trusted_names_it_and_the_setting(
    origin: str, named: str
) -> None:
    client = with_session(is_staff=True)
    answer = client.post("/admin/logout/", headers={"Origin": origin})
    assert answer.status_code == 403
    detail = answer.json()["detail"]
    assert named in detail
    assert "<b>" not in detail
    assert ("DJANGO_CSRF_TRUSTED_ORIGINS" in detail) is named.startswith("https")


def test_the_answer_has_the_whole_rollout(set_mode: Callable[..., int]) -> None:
    set_mode("warn", holdouts=frozenset({"z"}), overrides={"fund-companies": Mode.OFF})
    body = with_key(operator=True).get(URL).json()
    wire = Rollout(
        Mode.WARN, holdouts=frozenset({"z"}), overrides={"fund-companies": Mode.OFF}
    ).to_wire()
    assert {name: body[name] for name in wire} == wire
    assert body["instances"] == []
