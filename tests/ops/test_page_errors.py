"""Errors of the admin are pages for people and problem documents for programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.pages import ROLLOUT

pytestmark = pytest.mark.django_db
PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"
STATIC = Path(__file__).resolve().parents[2] / "ops" / "static"


@pytest.fixture
def staff() -> Client:
    """A browser of a member of staff without any permission, with Django's protection of forms."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("bob", is_staff=True))
    return client


@pytest.mark.parametrize(
    ("method", "address", "status", "says"),
    [
        ("get", "/admin/nowhere/", 404, "There is no page at this address."),
        ("get", "/admin/ops/backup/", 403, "You may not do this."),
        ("get", "/admin/ops/rollout/clients/client/", 404, "There is no page at this address."),
        ("post", f"{ROLLOUT}next/", 403, "Load the page again, with cookies allowed"),
    ],
)
def test_a_browser_gets_a_page_and_a_program_a_problem(
    staff: Client, method: str, address: str, status: int, says: str
) -> None:
    page = getattr(staff, method)(address, headers={"accept": PAGE})
    assert (page.status_code, page["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert says in page.content.decode()
    assert 'href="/admin/"' in page.content.decode()
    problem = getattr(staff, method)(address, headers={"accept": "application/json"})
    assert (problem.status_code, problem["Content-Type"]) == (status, "application/problem+json")
    assert says in problem.json()["detail"]


def test_an_address_of_the_api_is_a_problem_for_a_browser_as_well(staff: Client) -> None:
    answer = staff.get("/api/nowhere", headers={"accept": PAGE})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_every_page_has_an_icon_and_so_has_a_browser_s_own_request(operator: Client) -> None:
    answer = operator.get("/favicon.ico")
    assert (answer.status_code, answer["Location"]) == (302, "/static/ops/icon-off.svg")
    assert (STATIC / "ops" / "icon-off.svg").read_text().startswith("<svg ")
    for address in ("/admin/", "/admin/portfolio/fund/", "/problems/not-found", "/api/docs"):
        assert 'rel="icon"' in operator.get(address).content.decode(), address
