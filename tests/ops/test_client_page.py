"""`/admin/ops/rollout/clients/client/?name=…`: one client, and what enforcement would do to it."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
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
from tests.ops.test_clients_page import DAY, words
from tests.ops.test_clients_page import URL as CLIENTS
from tests.ops.test_rollout_admin import URL as ROLLOUT
from tests.ops.test_rollout_admin import hidden, newest, section
from tests.ops.test_rollout_console import broken, counted, figures, saw

pytestmark = pytest.mark.django_db
URL = f"{CLIENTS}client/"


def page(client: Client, name: str = "importer", **parameters: str) -> str:
    answer = client.get(URL, {"name": name, **parameters})
    assert answer.status_code == 200
    return answer.content.decode()


def table(text: str, name: str) -> list[list[str]]:
    """The cells of a section's table, as text."""
    (found,) = re.findall(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    body = "".join(re.findall(r"<tbody>.*?</tbody>", found, re.DOTALL))
    return [
        [words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in body.split("<tr")[1:]
    ]


def status(text: str) -> str:
    (found,) = re.findall(r'<section class="status.*?</section>', text, re.DOTALL)
    return words(found)


def elsewhere(outcome: str, requests: int, endpoint: str) -> None:
    OutcomeTally.objects.create(
        minute=timezone.now(),
        endpoint=endpoint,
        client="importer",
        mode="warn",
        outcome=outcome,
        requests=requests,
    )


# -- Requests ---------------------------------------------------------------------------------------


def test_the_endpoints_and_the_chart_add_up_to_the_client_s_tallies(operator: Client) -> None:
    counted("canonical", 90)
    counted("unknown", 9, minutes=3 * DAY)
    counted("canonical", 5, client="other")
    elsewhere("normalized", 30, "portfolio-strategies")
    text = page(operator)
    first, second, third = table(text, "endpoints")
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
    assert third[1:7] == ["0", "0", "0", "0", "0", "—"]
    assert figures(text) == {"canonical": 90, "normalized": 30, "unknown": 9, "all": 129}
    assert figures(page(operator, window="24h")) == {"canonical": 90, "normalized": 30, "all": 120}


def test_it_says_what_enforcement_would_do(operator: Client) -> None:
    counted("canonical", 90)
    counted("unknown", 10)
    counted("unknown", 100, mode="enforce")
    assert "10 of its 200 requests (5.00 %) named an unknown stage" in status(page(operator))
    assert "nothing is refused now" in status(page(operator))


def test_each_endpoint_says_how_it_treats_the_client_now_and_why(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    counted("canonical", 1)
    set_mode("enforce", pilots=frozenset({"importer"}), overrides={"fund-companies": Mode.WARN})
    modes = {row[0].split()[0]: row[7] for row in table(page(operator), "endpoints")}
    assert modes["fund-companies"].startswith("warn the endpoint is overridden to warn")
    assert modes["portfolio-strategies"].startswith("enforce the client is a pilot")
    assert "are refused, except at fund-companies" in status(page(operator))


@pytest.mark.parametrize(
    ("minutes", "told"), [(None, "never"), (10 * DAY, "no request in the last 7 days")]
)
def test_a_client_that_sent_nothing_says_when_it_did_last(
    operator: Client, minutes: int | None, told: str
) -> None:
    if minutes is not None:
        counted("unknown", 1, minutes=minutes)
        counted("canonical", 1, minutes=minutes + DAY)
        last = OutcomeTally.objects.order_by("-minute").first()
        assert last
        told = f"{last.minute:%Y-%m-%d %H:%M} UTC {told}"
    text = page(operator)
    assert f"Last seen {told}" in status(text)
    assert "No request of it gave a stage" in section(text, "outcomes")
    assert "nothing is known of what would be refused" in status(text)


def test_it_says_how_many_keys_can_be_used(operator: Client) -> None:
    assert "Keys that can be used none" in status(page(operator))
    for name in ("importer", "importer", "importer", "other"):
        create_key(name)
    first = ApiKey.objects.filter(name="importer").first()
    assert first
    ApiKey.objects.filter(pk=first.pk).update(revoked=True)
    assert "Keys that can be used 2" in status(page(operator))


# -- Spellings --------------------------------------------------------------------------------------


def test_unknown_spellings_say_what_they_probably_meant_and_lead_to_an_alias(
    operator: Client,
) -> None:
    saw("Seires A", 3)
    saw("Seires A", 4, days=2)
    saw("Growth", 5)
    saw("Bridge", 50, client="other")
    saw("Long ago", 60, days=8)
    text = page(operator)
    first, second = table(text, "unknown")
    assert first[:4] == ["Seires A", "7", "series-a", "Make alias of Seires A"]
    assert second[:4] == ["Growth", "5", "—", "Make alias of Growth"]
    link = unescape(re.findall(r'<a href="([^"]*stagedecision/add/[^"]*)"', text)[0])
    form = operator.get(link).context["adminform"].form
    assert (form["spelling"].value(), form["stage"].value()) == ("Seires A", "series-a")


def test_deprecated_spellings_say_what_they_mean(operator: Client) -> None:
    saw("Series A", 50, stage="series-a")
    saw("SEED", 5, stage="seed")
    found = [row[:3] for row in table(page(operator), "deprecated")]
    assert found == [["Series A", "50", "series-a"], ["SEED", "5", "seed"]]


def test_first_seen_is_the_first_time_ever_and_not_of_the_window(operator: Client) -> None:
    saw("Growth", 2, days=60)
    saw("Growth", 3)
    ((_, times, *_, first, _),) = table(page(operator), "unknown")
    assert (times, first) == ("3", f"{timezone.now() - timedelta(days=60):%Y-%m-%d}")


def test_what_cannot_be_seen_is_named_and_markup_is_text(operator: Client) -> None:
    saw("Series\u00a0D ", 3)
    saw("<img src=x onerror=alert(1)>", 2)
    saw("\u200e<b>", 1, stage="seed")
    text = page(operator)
    assert [row[0] for row in table(text, "unknown")] == [
        "Series U+00A0 D space",
        "<img src=x onerror=alert(1)>",
    ]
    assert [row[0] for row in table(text, "deprecated")] == ["U+200E <b>"]
    assert not {"<img src", "<b>"} & set(re.findall(r"<img src|<b>", text))


def test_it_says_how_far_the_unknown_spellings_are_decided(operator: Client) -> None:
    counted("unknown", 5)
    saw("Growth", 2)
    saw("Seires A", 3)
    assert "None of its unknown spellings is decided (2)." in status(page(operator))
    for raw, told in (
        ("Growth", "1 of its 2 unknown spellings are not decided."),
        ("Seires A", "decided since"),
    ):
        decide(raw, Stage.SERIES_A)
        decision_store.forget()
        assert told in status(page(operator))
    assert "now known as series-a" in section(page(operator), "unknown")


def test_of_very_many_spellings_the_first_are_listed_and_the_rest_is_counted(
    operator: Client,
) -> None:
    now = timezone.now()
    ObservedSpelling.objects.bulk_create(
        ObservedSpelling(
            day=now.date(), spelling=f"Growth {number}", stage="", endpoint="fund-companies", client="importer",
            count=number + 1, first_seen=now, last_seen=now,
        )
        for number in range(130)
    )  # fmt: skip
    text = page(operator)
    assert len(table(text, "unknown")) == 100
    assert table(text, "unknown")[0][0] == "Growth 129"
    assert "30 more spellings are not listed" in section(text, "deprecated")


# -- Proposals --------------------------------------------------------------------------------------


def proposals(text: str) -> dict[str, str]:
    return {
        word: unescape(url)
        for url, word in re.findall(r'<a class="button" href="([^"]+)">([^<]+)</a>', text)
    }


def test_a_proposal_fills_the_form_and_changes_nothing_by_itself(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode(
        "warn", pilots=frozenset({"early-bird"}), holdouts=frozenset({"imp & <co>"})
    )
    links = proposals(page(operator, "imp & <co>"))
    assert list(links) == ["Make it a pilot", "Take it out of the holdouts"]
    answer = operator.get(links["Make it a pilot"])
    form = answer.context["form"]
    assert (form["pilots"].value(), form["holdouts"].value()) == ("early-bird\nimp & <co>", "")
    shown = section(answer.content.decode(), "change")
    assert "Nothing is changed until you give a reason" in shown
    assert "New pilots: imp & <co>." in shown
    assert "No longer holdouts: imp & <co>." in shown
    assert newest().pk == version
    given = {
        name: form[name].value() for name in ("mode", "enforce_percent", "pilots", "holdouts")
    }
    typed = {
        **given,
        "reason": "they asked",
        "expected_version": hidden(answer.content.decode(), "expected_version"),
    }
    assert operator.post(ROLLOUT, typed).status_code == 302
    assert (newest().pilots, newest().holdouts) == (["early-bird", "imp & <co>"], [])


@pytest.mark.parametrize("query", ["", "?pilot=", "?neither=nobody", "?pilot=a%0Ab", "?pilot=%00"])
def test_an_address_that_proposes_nothing_leaves_the_form_as_it_is(
    operator: Client, query: str
) -> None:
    shown = operator.get(ROLLOUT + query).content.decode()
    assert "Filled in by the link" not in shown
    assert "What this change would do" not in shown
    assert not RolloutChange.objects.exists()


def test_who_may_not_change_the_rollout_is_offered_no_proposal(client: Client) -> None:
    saw("Seires A")
    client.force_login(User.objects.create_user("bob", is_staff=True))
    text = page(client)
    assert proposals(text) == {}
    assert "Make alias" not in text


# -- The page as a whole ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["..", "a/b", "a?b=c&d#e", "100%", "<i>'\"", "two words", "+"])
def test_the_list_leads_to_the_page_of_a_client_of_any_name(operator: Client, name: str) -> None:
    counted("canonical", 7, client=name)
    (link,) = re.findall(
        r'<th scope="row"><a href="([^"]+)">',
        operator.get(CLIENTS, {"window": "24h"}).content.decode(),
    )
    assert parse_qs(urlsplit(unescape(link)).query)["window"] == ["24h"]
    answer = operator.get(unescape(link))
    assert answer.context["client"] == name
    assert figures(answer.content.decode()) == {"canonical": 7, "all": 7}


@pytest.mark.parametrize("name", ["", "x" * 101, "a\0b"])
def test_what_can_be_no_client_is_not_found(operator: Client, name: str) -> None:
    assert operator.get(URL, {"name": name}).status_code == 404
    assert operator.get(URL).status_code == 404


@pytest.mark.parametrize(
    ("lost", "says"),
    [("normalization_outcometally", "The tallies could not be read"),
     ("normalization_observedspelling", "They could not be read"),
     ("portfolio_apikey", "Keys that can be used not known")],
)  # fmt: skip
def test_a_part_that_cannot_be_read_takes_no_page_down(
    operator: Client, lost: str, says: str
) -> None:
    counted("unknown", 3)
    saw("Seires A")
    broken(lost)
    assert says in words(page(operator))


@pytest.mark.parametrize(
    "address", [CLIENTS, f"{URL}?name=importer", f"{URL}?name=nobody", f"{ROLLOUT}?pilot=importer"]
)
def test_headings_are_in_order_and_nothing_is_inline(
    operator: Client, set_mode: Callable[..., int], address: str
) -> None:
    set_mode("enforce")
    counted("rejected", 2)
    saw("Seires A")
    saw("Series A", stage="series-a")
    text = operator.get(address).content.decode()
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert not re.search(r"<script(?![^>]*src=)[^>]*>|\sstyle=|\son\w+=|<style", text)
    assert not [
        name for name, times in Counter(re.findall(r'\sid="([^"]+)"', text)).items() if times > 1
    ]
