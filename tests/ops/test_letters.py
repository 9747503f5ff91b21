"""The letter to a client's owner: its content, text and CSV, and the link without a login."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.signing import TimestampSigner
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.throttling import AnonRateThrottle

from normalization import rollout_store
from normalization.decision_file import unescape
from normalization.decision_warnings import DecisionVerdict
from normalization.stages import Stage
from ops.pages.letters import links, page
from ops.pages.letters.content import read_letter
from ops.pages.letters.models import LetterLinkSeries
from ops.pages.letters.wording import csv_of, subject, text_of
from tests.decided import decide
from tests.logs import Logged
from tests.observed import counted, saw
from tests.pages import LETTER, PUBLIC_LETTER, Page

pytestmark = pytest.mark.django_db

SOON = datetime(2099, 12, 3, 10, tzinfo=UTC)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each part a minute, so that a busy machine omits none."""
    monkeypatch.setattr(page, "SECONDS", 60.0)


@pytest.fixture
def sent() -> None:
    """Let deal-flow and lp-portal send spellings of every kind."""
    counted("canonical", 900, client="deal-flow")
    counted("unknown", 100, client="deal-flow")
    counted("unknown", 7, client="lp-portal")
    saw("Seires A", 60, client="deal-flow", days=2)
    saw("Seires A", 20, client="deal-flow")
    saw("=HYPERLINK(1)", 15, client="deal-flow")
    saw("PIPE", 5, client="deal-flow")
    saw("Series_B", 40, stage="series-b", client="deal-flow")
    saw("Secret of another", 7, client="lp-portal")
    decide("PIPE", DecisionVerdict.OUTSIDE, note="Not a venture stage.")


def letter_of(client: str = "deal-flow") -> Any:
    return read_letter(client, rollout_store.newest().rollout, timezone.now())


def link_of(client: str = "deal-flow") -> str:
    """Return path and query of a signed link."""
    found = urlsplit(links.signed_link(client))
    return f"{found.path}?{found.query}"


# -- What it holds ------------------------------------------------------------


def test_the_letter_has_what_to_send_instead_with_times_and_public_notes(sent: None) -> None:
    found = letter_of()
    assert [(each.raw, each.times, each.send_instead, each.note) for each in found.changes] == [
        ("Seires A", 80, "series-a", ""),
        ("=HYPERLINK(1)", 15, "one of the six stages", ""),
        ("PIPE", 5, "no stage: it is outside the six stages", "Not a venture stage."),
    ]
    assert [(each.raw, each.send_instead) for each in found.deprecated] == [
        ("Series_B", "series-b")
    ]
    assert found.places == ["GET /api/funds/{fund_id}/companies"]
    assert found.since is not None
    assert timezone.now() - found.since > timedelta(days=1)


def test_a_decision_moves_a_spelling_to_those_that_stay_accepted(sent: None) -> None:
    decide("Seires A", Stage.SERIES_A)
    found = letter_of()
    assert [each.raw for each in found.changes] == ["=HYPERLINK(1)", "PIPE"]
    assert [each.raw for each in found.deprecated] == ["Seires A", "Series_B"]


@pytest.mark.parametrize(
    ("mode", "rollout", "heading", "words"),
    [
        ("warn", {}, "deal-flow: change 3 stage names", "The date is not announced yet. Today"),
        (
            "warn", {"enforce_at": SOON}, "deal-flow: change 3 stage names by 3 December 2099",
            "From Thursday, 3 December 2099, 10:00 UTC, our API refuses requests",
        ),
        (
            "enforce", {}, "deal-flow: change 3 stage names now",
            "they are answered 400, and nothing is stored.",
        ),
        (
            "enforce", {"holdouts": frozenset({"deal-flow"})}, "deal-flow: change 3 stage names",
            "but not yet those of deal-flow. Today they are accepted, with a warning.",
        ),
        (
            "enforce", {"enforce_percent": Decimal(0), "enforce_at": SOON},
            "deal-flow: change 3 stage names by 3 December 2099", "Thursday, 3 December 2099",
        ),
        ("off", {}, "deal-flow: change 3 stage names", "Today they are accepted."),
    ],
)  # fmt: skip
def test_the_letter_says_when_requests_are_refused(
    sent: None,
    set_mode: Callable[..., int],
    mode: str,
    rollout: dict[str, Any],
    heading: str,
    words: str,
) -> None:
    set_mode(mode, **rollout)
    found = letter_of()
    assert subject(found) == heading
    text = text_of(found)
    assert words in text
    assert "100 of its 1,000 requests (10.00 %)" in text
    assert "“Seires A”, sent 80 times: send series-a" in text
    assert "(Not a venture stage)" in text
    assert "Prefer: stage-validation=enforce" in text
    assert "lp-portal" not in text
    assert ("Sunset" in text) is ("by 3 December" in heading)


def test_no_cell_of_the_csv_is_run_by_a_spreadsheet(sent: None) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_of(letter_of()))))
    assert all(cell[:1] not in ("=", "+", "-", "@") for row in rows for cell in row.values())
    assert [unescape(row["spelling"]) for row in rows] == [
        "Seires A", "=HYPERLINK(1)", "PIPE", "Series_B",
    ]  # fmt: skip
    assert [row["must_change"] for row in rows] == ["yes", "yes", "yes", "no"]
    assert rows[0]["times_in_7_days"] == "80"


# -- The operator's page ------------------------------------------------------


def test_the_page_has_the_letter_to_copy_and_a_link(
    operator: Client, sent: None, set_mode: Callable[..., int]
) -> None:
    set_mode("warn")
    answer = operator.get(LETTER, {"name": "deal-flow"})
    found = Page(answer)
    assert found.faults() == []
    assert "no-store" in answer["Cache-Control"]  # the page has a link that needs no login
    assert found.one("pre", id="letter-text").text.startswith("deal-flow: change 3 stage names")
    link = found.one("input", id="link").attribute("value")
    assert PUBLIC_LETTER in link
    file = operator.get(f"{LETTER}csv/", {"name": "deal-flow"})
    assert file.content.decode() == csv_of(letter_of())
    assert Page(operator.get(LETTER, {"name": "nobody"})).text.count("no stage name has to change")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 101])
def test_a_name_that_no_client_can_have_is_404(operator: Client, name: str) -> None:
    assert operator.get(LETTER, {"name": name}).status_code == 404
    assert operator.get(f"{LETTER}csv/", {"name": name}).status_code == 404


def test_all_staff_may_read_letters_and_only_who_may_change_ends_links(client: Client) -> None:
    addresses = (f"{LETTER}?name=a", f"{LETTER}csv/?name=a")
    assert [client.get(each).status_code for each in addresses] == [302, 302]
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert [client.get(each).status_code for each in addresses] == [200, 200]
    assert client.post(f"{LETTER}end/", {"name": "a"}).status_code == 403
    assert client.get(f"{LETTER}end/").status_code == 405


# -- The signed link ----------------------------------------------------------


def test_the_link_shows_one_client_without_a_login_and_nothing_of_another(
    client: Client, sent: None
) -> None:
    address = link_of()
    answer = client.get(address)
    found = Page(answer)
    assert found.faults() == []
    assert found.one("h1").text == "Stage names of deal-flow"
    assert "Seires A" in found.text
    assert "lp-portal" not in answer.content.decode()
    assert "Secret of another" not in answer.content.decode()
    assert not answer.cookies
    file = client.get(f"{address}&as=csv")
    assert file.content.decode() == csv_of(letter_of())
    for each in (answer, file, client.get(f"{PUBLIC_LETTER}?token=x")):
        assert {name: each[name] for name in page.PRIVATE} == page.PRIVATE
    assert client.post(address).status_code == 405
    assert client.head(address).status_code == 200


def changed(token: str) -> list[str]:
    """Return the token with one character changed, at each of its places, and pieces of it."""
    flipped = [
        token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        for at in range(0, len(token) - 1, 5)
    ]
    return [*flipped, "", token[:-4], token + "A", token * 40, "\0", "é", "a:b:c"]


def test_a_changed_token_is_404_with_the_same_page(client: Client, sent: None) -> None:
    [token] = parse_qs(urlsplit(link_of()).query)["token"]
    foreign = TimestampSigner(salt="another").sign_object(["deal-flow", 0])
    answers = [client.get(PUBLIC_LETTER, {"token": each}) for each in (*changed(token), foreign)]
    assert {each.status_code for each in answers} == {404}
    assert len({each.content for each in answers}) == 1
    assert "This link has ended" in answers[0].content.decode()


def test_a_link_expires(client: Client, sent: None, monkeypatch: pytest.MonkeyPatch) -> None:
    address = link_of()
    moments = {links.LINK_DAYS - 1: 200, links.LINK_DAYS + 1: 404}
    now = time.time()
    for days, status in moments.items():
        later = now + 86_400 * days
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda later=later: later)
            assert client.get(address).status_code == status, days


def test_ending_the_links_of_a_client_ends_those_until_now_and_no_other(
    operator: Client, sent: None
) -> None:
    old, other = link_of(), link_of("lp-portal")
    for _ in range(2):
        assert operator.post(f"{LETTER}end/", {"name": "deal-flow"}).status_code == 302
    operator.logout()
    statuses = [operator.get(each).status_code for each in (old, other, link_of())]
    assert statuses == [404, 200, 200]
    row = LetterLinkSeries.objects.get()
    assert (row.client, row.series, row.ended_by) == ("deal-flow", 2, "ann")


def test_a_link_outlives_a_change_of_the_secret_key_among_the_fallbacks(
    client: Client, sent: None, settings: Settings
) -> None:
    address = link_of()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another-secret-key-of-fifty-characters" * 2
    assert client.get(address).status_code == 404
    settings.SECRET_KEY_FALLBACKS = [old]
    assert client.get(address).status_code == 200


def test_the_log_never_has_a_token(client: Client, sent: None, logged: Logged) -> None:
    address = link_of()
    [token] = parse_qs(urlsplit(address).query)["token"]
    client.get(address)
    client.get(address[:-1] + "_")
    client.post(address)
    text = logged.take()
    assert text.count("token=[redacted]") >= 3
    assert token.rpartition(":")[2][:-1] not in text
    assert token.partition(":")[0] not in text


def test_requests_for_letters_are_limited_by_address(
    client: Client, sent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnonRateThrottle, "rate", "3/minute", raising=False)
    address = link_of()
    statuses = [client.get(address, REMOTE_ADDR="203.0.113.7").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
