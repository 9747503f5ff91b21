"""The rollout page as a console: gates, outcomes, unknown spellings, the way back, and what happens where one fails."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from html import unescape
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from normalization import aliases, rollout_store
from normalization.models import ObservedSpelling, OutcomeTally, StageAlias
from ops.alerts.models import Heartbeat
from ops.gates import facts
from ops.gates import rules as gates
from ops.pages.outcome_chart import WINDOWS
from ops.pages.outcome_counts import by_step
from tests.ops.test_rollout_admin import URL, body, newest, section

pytestmark = pytest.mark.django_db
BACK = f"{URL}back-to-warn/"


@pytest.fixture
def gated(settings: Settings) -> None:
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"


def page(client: Client, query: str = "") -> str:
    answer = client.get(URL + query)
    assert answer.status_code == 200
    return answer.content.decode()


def saw(
    spelling: str, count: int = 1, stage: str = "", days: int = 0, client: str = "importer"
) -> None:
    now = timezone.now() - timedelta(days=days)
    ObservedSpelling.objects.create(
        day=now.date(), spelling=spelling, stage=stage, endpoint="fund-companies", client=client, count=count,
        first_seen=now, last_seen=now,
    )  # fmt: skip


def counted(
    outcome: str,
    requests: int,
    minutes: int = 0,
    client: str = "importer",
    mode: str = "warn",
    now: datetime | None = None,
) -> None:
    minute = (now or timezone.now()).replace(second=0, microsecond=0) - timedelta(minutes=minutes)
    OutcomeTally.objects.create(
        minute=minute,
        endpoint="fund-companies",
        client=client,
        mode=mode,
        outcome=outcome,
        requests=requests,
    )


def broken(table: str) -> None:
    with connection.cursor() as cursor:  # undone with the test's transaction
        cursor.execute(f"ALTER TABLE {table} RENAME TO not_there")


# -- Gates and status -------------------------------------------------------------------------------


def test_the_page_shows_every_gate_with_its_verdict_its_sentence_and_what_mends_it(
    operator: Client,
) -> None:
    shown = section(page(operator), "gates")
    verdicts = gates.examine(facts.collect(0))
    assert len(verdicts) == 6
    for verdict in verdicts:
        assert f"{verdict.outcome} {verdict.gate} {verdict.sentence}" in shown
        assert not verdict.remedy or f"To fix: {verdict.remedy}" in shown


def test_it_says_where_nobody_asks_the_gates(operator: Client, settings: Settings) -> None:
    assert "STAGE_GATES is 0" in section(page(operator), "gates")
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"
    assert "STAGE_GATES is 0" not in section(page(operator), "gates")


@pytest.mark.parametrize(("age", "word"), [(None, "not proven"), (60, "open"), (3600, "closed")])
def test_the_status_says_whether_the_automatic_way_back_is_open(
    operator: Client, age: int | None, word: str
) -> None:
    if age is not None:
        beat = Heartbeat.objects.create(fingerprint="f")
        Heartbeat.objects.filter(pk=beat.pk).update(
            received_at=timezone.now() - timedelta(seconds=age)
        )
    (found,) = re.findall(
        r"Automatic way back</dt><dd>.*?</svg>([^<]+)</span>", page(operator), re.DOTALL
    )
    assert found == word


@pytest.mark.parametrize("mode", ["off", "warn", "enforce"])
def test_the_badge_names_the_mode_in_a_word(
    operator: Client, set_mode: Callable[..., int], mode: str
) -> None:
    set_mode(mode)
    assert re.search(rf'<span class="badge mode-{mode}">.*?</svg>{mode}</span>', page(operator))


@pytest.mark.parametrize(
    ("table", "part", "says"),
    [
        ("ops_heartbeat", "gates", "manage.py rollout_status"),
        ("normalization_outcometally", "outcomes", "The tallies could not be read"),
        ("normalization_observedspelling", "unknown", "They could not be read"),
    ],
)
def test_a_part_that_cannot_be_read_takes_no_page_down(
    operator: Client, set_mode: Callable[..., int], table: str, part: str, says: str
) -> None:
    set_mode("enforce")
    broken(table)
    text = page(operator)
    assert says in section(text, part)
    assert "Back to warn" in text
    assert (
        "It could not be read" in operator.get("/admin/").content.decode()
        or table != "ops_heartbeat"
    )


# -- Outcomes ---------------------------------------------------------------------------------------


def figures(text: str) -> Counter[str]:
    """The table under the chart, its rows added up."""
    (table,) = re.findall(r'<details class="figures">.*?</details>', text, re.DOTALL)
    names = re.findall(r'<th scope="col" class="number">(\w+)</th>', table)
    added: Counter[str] = Counter()
    for row in re.findall(r"<tbody>.*</tbody>", table, re.DOTALL)[0].split("<tr>")[1:]:
        added.update(
            dict(zip(names, map(int, re.findall(r'class="number">(\d+)', row)), strict=True))
        )
    return +added


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"canonical": 32, "rejected": 3, "all": 35}),
        ("?window=60m", {"canonical": 32, "rejected": 3, "all": 35}),
        ("?window=24h", {"canonical": 32, "normalized": 7, "rejected": 3, "all": 42}),
        ("?window=<script>", {"canonical": 32, "rejected": 3, "all": 35}),
    ],
)
def test_the_chart_adds_up_to_the_tallies(
    operator: Client, query: str, expected: dict[str, int]
) -> None:
    counted("canonical", 20)
    counted("canonical", 5, client="portal")
    counted("canonical", 7, minutes=30)
    counted("rejected", 3, minutes=57, mode="enforce")  # the clock may go on meanwhile
    counted("normalized", 7, minutes=600)
    counted("unknown", 1_000, minutes=24 * 60 + 1)
    text = page(operator, query)
    assert figures(text) == expected
    drawn = re.findall(r"<g class=\"column\"><title>\d\d:\d\d UTC: (\d+) requests", text)
    assert sum(map(int, drawn)) == expected["all"]
    assert f"{expected['all']} requests: " in section(text, "outcomes")


def test_the_window_has_its_first_minute_and_none_before_or_after() -> None:
    now = timezone.now()
    for minutes in (-1, 0, 59, 60):
        minute = now.replace(second=0, microsecond=0) - timedelta(minutes=minutes)
        OutcomeTally.objects.create(
            minute=minute, endpoint="e", client="c", mode="warn", outcome="unknown", requests=1
        )
    begin = WINDOWS["60m"].starts(now)[0]
    assert by_step(WINDOWS["60m"], now) == {
        (begin, "unknown"): 1,
        (begin + timedelta(minutes=59), "unknown"): 1,
    }


def test_without_a_tally_the_chart_says_so(operator: Client) -> None:
    assert "No request gave a stage" in section(page(operator), "outcomes")


# -- Unknown spellings ------------------------------------------------------------------------------


def test_an_unknown_spelling_with_html_in_it_is_shown_as_text(operator: Client) -> None:
    saw("<script>alert(1)</script>", client="<i>x</i>")
    text = page(operator)
    assert "<script>alert" not in text
    assert "<i>x" not in text
    assert "<script>alert(1)</script>" in section(text, "unknown")


def test_the_most_frequent_come_first_with_what_is_known_of_them(operator: Client) -> None:
    saw("Seires A", 3)
    saw("Seires A", 4, days=2, client="portal")
    saw("Growth", 5)
    saw("Series A", 50, stage="series-a")
    saw("Long ago", 60, days=7)
    shown = section(page(operator), "unknown")
    assert re.search(
        r"Seires A 7 series-a Make alias of Seires A fund-companies importer, portal .*Growth 5",
        shown,
    )
    assert "Series A " not in shown.replace("Seires A", "")
    assert "Long ago" not in shown


def test_what_cannot_be_seen_in_a_spelling_is_named(operator: Client) -> None:
    saw("Series\u00a0D ")
    saw("Seires?A")
    shown = section(page(operator), "unknown")
    assert "Series U+00A0 D space" in shown
    assert shown.count("may stand for a character that cannot be shown") == 1


def test_make_alias_leads_to_the_form_with_spelling_and_suggestion_and_then_it_is_known(
    operator: Client,
) -> None:
    saw('Seires "A" & <b>')
    saw("Seires A")
    links = [
        unescape(link)
        for link in re.findall(r'<a href="(/admin/[^"]*stagealias/add/[^"]*)"', page(operator))
    ]
    first, second = (operator.get(link).context["adminform"].form for link in links)
    assert {first["spelling"].value(), second["spelling"].value()} == {
        'Seires "A" & <b>',
        "Seires A",
    }
    assert second["stage"].value() == "series-a"
    answer = operator.post(
        links[1], {"spelling": "Seires A", "stage": "series-a", "reason": "a typing mistake"}
    )
    assert (answer.status_code, StageAlias.objects.get().key) == (302, "seires a")
    aliases.forget()
    assert "now known as series-a" in section(page(operator), "unknown")


def test_no_alias_is_offered_for_what_none_can_be_made_of(operator: Client) -> None:
    for spelling in ("(other)", "x" * 100, " "):
        saw(spelling)
    assert "stagealias/add" not in page(operator)


def test_who_may_not_add_an_alias_is_offered_none(client: Client) -> None:
    saw("Seires A")
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    assert "Make alias" not in page(client)
    user.user_permissions.add(Permission.objects.get(codename="add_stagealias"))
    assert "Make alias" in page(client)


# -- The way back -----------------------------------------------------------------------------------


def test_back_to_warn_is_one_click_in_enforce_and_asks_no_gate(
    operator: Client, set_mode: Callable[..., int], gated: None, settings: Settings
) -> None:
    settings.STAGE_GATEKEEPER = ""
    set_mode("enforce", pilots=frozenset({"early-bird"}))
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"
    (form,) = re.findall(r'<form class="back".*?</form>', page(operator), re.DOTALL)
    (reason,) = re.findall(r'name="reason"[^>]* value="([^"]+)"', form)
    assert operator.post(BACK, {"reason": reason}).status_code == 302
    row = newest()
    assert (row.previous_mode, row.mode, row.pilots) == ("enforce", "warn", ["early-bird"])
    assert (row.actor, row.source, row.reason, row.evidence) == ("ann", "admin", reason, {})


@pytest.mark.parametrize("mode", ["off", "warn"])
def test_the_way_back_never_enforces_more_than_what_holds(
    operator: Client, set_mode: Callable[..., int], mode: str
) -> None:
    version = set_mode(mode) if mode == "warn" else 0
    assert "Back to warn" not in page(operator)
    answer = operator.post(BACK, {"reason": "a page out of date"}, follow=True)
    assert "nothing changed" in answer.content.decode()
    assert rollout_store.newest().version == version


def test_the_way_back_without_a_reason_is_told_on_the_page(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode("enforce")
    answer = operator.post(BACK, {"reason": " "})
    assert answer.status_code == 200
    assert "This field is required" in answer.content.decode()
    assert newest().pk == version


def test_the_way_back_is_for_whoever_may_change_the_rollout(
    client: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode("enforce")
    assert client.post(BACK, {"reason": "r"}).status_code == 302  # to the login
    client.force_login(User.objects.create_user("bob", is_staff=True))
    assert client.post(BACK, {"reason": "r"}).status_code == 403
    assert "Back to warn" not in page(client)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("ann"))
    assert strict.post(BACK, {"reason": "r"}).status_code == 403
    assert strict.get(BACK).status_code == 405
    assert newest().pk == version


# -- The form ---------------------------------------------------------------------------------------


def asked_to_enforce(version: int, **given: Any) -> dict[str, Any]:
    return body(mode="enforce", expected_version=version, reason="the day has come", **given)


def test_a_change_that_a_gate_holds_says_which_keeps_what_was_typed_and_opens_the_override(
    operator: Client, set_mode: Callable[..., int], gated: None
) -> None:
    version = set_mode("warn")
    text = operator.post(URL, asked_to_enforce(version, pilots="early-bird")).content.decode()
    for told in (
        "backup_valid: This database has no backup.",
        "the day has come",
        "early-bird",
        "Mode warn → enforce",
    ):
        assert told in unescape(text)
    assert '<details class="danger" open>' in text
    assert re.search(r'value="enforce"[^>]* checked', text)
    assert newest().pk == version
    again = asked_to_enforce(version, override_reason="the auditor waits")
    assert operator.post(URL, again).status_code == 302
    assert (newest().mode, newest().evidence["override_reason"]) == (
        "enforce",
        "the auditor waits",
    )
    assert "past the gates: the auditor waits" in section(page(operator), "history")


def test_a_preview_says_what_the_change_would_do_and_does_nothing(
    operator: Client, set_mode: Callable[..., int], gated: None
) -> None:
    version = set_mode("warn")
    counted("canonical", 1)
    shown = section(
        operator.post(URL, asked_to_enforce(version, preview="1")).content.decode(), "change"
    )
    for told in ("Mode warn → enforce", "Enforced: 0 → 1 of the 1 clients", "Enforced from then on: importer.",
                 "every gate is asked, and now backup_valid"):  # fmt: skip
        assert told in shown
    assert "Nothing was changed" not in shown
    assert newest().pk == version


def test_the_override_is_closed_until_it_is_needed(operator: Client) -> None:
    assert '<details class="danger">' in page(operator)


def test_each_mode_says_what_it_does_and_which_cannot_be_reached(operator: Client) -> None:
    shown = section(page(operator), "change")
    assert "off: stages are observed and counted, clients see nothing (in force)" in shown
    assert "enforce: not from off; clients must have been warned first" in shown


# -- The pages as a whole ---------------------------------------------------------------------------


@pytest.mark.parametrize("address", [URL, f"{URL}?window=24h", "/admin/"])
def test_a_page_asks_no_more_of_the_database_however_much_there_is(
    operator: Client,
    set_mode: Callable[..., int],
    django_assert_max_num_queries: DjangoAssertNumQueries,
    address: str,
) -> None:
    now = (
        timezone.now()
    )  # of all: two tallies must not fall into one minute because the clock went on
    for number in range(30):
        saw(f"Seires {number}", number)
        counted("canonical", number, minutes=number, now=now)
        set_mode("off" if number % 2 else "warn")
        Heartbeat.objects.create(fingerprint=str(number))
    with django_assert_max_num_queries(45):
        assert operator.get(address).status_code == 200


@pytest.mark.parametrize("address", [URL, "/admin/"])
def test_headings_are_in_order_and_nothing_is_inline(
    operator: Client, set_mode: Callable[..., int], address: str
) -> None:
    set_mode("enforce")
    counted("rejected", 2)
    saw("Seires A")
    text = operator.get(address).content.decode()
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert not re.search(r"<script(?![^>]*src=)[^>]*>|\sstyle=|\son\w+=|<style", text)
    assert not [
        name for name, times in Counter(re.findall(r'\sid="([^"]+)"', text)).items() if times > 1
    ]
