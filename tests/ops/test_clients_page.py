"""`/admin/ops/rollout/clients/`: one row for each client, those refused most first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from normalization import decision_store
from normalization.models import OutcomeTally
from normalization.rollout import Mode, enters_at
from normalization.stages import Stage
from ops.pages.clients.counts import LISTED
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import ApiKey
from tests.decided import decide
from tests.observed import DAY, break_table, counted, saw
from tests.pages import CLIENT, CLIENTS, ClientsPage, HomePage

pytestmark = pytest.mark.django_db


# -- The figures of a row -----------------------------------------------------


def test_a_row_adds_up_to_the_client_s_tallies(operator: Client) -> None:
    counted("canonical", 900, client="desk")
    counted("canonical", 100, minutes=3, client="desk")
    counted("normalized", 300, client="desk")
    counted("unknown", 40, client="desk")
    counted("rejected", 10, client="desk", mode="enforce")
    counted("canonical", 7, client="other")
    page = ClientsPage.open(operator)
    first, second = page.rows
    assert first[:7] == ["desk", "1,350", "1,000", "300", "40", "10", "3.70 %"]
    assert second[:7] == ["other", "7", "7", "0", "0", "0", "none"]
    assert "1 of 2 clients would be refused: 50 of 1,357 requests (3.68 %)" in page.answer_text


def test_requests_that_enforcement_let_through_do_not_count_as_refused(operator: Client) -> None:
    # Stored spellings that a PATCH left unchanged.
    counted("unknown", 40, client="desk", mode="enforce")
    counted("unknown", 3, client="desk", mode="off")
    ((_, requests, _, _, unknown, _, refused, _, _),) = ClientsPage.open(operator).rows
    assert (requests, unknown, refused) == ("43", "43", "6.98 %")


def test_last_seen_is_the_last_minute(operator: Client) -> None:
    counted("canonical", 1, minutes=500, client="desk")
    counted("unknown", 1, minutes=5, client="desk")
    last = OutcomeTally.objects.order_by("minute").last()
    assert last
    assert ClientsPage.open(operator).rows[0][8] == f"{last.minute:%-d %b %H:%M}"


@pytest.mark.parametrize(
    ("query", "seen"),
    [("", 2), ("?window=7d", 2), ("?window=24h", 1), ("?window=<b>", 2), ("?window=60m", 2)],
)
def test_the_period_limits_what_is_counted(operator: Client, query: str, seen: int) -> None:
    counted("canonical", 1, client="today")
    counted("canonical", 1, minutes=3 * DAY, client="this-week")
    counted("canonical", 1, minutes=7 * DAY + 1, client="long-ago")
    assert ClientsPage.open(operator, query).kinds["All"] == seen


def test_the_clients_that_would_be_refused_most_come_first(operator: Client) -> None:
    for client, unknown, canonical in (
        ("a", 0, 5),
        ("b", 3, 1),
        ("c", 0, 9),
        ("d", 30, 90_000),
        ("e", 3, 2),
    ):
        counted("canonical", canonical, client=client)
        if unknown:
            counted("unknown", unknown, client=client)
    create_key("0 silent")
    assert ClientsPage.open(operator).names == ["d", "e", "b", "c", "a", "0 silent"]


# -- Holders of keys ----------------------------------------------------------


def test_a_client_that_holds_a_key_and_sent_nothing_is_listed(operator: Client) -> None:
    create_key("silent")
    create_key("silent")  # a second key of the same client
    create_key("seen")
    counted("canonical", 1, client="seen")
    counted("canonical", 1, client="silent", minutes=8 * DAY)
    page = ClientsPage.open(operator)
    assert [row[0] for row in page.rows] == ["seen", "silent no request; it holds a key"]
    assert page.kinds == {
        "All": 2,
        "Would be refused": 0,
        "Deprecated spellings only": 0,
        "No request": 1,
    }
    assert ClientsPage.open(operator, "?only=silent").names == ["silent"]


def test_a_key_that_cannot_be_used_makes_no_client(operator: Client) -> None:
    for name in ("revoked", "past", "good"):
        create_key(name)
    ApiKey.objects.filter(name="revoked").update(revoked=True)
    ApiKey.objects.filter(name="past").update(expiry_date=timezone.now() - timedelta(seconds=1))
    ApiKey.objects.filter(name="good").update(expiry_date=timezone.now() + timedelta(hours=1))
    assert ClientsPage.open(operator).names == ["good"]


# -- Enforcement --------------------------------------------------------------


def test_each_row_shows_whether_the_client_is_enforced_now_or_from_which_share(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    low, high = sorted(("desk", "portal"), key=enters_at)
    for client in (low, high, "bird", "old"):
        counted("canonical", 1, client=client)
    share = enters_at(low)
    special = {"pilots": frozenset({"bird"}), "holdouts": frozenset({"old"})}
    set_mode("warn", enforce_percent=share, **special)
    assert ClientsPage.open(operator).statuses == {
        low: f"enters at {share.normalize():f} %",
        high: f"enters at {enters_at(high).normalize():f} %",
        "bird": "always in pilot",
        "old": "held out holdout",
    }
    set_mode("enforce", enforce_percent=share, **special)
    after = ClientsPage.open(operator).statuses
    assert (after[low], after["bird"], after["old"]) == (
        "enforced now",
        "enforced now pilot",
        "held out holdout",
    )
    assert after[high].startswith("enters at ")


def test_a_client_at_endpoints_that_are_all_capped_is_only_warned(
    operator: Client, set_mode: Callable[..., int], settings: Settings
) -> None:
    counted("canonical", 1, client="desk")
    set_mode("enforce", overrides=dict.fromkeys(settings.STAGE_ENDPOINTS, Mode.WARN))
    assert ClientsPage.open(operator).statuses == {
        "desk": "only warned: its endpoints are limited"
    }


def test_a_row_names_the_spelling_to_decide_first_and_shows_when_all_are_decided(
    operator: Client,
) -> None:
    counted("unknown", 5, client="importer")
    saw("Growth", 2)
    saw("Seires\u00a0A", 3)
    refused = ClientsPage.open(operator).rows[0][6]
    assert refused == "100.00 % 2 spellings undecided Seires U+00A0 A"
    for raw in ("Growth", "Seires A"):
        decide(raw, Stage.SERIES_A)
    decision_store.forget()
    assert ClientsPage.open(operator).rows[0][6] == "100.00 % all decided since"


def test_the_smallest_share_is_exactly_the_share_at_which_the_client_enters(
    operator: Client,
) -> None:
    counted("canonical", 1, client="desk")
    assert ClientsPage.open(operator).statuses["desk"] == (
        f"enters at {enters_at('desk').normalize():f} %"
    )


# -- Search and pages ---------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("DESK", ["deal-desk", "desk"]),
        ("deal", ["deal-desk"]),
        ("%", ["100%"]),
        ("_", ["a_b"]),
        ("zz", []),
        ("\0", ["100%", "a_b", "deal-desk", "desk"]),
        (" desk ", ["deal-desk", "desk"]),
    ],
)
def test_search_matches_any_part_of_the_name_literally(
    operator: Client, typed: str, found: list[str]
) -> None:
    for client in ("deal-desk", "desk", "100%", "a_b"):
        counted("canonical", 1, client=client)
    page = ClientsPage.get(operator, CLIENTS, q=typed)
    assert page.names == found
    assert page.kinds["All"] == len(found)


def test_each_kind_lists_its_clients_and_their_number(operator: Client) -> None:
    for client, outcome in (
        ("a", "canonical"),
        ("b", "normalized"),
        ("c", "unknown"),
        ("d", "rejected"),
    ):
        if client in "bcd":
            counted("normalized", 1, client=client, minutes=1)
        counted(outcome, 1, client=client)
    create_key("e")
    listed = {
        kind: ClientsPage.open(operator, f"?only={kind}").names
        for kind in ("refusable", "deprecated", "silent", "<b>")
    }
    assert listed == {
        "refusable": ["c", "d"],
        "deprecated": ["b"],
        "silent": ["e"],
        "<b>": ["c", "d", "b", "a", "e"],
    }
    assert ClientsPage.open(operator).kinds == {
        "All": 5,
        "Would be refused": 2,
        "Deprecated spellings only": 1,
        "No request": 1,
    }


def test_the_pages_show_every_client_once_and_keep_the_query(operator: Client) -> None:
    for number in range(2 * LISTED + 7):
        counted("unknown", 1, client=f"client-{number:03}")
    counted("unknown", 1, client="other")
    seen, query = [], "?q=client&only=refusable&window=24h"
    while query:
        page = ClientsPage.open(operator, query)
        seen.append(page.names)
        query = page.next_query
    assert [len(each) for each in seen] == [LISTED, LISTED, 7]
    assert [name for each in seen for name in each] == [
        f"client-{number:03}" for number in range(2 * LISTED + 7)
    ]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("0", ["desk"]),
        ("-1", ["desk"]),
        ("x", ["desk"]),
        ("²", ["desk"]),
        ("9" * 30, []),
        ("7", []),
    ],
)
def test_an_invalid_page_number_shows_the_first_page_and_a_too_large_one_an_empty_list(
    operator: Client, number: str, shown: list[str]
) -> None:
    counted("canonical", 1, client="desk")
    page = ClientsPage.open(operator, f"?page={number}")
    assert page.names == shown
    assert ("There are no such clients." in page.text) == (not shown)


# -- The page as a whole ------------------------------------------------------


def test_a_name_with_markup_is_shown_as_text(operator: Client) -> None:
    counted("canonical", 1, client="<img src=x onerror=alert(1)>")
    page = ClientsPage.get(operator, CLIENTS, q="<img")
    assert "<img" not in page.markup
    assert page.names == ["<img src=x onerror=alert(1)>"]


@pytest.mark.parametrize("account", [None, {}])
def test_only_staff_may_open_the_pages(client: Client, account: dict[str, Any] | None) -> None:
    if account is not None:
        client.force_login(User.objects.create_user("bob", **account))
    for address in (CLIENTS, f"{CLIENT}?name=desk"):
        assert client.get(address).status_code == 302


def test_all_staff_may_look_and_nothing_can_be_changed_here(client: Client) -> None:
    counted("canonical", 1, client="desk")
    client.force_login(User.objects.create_user("bob", is_staff=True))
    for address in (CLIENTS, f"{CLIENT}?name=desk"):
        answer = client.get(address)
        assert (answer.status_code, "no-store" in answer["Cache-Control"]) == (200, True)
        assert client.post(address).status_code == 405


def test_failing_tallies_do_not_break_the_page(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    break_table("normalization_outcometally")
    assert "manage.py stage_clients" in ClientsPage.open(operator).text
    assert HomePage.open(operator).state["Clients"].word == "not known"


def test_failing_spellings_remove_only_themselves_from_the_page(operator: Client) -> None:
    counted("unknown", 1, client="importer")
    saw("Growth")
    break_table("normalization_observedspelling")
    assert ClientsPage.open(operator).rows[0][6] == "100.00 %"


def test_the_number_of_queries_does_not_grow_with_the_clients(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        counted("unknown", 1, client=f"client-{number}")
        saw(f"Seires {number}", client=f"client-{number}")
    with django_assert_max_num_queries(20):
        ClientsPage.open(operator)


def test_the_start_page_shows_how_many_clients_would_be_refused(operator: Client) -> None:
    def clients() -> tuple[str, str, str]:
        row = HomePage.open(operator).state["Clients"]
        assert row.url == f"{CLIENTS}?window=24h"
        return row.tone, row.word, row.detail

    assert clients() == ("plain", "none", "no request in 24 hours")
    counted("canonical", 1, client="a")
    counted("unknown", 1, client="b", mode="enforce")
    assert clients() == ("good", "0 of 2", "would be refused (last 24 hours)")
    counted("unknown", 1, client="a")
    counted("unknown", 1, client="c", minutes=25 * 60)
    assert clients() == ("unsure", "1 of 2", "would be refused (last 24 hours)")
