"""Open pages ask for the state in one small answer, and have the state they were made from."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from normalization import decisions, rollout_store
from normalization.decision_file import DecisionRow
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch
from normalization.rollout import without_enforcement
from normalization.stages import Stage
from tests.observed import counted
from tests.pages import CLIENTS, HOME, ROLLOUT, Page

pytestmark = pytest.mark.django_db
NOW = "/admin/ops/now/"
QUERIES = 25


@pytest.mark.parametrize(("staff", "status"), [(None, 403), (False, 403), (True, 200)])
def test_only_staff_may_ask_and_no_answer_is_kept_or_redirected(
    client: Client, staff: bool | None, status: int
) -> None:
    if staff is not None:
        client.force_login(User.objects.create_user("bob", is_staff=staff))
    answer = client.get(NOW)
    assert (answer.status_code, answer["Cache-Control"]) == (status, "no-store")
    assert client.post(NOW).status_code in (403, 405)


def test_the_answer_names_the_newest_change_and_what_needs_the_operator(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    before = operator.get(NOW).json()
    assert (before["version"], before["mode"], before["word"]) == (0, "off", "Observe")
    version = set_mode("enforce", enforce_percent=Decimal(10))
    now = operator.get(NOW).json()
    assert (now["version"], now["word"]) == (version, "Enforce 10 %")
    assert now["what"].startswith("tests changed the rollout at ")
    assert now["what"].endswith("Warn → Enforce 10 %.")
    rollout_store.change(without_enforcement, actor="guard", source="guard", reason="8 %")
    later = operator.get(NOW).json()
    assert later["what"].endswith("Enforce 10 % → Warn.")
    assert later["attention"] == len(Page.get(operator, HOME).all("div", css="notice"))
    assert later["attention"] >= 1
    row = DecisionRow("Seires A", DecisionVerdict.STAGE, Stage.SERIES_A)
    decisions.apply(
        decisions.plan([row]), author="ann", source=DecisionBatch.Source.ADMIN, reason="typing"
    )
    found = operator.get(NOW).json()
    assert found["decisions"] > later["decisions"]
    assert found["what"].startswith("ann changed decisions at ")


def test_the_answer_costs_the_same_few_queries_for_any_number_of_requests(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    for minutes in range(30):
        counted("canonical", 5, minutes=minutes)
    with CaptureQueriesContext(connection) as captured:
        assert operator.get(NOW).status_code == 200
    assert len(captured) <= QUERIES
    assert not any("outcometally" in each["sql"] for each in captured.captured_queries)


@pytest.mark.parametrize("address", [HOME, ROLLOUT, CLIENTS, "/admin/ops/spellings/"])
def test_a_page_carries_its_versions_and_names_the_mode_in_title_and_icon(
    operator: Client, set_mode: Callable[..., int], address: str
) -> None:
    version = set_mode("warn")
    page = Page.get(operator, address)
    state = page.one("div", id="live")
    assert state.attribute("data-version") == str(version)
    assert state.attribute("data-url") == NOW
    assert " · ".join(page.one("title").text.split(" · ")[:1]).endswith("Warn")
    assert "icon-warn" in page.one("link", id="live-icon").attribute("href")
    assert page.one("div", id="live-offer").attribute("role") == "status"


@pytest.mark.parametrize(
    ("address", "current"),
    [
        ("/admin/portfolio/fund/", []),
        ("/admin/ops/backfillrun/", ["Stored rows"]),
        ("/admin/ops/spellings/packs/", ["Spellings"]),
        (CLIENTS, ["Clients"]),
        (ROLLOUT, ["Rollout"]),
        (HOME, ["Home"]),
    ],
)
def test_every_page_of_the_admin_has_the_links_of_the_console_and_the_mode(
    operator: Client, set_mode: Callable[..., int], address: str, current: list[str]
) -> None:
    set_mode("enforce", enforce_percent=Decimal(25))
    links = Page.get(operator, address).one("nav", css="cnav")
    marked = [each.text for each in links.all("a") if each.attribute("aria-current") == "page"]
    assert marked == current
    assert links.one("li", css="mode-now").text == "Mode now: Enforce 25 %"
