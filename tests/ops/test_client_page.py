"""`/admin/ops/rollout/clients/client/?name=…`: one client, and what enforcement would do to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from normalization import decision_store
from normalization.models import ObservedSpelling, OutcomeTally, RolloutChange
from normalization.rollout import Mode
from normalization.stages import Stage
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import ApiKey
from tests.decided import decide
from tests.observed import DAY, break_table, counted, saw, used
from tests.pages import CLIENT, CLIENTS, ROLLOUT, ClientPage, ClientsPage, Page, RolloutPage

pytestmark = pytest.mark.django_db


def newest() -> RolloutChange:
    return RolloutChange.objects.latest("id")


# -- Requests -----------------------------------------------------------------


def test_the_endpoints_and_the_chart_add_up_to_the_client_s_tallies(operator: Client) -> None:
    counted("canonical", 90)
    counted("unknown", 9, minutes=3 * DAY)
    counted("canonical", 5, client="other")
    counted("normalized", 30, endpoint="portfolio-strategies")
    page = ClientPage.open(operator)
    first, second, *others = page.table("endpoints")
    assert first[:7] == [
        "fund-companies GET /api/funds/{fund_id}/companies",
        "99",
        "90",
        "0",
        "9",
        "0",
        "9.09 %",
    ]
    assert second[:7] == [
        "portfolio-strategies POST /api/portfolio/strategies",
        "30",
        "0",
        "30",
        "0",
        "0",
        "none",
    ]
    assert len(others) == len(settings.STAGE_ENDPOINTS) - 2
    assert all(other[1:7] == ["0", "0", "0", "0", "0", "—"] for other in others)
    assert page.figures == {"canonical": 90, "normalized": 30, "unknown": 9, "all": 129}
    day = ClientPage.open(operator, window="24h")
    assert day.figures == {"canonical": 90, "normalized": 30, "all": 120}


def test_the_page_shows_what_enforcement_would_do(operator: Client) -> None:
    counted("canonical", 90)
    counted("unknown", 10)
    counted("unknown", 100, mode="enforce")
    page = ClientPage.open(operator)
    assert "10 of its 200 requests (5.00 %) would be refused" in page.consequence
    assert "named an unknown stage" in page.consequence
    assert "nothing is refused now" in page.meaning


def test_each_endpoint_shows_how_it_treats_the_client_now_and_why(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    counted("canonical", 1)
    set_mode("enforce", pilots=frozenset({"importer"}), overrides={"fund-companies": Mode.WARN})
    page = ClientPage.open(operator)
    modes = {row[0].split()[0]: row[7] for row in page.table("endpoints")}
    assert modes["fund-companies"].startswith("warn the endpoint is overridden to warn")
    assert modes["portfolio-strategies"].startswith("enforce the client is a pilot")
    assert "are refused, except at fund-companies" in page.meaning


@pytest.mark.parametrize(
    ("minutes", "note"), [(None, "never"), (10 * DAY, "no request in the last 7 days")]
)
def test_a_client_that_sent_nothing_shows_its_last_request_before(
    operator: Client, minutes: int | None, note: str
) -> None:
    if minutes is not None:
        counted("unknown", 1, minutes=minutes)
        counted("canonical", 1, minutes=minutes + DAY)
        last = OutcomeTally.objects.order_by("-minute").first()
        assert last
        note = f"{last.minute:%Y-%m-%d %H:%M} UTC {note}"
    page = ClientPage.open(operator)
    assert page.facts["Last seen"].startswith(note)
    assert "This client sent no stages" in page.section("outcomes").text
    assert "nothing is known of what would be refused" in page.consequence


def test_the_page_shows_how_many_keys_can_be_used(operator: Client) -> None:
    assert ClientPage.open(operator).facts["Keys that can be used"].startswith("none")
    for name in ("importer", "importer", "importer", "other"):
        create_key(name)
    first = ApiKey.objects.filter(name="importer").first()
    assert first
    ApiKey.objects.filter(pk=first.pk).update(revoked=True)
    assert ClientPage.open(operator).facts["Keys that can be used"] == "2"


# -- Spellings ----------------------------------------------------------------


def test_unknown_spellings_show_their_suggestion_and_a_link_to_decide(operator: Client) -> None:
    saw("Seires A", 3)
    saw("Seires A", 4, days=2)
    saw("Growth", 5)
    saw("Bridge", 50, client="other")
    saw("Long ago", 60, days=8)
    page = ClientPage.open(operator)
    first, second = page.table("unknown")
    assert first[:4] == ["Seires A", "7", "series-a", "Decide Seires A"]
    assert second[:4] == ["Growth", "5", "—", "Decide Growth"]
    form = operator.get(page.decide_links[0]).context["adminform"].form
    assert (form["spelling"].value(), form["stage"].value()) == ("Seires A", "series-a")


def test_deprecated_spellings_show_their_stage(operator: Client) -> None:
    saw("Series A", 50, stage="series-a")
    saw("SEED", 5, stage="seed")
    found = [row[:3] for row in ClientPage.open(operator).table("deprecated")]
    assert found == [["Series A", "50", "series-a"], ["SEED", "5", "seed"]]


def test_first_seen_is_the_first_time_ever_and_not_of_the_period(operator: Client) -> None:
    saw("Growth", 2, days=60)
    saw("Growth", 3)
    ((_, times, *_, first, _),) = ClientPage.open(operator).table("unknown")
    assert (times, first) == ("3", f"{timezone.now() - timedelta(days=60):%Y-%m-%d}")


def test_invisible_characters_are_named_and_markup_is_shown_as_text(operator: Client) -> None:
    saw("Series\u00a0D ", 3)
    saw("<img src=x onerror=alert(1)>", 2)
    saw("\u200e<b>", 1, stage="seed")
    page = ClientPage.open(operator)
    assert [row[0] for row in page.table("unknown")] == [
        "Series U+00A0 D space",
        "<img src=x onerror=alert(1)>",
    ]
    assert [row[0] for row in page.table("deprecated")] == ["U+200E <b>"]
    assert "<img src" not in page.markup
    assert "<b>" not in page.markup


def test_the_page_shows_how_many_unknown_spellings_are_decided(operator: Client) -> None:
    counted("unknown", 5)
    saw("Growth", 2)
    saw("Seires A", 3)
    consequence = ClientPage.open(operator).consequence
    assert "None of its unknown spellings is decided (2)." in consequence
    for raw, sentence in (
        ("Growth", "1 of its 2 unknown spellings are undecided."),
        ("Seires A", "All its unknown spellings are decided now"),
    ):
        decide(raw, Stage.SERIES_A)
        decision_store.forget()
        assert sentence in ClientPage.open(operator).consequence
    assert "Decided: series-a" in ClientPage.open(operator).section("unknown").text


def test_the_first_100_spellings_are_listed_and_the_others_are_counted(operator: Client) -> None:
    now = timezone.now()
    ObservedSpelling.objects.bulk_create(
        ObservedSpelling(
            day=now.date(),
            spelling=f"Growth {number}",
            stage="",
            endpoint="fund-companies",
            client="importer",
            count=number + 1,
            first_seen=now,
            last_seen=now,
        )
        for number in range(130)
    )
    page = ClientPage.open(operator)
    unknown = page.table("unknown")
    assert len(unknown) == 100
    assert unknown[0][0] == "Growth 129"
    assert "30 more spellings are not listed" in page.section("deprecated").text


# -- Proposals ----------------------------------------------------------------


def test_a_proposal_fills_the_form_and_changes_nothing_by_itself(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode(
        "warn", pilots=frozenset({"early-bird"}), holdouts=frozenset({"imp & <co>"})
    )
    links = ClientPage.open(operator, "imp & <co>").proposals
    assert list(links) == ["Make it a pilot", "Remove it from the holdouts"]
    answer = operator.get(links["Make it a pilot"])
    form = answer.context["form"]
    assert (form["pilots"].value(), form["holdouts"].value()) == ("early-bird\nimp & <co>", "")
    page = RolloutPage(answer)
    assert "Nothing is changed until you give a reason" in page.proposal
    assert "New pilots: imp & <co>." in page.effects
    assert "No longer holdouts: imp & <co>." in page.effects
    assert newest().pk == version
    given = {
        name: form[name].value() for name in ("mode", "enforce_percent", "pilots", "holdouts")
    }
    typed = {
        **given,
        "reason": "they asked",
        "expected_version": page.form_value("expected_version"),
    }
    assert operator.post(ROLLOUT, typed).status_code == 302
    assert (newest().pilots, newest().holdouts) == (["early-bird", "imp & <co>"], [])


@pytest.mark.parametrize("query", ["", "?pilot=", "?neither=nobody", "?pilot=a%0Ab", "?pilot=%00"])
def test_an_address_that_proposes_nothing_leaves_the_form_unchanged(
    operator: Client, query: str
) -> None:
    page = RolloutPage.open(operator, query)
    assert (page.proposal, page.effects) == ("", "")
    assert not RolloutChange.objects.exists()


def test_without_permissions_neither_proposals_nor_decisions_are_offered(client: Client) -> None:
    saw("Seires A")
    client.force_login(User.objects.create_user("bob", is_staff=True))
    page = ClientPage.open(client)
    assert page.proposals == {}
    assert page.decide_links == []


# -- The page as a whole ------------------------------------------------------


@pytest.mark.parametrize("name", ["..", "a/b", "a?b=c&d#e", "100%", "<i>'\"", "two words", "+"])
def test_the_list_links_to_the_page_of_a_client_of_any_name(operator: Client, name: str) -> None:
    counted("canonical", 7, client=name)
    (link,) = ClientsPage.open(operator, "?window=24h").client_links
    assert parse_qs(urlsplit(link).query)["window"] == ["24h"]
    answer = operator.get(link)
    assert answer.context["client"] == name
    assert ClientPage(answer).figures == {"canonical": 7, "all": 7}


@pytest.mark.parametrize("name", ["", "x" * 101, "a\0b"])
def test_an_impossible_client_name_is_not_found(operator: Client, name: str) -> None:
    assert operator.get(CLIENT, {"name": name}).status_code == 404
    assert operator.get(CLIENT).status_code == 404


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        ("normalization_outcometally", "This part is slow right now. Try again or see Outcome"),
        ("normalization_observedspelling", "This part is slow right now. Try again or see Obs"),
        ("portfolio_apikey", "Keys that can be used not known"),
    ],
)
def test_a_failing_part_does_not_break_the_page(operator: Client, table: str, shown: str) -> None:
    counted("unknown", 3)
    saw("Seires A")
    break_table(table)
    assert shown in ClientPage.open(operator).text


@pytest.mark.parametrize(
    "address",
    [CLIENTS, f"{CLIENT}?name=importer", f"{CLIENT}?name=nobody", f"{ROLLOUT}?pilot=importer"],
)
def test_headings_are_in_order_and_nothing_is_inline(
    operator: Client, set_mode: Callable[..., int], address: str
) -> None:
    set_mode("enforce")
    counted("rejected", 2)
    saw("Seires A")
    saw("Series A", stage="series-a")
    assert Page.get(operator, address).faults() == []


def test_the_last_user_agents_are_shown_as_they_came_newest_first(operator: Client) -> None:
    assert ClientPage.open(operator).facts["Last user agents"] == "none seen"
    used("desk/1 (<b>ops@x.example</b>)", minutes=3)
    used("curl/8")
    used("other/1", "other")
    shown = ClientPage.open(operator).facts["Last user agents"]
    assert shown == "curl/8 · desk/1 (<b>ops@x.example</b>) newest first"
