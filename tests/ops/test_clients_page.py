"""`/admin/ops/rollout/clients/`: one row for each client, those that enforcement would hurt most first."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from html import unescape
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
from tests.ops.test_rollout_console import broken, counted, saw

pytestmark = pytest.mark.django_db
URL = "/admin/ops/rollout/clients/"
DAY = 24 * 60


def page(client: Client, query: str = "") -> str:
    answer = client.get(URL + query)
    assert answer.status_code == 200
    return answer.content.decode()


def words(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def rows(text: str) -> list[list[str]]:
    """The cells of each client, as text: name, six figures, where it stands, last seen."""
    (body,) = re.findall(r'<table class="clients">.*?<tbody>(.*?)</tbody>', text, re.DOTALL) or [
        ""
    ]
    return [
        [words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in body.split("<tr")[1:]
    ]


def names(text: str) -> list[str]:
    return [row[0].split(" no request")[0] for row in rows(text)]


def kinds(text: str) -> dict[str, int]:
    """{"All": 3, …}: what the page says of how many clients there are."""
    (listed,) = re.findall(r'<ul class="kinds".*?</ul>', text, re.DOTALL)
    found = re.findall(r'">([^<]+) <span class="tally">([\d,]+)</span>', listed)
    return {word: int(number.replace(",", "")) for word, number in found}


# -- What a row says --------------------------------------------------------------------------------


def test_a_row_adds_up_to_the_client_s_tallies(operator: Client) -> None:
    counted("canonical", 900, client="desk")
    counted("canonical", 100, minutes=3, client="desk")
    counted("normalized", 300, client="desk")
    counted("unknown", 40, client="desk")
    counted("rejected", 10, client="desk", mode="enforce")
    counted("canonical", 7, client="other")
    (first, second) = rows(page(operator))
    assert first[:7] == ["desk", "1,350", "1,000", "300", "40", "10", "3.70 %"]
    assert second[:7] == ["other", "7", "7", "0", "0", "0", "none"]
    answer = words(re.findall(r'<p class="answer">.*?</p>', page(operator), re.DOTALL)[0])
    assert "1 of 2 clients sent what enforcement refuses: 50 of 1,357 requests (3.68 %)" in answer


def test_what_enforcement_let_through_is_not_called_refused(operator: Client) -> None:
    counted(
        "unknown", 40, client="desk", mode="enforce"
    )  # stored spellings that a PATCH left as they were
    counted("unknown", 3, client="desk", mode="off")
    ((_, requests, _, _, unknown, _, refused, _, _),) = rows(page(operator))
    assert (requests, unknown, refused) == ("43", "43", "6.98 %")


def test_last_seen_is_the_last_minute(operator: Client) -> None:
    counted("canonical", 1, minutes=500, client="desk")
    counted("unknown", 1, minutes=5, client="desk")
    last = OutcomeTally.objects.order_by("minute").last()
    assert last
    assert rows(page(operator))[0][8] == f"{last.minute:%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("query", "seen"),
    [("", 2), ("?window=7d", 2), ("?window=24h", 1), ("?window=<b>", 2), ("?window=60m", 2)],
)
def test_the_window_bounds_what_is_counted(operator: Client, query: str, seen: int) -> None:
    counted("canonical", 1, client="today")
    counted("canonical", 1, minutes=3 * DAY, client="this-week")
    counted("canonical", 1, minutes=7 * DAY + 1, client="long-ago")
    assert kinds(page(operator, query))["All"] == seen


def test_the_clients_that_would_be_hurt_most_come_first(operator: Client) -> None:
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
    assert names(page(operator)) == ["d", "e", "b", "c", "a", "0 silent"]


# -- Who holds a key --------------------------------------------------------------------------------


def test_a_client_that_holds_a_key_and_sent_nothing_is_part_of_the_answer(
    operator: Client,
) -> None:
    create_key("silent")
    create_key("silent")  # a second key of the same client
    create_key("seen")
    counted("canonical", 1, client="seen")
    counted("canonical", 1, client="silent", minutes=8 * DAY)
    text = page(operator)
    assert [row[0] for row in rows(text)] == ["seen", "silent no request; it holds a key"]
    assert kinds(text) == {
        "All": 2,
        "Would be refused": 0,
        "Deprecated spellings only": 0,
        "No request": 1,
    }
    assert names(page(operator, "?only=silent")) == ["silent"]


def test_a_key_that_cannot_be_used_makes_nobody_a_client(operator: Client) -> None:
    for name in ("revoked", "past", "good"):
        create_key(name)
    ApiKey.objects.filter(name="revoked").update(revoked=True)
    ApiKey.objects.filter(name="past").update(expiry_date=timezone.now() - timedelta(seconds=1))
    ApiKey.objects.filter(name="good").update(expiry_date=timezone.now() + timedelta(hours=1))
    assert names(page(operator)) == ["good"]


# -- Where each stands ------------------------------------------------------------------------------


def standings(client: Client) -> dict[str, str]:
    return {row[0]: row[7] for row in rows(page(client))}


def test_each_row_says_whether_the_client_is_enforced_now_or_from_which_share(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    low, high = sorted(("desk", "portal"), key=enters_at)
    for client in (low, high, "bird", "old"):
        counted("canonical", 1, client=client)
    share = enters_at(low)
    special = {"pilots": frozenset({"bird"}), "holdouts": frozenset({"old"})}
    set_mode("warn", enforce_percent=share, **special)
    assert standings(operator) == {
        low: f"from {share.normalize():f} %", high: f"from {enters_at(high).normalize():f} %",
        "bird": "at any share pilot", "old": "never holdout",
    }  # fmt: skip
    set_mode("enforce", enforce_percent=share, **special)
    after = standings(operator)
    assert (after[low], after["bird"], after["old"]) == (
        "enforced now",
        "enforced now pilot",
        "never holdout",
    )
    assert after[high].startswith("from ")


def test_a_client_at_endpoints_that_are_all_capped_is_not_called_enforced(
    operator: Client, set_mode: Callable[..., int], settings: Settings
) -> None:
    counted("canonical", 1, client="desk")
    set_mode("enforce", overrides=dict.fromkeys(settings.STAGE_ENDPOINTS, Mode.WARN))
    assert standings(operator) == {"desk": "held by caps"}


def test_a_row_names_the_spelling_to_decide_first_and_says_when_all_are_decided(
    operator: Client,
) -> None:
    counted("unknown", 5, client="importer")
    saw("Growth", 2)
    saw("Seires\u00a0A", 3)
    assert rows(page(operator))[0][6] == "100.00 % 2 spellings undecided Seires U+00A0 A"
    for raw in ("Growth", "Seires A"):
        decide(raw, Stage.SERIES_A)
    decision_store.forget()
    assert rows(page(operator))[0][6] == "100.00 % all decided since"


# -- Finding one among thousands --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "found"),
    [("DESK", ["deal-desk", "desk"]), ("deal", ["deal-desk"]), ("%", ["100%"]), ("_", ["a_b"]), ("zz", []),
     ("\0", ["100%", "a_b", "deal-desk", "desk"]), (" desk ", ["deal-desk", "desk"])],
)  # fmt: skip
def test_a_name_is_found_by_any_part_of_it_as_it_is_written(
    operator: Client, typed: str, found: list[str]
) -> None:
    for client in ("deal-desk", "desk", "100%", "a_b"):
        counted("canonical", 1, client=client)
    text = operator.get(URL, {"q": typed}).content.decode()
    assert names(text) == found
    assert kinds(text)["All"] == len(found)


def test_each_kind_lists_its_clients_and_says_how_many_there_are(operator: Client) -> None:
    for client, outcome in (
        ("a", "canonical"),
        ("b", "normalized"),
        ("c", "unknown"),
        ("d", "rejected"),
    ):
        counted("normalized", 1, client=client, minutes=1) if client in "bcd" else None
        counted(outcome, 1, client=client)
    create_key("e")
    listed = {
        kind: names(page(operator, f"?only={kind}"))
        for kind in ("refusable", "deprecated", "silent", "<b>")
    }
    assert listed == {
        "refusable": ["c", "d"],
        "deprecated": ["b"],
        "silent": ["e"],
        "<b>": ["c", "d", "b", "a", "e"],
    }
    assert kinds(page(operator)) == {
        "All": 5, "Would be refused": 2, "Deprecated spellings only": 1, "No request": 1,
    }  # fmt: skip


def test_turning_the_pages_shows_every_client_once_and_keeps_what_was_asked(
    operator: Client,
) -> None:
    for number in range(2 * LISTED + 7):
        counted("unknown", 1, client=f"client-{number:03}")
    counted("unknown", 1, client="other")
    seen, address = [], "?q=client&only=refusable&window=24h"
    while address:
        text = page(operator, address)
        seen.append(names(text))
        address = "".join(re.findall(r'<a href="[^"]*?(\?[^"]*)" rel="next"', text)).replace(
            "&amp;", "&"
        )
    assert [len(each) for each in seen] == [LISTED, LISTED, 7]
    assert [name for each in seen for name in each] == [
        f"client-{number:03}" for number in range(2 * LISTED + 7)
    ]


@pytest.mark.parametrize("number", ["0", "-1", "x", "²", "9" * 30, "7"])
def test_a_page_that_is_not_there_leads_back(operator: Client, number: str) -> None:
    counted("canonical", 1, client="desk")
    text = page(operator, f"?page={number}")
    assert names(text) == ["desk"] or "No such client." in words(text)


# -- The page as a whole ----------------------------------------------------------------------------


def test_a_name_that_would_do_harm_as_markup_is_text(operator: Client) -> None:
    counted("canonical", 1, client="<img src=x onerror=alert(1)>")
    text = operator.get(URL, {"q": "<img"}).content.decode()
    assert "<img" not in text
    assert names(text) == ["<img src=x onerror=alert(1)>"]


@pytest.mark.parametrize("account", [None, {}])
def test_whoever_is_not_staff_is_sent_to_the_login(
    client: Client, account: dict[str, Any] | None
) -> None:
    if account is not None:
        client.force_login(User.objects.create_user("bob", **account))
    for address in (URL, f"{URL}client/?name=desk"):
        assert client.get(address).status_code == 302


def test_all_staff_may_look_and_nobody_can_change_anything_here(client: Client) -> None:
    counted("canonical", 1, client="desk")
    client.force_login(User.objects.create_user("bob", is_staff=True))
    for address in (URL, f"{URL}client/?name=desk"):
        answer = client.get(address)
        assert (answer.status_code, "no-store" in answer["Cache-Control"]) == (200, True)
        assert client.post(address).status_code == 405


def test_tallies_that_cannot_be_read_take_no_page_down(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    broken("normalization_outcometally")
    assert "manage.py stage_clients" in words(page(operator))
    assert "not known" in operator.get("/admin/").content.decode()


def test_spellings_that_cannot_be_read_cost_only_themselves(operator: Client) -> None:
    counted("unknown", 1, client="importer")
    saw("Growth")
    broken("normalization_observedspelling")
    assert rows(page(operator))[0][6] == "100.00 %"


def test_many_clients_cost_no_more_questions(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(60):
        counted("unknown", 1, client=f"client-{number}")
        saw(f"Seires {number}", client=f"client-{number}")
    with django_assert_max_num_queries(20):
        page(operator)


def test_the_start_page_says_how_many_clients_sent_what_enforcement_refuses(
    operator: Client,
) -> None:
    tile = r'<a class="tile tone-(\w+)" href="([^"]+)">\s*<span class="tile-label">Clients</span>(.*?)</a>'

    def clients() -> tuple[str, str, str]:
        ((tone, address, told),) = re.findall(
            tile, operator.get("/admin/").content.decode(), re.DOTALL
        )
        return tone, address, words(told)

    assert clients() == ("plain", f"{URL}?window=24h", "none no request in 24 hours")
    counted("canonical", 1, client="a")
    counted("unknown", 1, client="b", mode="enforce")
    assert clients()[::2] == ("good", "0 of 2 sent an unknown stage in 24 hours")
    counted("unknown", 1, client="a")
    counted("unknown", 1, client="c", minutes=25 * 60)
    assert clients()[::2] == ("unsure", "1 of 2 sent unknown stages in 24 hours")


def test_the_smallest_share_is_written_as_it_is_typed(operator: Client) -> None:
    counted("canonical", 1, client="desk")
    percent = Decimal(re.findall(r"from ([\d.]+) %", rows(page(operator))[0][7])[0])
    assert percent == enters_at("desk")
