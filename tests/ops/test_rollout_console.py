"""The rollout page: checks, outcomes, unknown spellings, the way back, and failing parts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from normalization import decision_store, rollout_store
from normalization.models import OutcomeTally, RolloutChange, StageDecision
from ops.alerts.models import Heartbeat
from ops.gates import facts
from ops.gates import rules as gates
from ops.gates.rules import GATES
from ops.pages.panels import GATE_TITLES
from ops.pages.periods import HOUR
from ops.pages.rollout.status import outcomes_by_step
from tests.observed import break_table, counted, saw, serves
from tests.pages import BACK_TO_WARN, HOME, ROLLOUT, HomePage, Page, RolloutPage

pytestmark = pytest.mark.django_db


@pytest.fixture
def gated(settings: Settings) -> None:
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"


def newest() -> RolloutChange:
    return RolloutChange.objects.latest("id")


# -- Checks and status --------------------------------------------------------


def test_the_page_shows_every_check_with_its_result_its_sentence_and_its_remedy(
    operator: Client,
) -> None:
    words = {"pass": "Passes", "fail": "Holds", "inconclusive": "Not known"}
    shown = RolloutPage.open(operator).gates
    verdicts = sorted(
        gates.examine(facts.collect(0)), key=lambda verdict: verdict.outcome == "pass"
    )
    assert len(shown) == len(verdicts) == len(GATES)
    for row, verdict in zip(shown, verdicts, strict=True):
        word = words[verdict.outcome]
        assert row.startswith(f"{word}: {GATE_TITLES[verdict.gate]} {verdict.sentence}")
        assert not verdict.remedy or f"To fix: {verdict.remedy}" in row


def test_the_page_says_if_changes_need_no_check(operator: Client, settings: Settings) -> None:
    assert "STAGE_GATES is 0" in RolloutPage.open(operator).section("gates").text
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"
    assert "STAGE_GATES is 0" not in RolloutPage.open(operator).section("gates").text


@pytest.mark.parametrize(("age", "word"), [(None, "not proven"), (60, "open"), (3600, "closed")])
def test_the_status_shows_whether_the_automatic_way_back_is_open(
    operator: Client, age: int | None, word: str
) -> None:
    if age is not None:
        beat = Heartbeat.objects.create(fingerprint="f")
        Heartbeat.objects.filter(pk=beat.pk).update(
            received_at=timezone.now() - timedelta(seconds=age)
        )
    serves(0)
    assert RolloutPage.open(operator).facts["Automatic way back"].startswith(f"{word} The way")


@pytest.mark.parametrize("mode", ["off", "warn", "enforce"])
def test_the_badge_names_the_mode_in_a_word(
    operator: Client, set_mode: Callable[..., int], mode: str
) -> None:
    set_mode(mode)
    assert RolloutPage.open(operator).mode == mode


@pytest.mark.parametrize(
    ("table", "part", "instead"),
    [
        ("ops_heartbeat", "gates", "manage.py rollout_status"),
        ("normalization_outcometally", "outcomes", "Outcome tallies"),
        ("normalization_observedspelling", "unknown", "Observed spellings"),
    ],
)
def test_a_failing_part_does_not_break_the_page(
    operator: Client, set_mode: Callable[..., int], table: str, part: str, instead: str
) -> None:
    set_mode("enforce")
    break_table(table)
    page = RolloutPage.open(operator)
    assert "This part is slow right now" in page.section(part).text
    assert instead in page.section(part).text
    assert page.offers_back_to_warn
    if table == "ops_heartbeat":
        assert HomePage.open(operator).state["Last heartbeat"].word == "not known"


# -- Outcomes -----------------------------------------------------------------


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
    counted("rejected", 3, minutes=57, mode="enforce")  # a minute may pass meanwhile
    counted("normalized", 7, minutes=600)
    counted("unknown", 1_000, minutes=24 * 60 + 1)
    page = RolloutPage.open(operator, query)
    assert page.figures == expected
    assert sum(page.column_totals) == expected["all"]
    assert f"{expected['all']} requests: " in page.section("outcomes").text


def test_the_period_has_its_first_minute_and_none_before_or_after() -> None:
    now = timezone.now()
    for minutes in (-1, 0, 59, 60):
        minute = now.replace(second=0, microsecond=0) - timedelta(minutes=minutes)
        OutcomeTally.objects.create(
            minute=minute, endpoint="e", client="c", mode="warn", outcome="unknown", requests=1
        )
    begin = HOUR.begin(now)
    assert outcomes_by_step(HOUR, now) == {
        (begin, "unknown"): 1,
        (begin + timedelta(minutes=59), "unknown"): 1,
    }


def test_without_a_tally_the_chart_says_so(operator: Client) -> None:
    assert "No client sent a stage" in RolloutPage.open(operator).section("outcomes").text


# -- Unknown spellings --------------------------------------------------------


def test_an_unknown_spelling_with_html_in_it_is_shown_as_text(operator: Client) -> None:
    saw("<script>alert(1)</script>", client="<i>x</i>")
    page = RolloutPage.open(operator)
    assert "<script>alert" not in page.markup
    assert "<i>x" not in page.markup
    assert page.unknown[0][0] == "<script>alert(1)</script>"


def test_the_most_frequent_spellings_come_first_with_their_suggestion_and_clients(
    operator: Client,
) -> None:
    saw("Seires A", 3)
    saw("Seires A", 4, days=2, client="portal")
    saw("Growth", 5)
    saw("Series A", 50, stage="series-a")
    saw("Long ago", 60, days=7)
    first, second = RolloutPage.open(operator).unknown
    assert first[:6] == [
        "Seires A",
        "7",
        "series-a",
        "Decide Seires A",
        "fund-companies",
        "importer, portal",
    ]
    assert second[:2] == ["Growth", "5"]


def test_invisible_characters_of_a_spelling_are_named(operator: Client) -> None:
    saw("Series\u00a0D ")
    saw("Seires?A")
    shown = RolloutPage.open(operator).section("unknown").text
    assert "Series U+00A0 D space" in shown
    assert shown.count("may stand for a character that cannot be shown") == 1


def test_decide_opens_the_form_with_spelling_and_suggestion_and_then_the_spelling_is_known(
    operator: Client,
) -> None:
    saw('Seires "A" & <b>')
    saw("Seires A")
    links = RolloutPage.open(operator).decide_links
    first, second = (operator.get(link).context["adminform"].form for link in links)
    assert {first["spelling"].value(), second["spelling"].value()} == {
        'Seires "A" & <b>',
        "Seires A",
    }
    assert second["stage"].value() == "series-a"
    answer = operator.post(
        links[1],
        {
            "spelling": "Seires A",
            "verdict": "stage",
            "stage": "series-a",
            "reason": "a typing mistake",
        },
    )
    assert (answer.status_code, StageDecision.objects.get().key) == (302, "seires a")
    decision_store.forget()
    assert "Decided: series-a" in RolloutPage.open(operator).section("unknown").text


def test_no_decision_is_offered_where_none_is_possible(operator: Client) -> None:
    for spelling in ("(other)", "x" * 100):
        saw(spelling)
    page = RolloutPage.open(operator)
    assert len(page.unknown) == 2
    assert page.decide_links == []


def test_blank_text_can_be_decided(operator: Client) -> None:
    saw(" ")
    [link] = RolloutPage.open(operator).decide_links
    assert operator.get(link).context["adminform"].form["spelling"].value() == " "


def test_deciding_needs_the_permission_to_add_decisions(client: Client) -> None:
    saw("Seires A")
    user = User.objects.create_user("bob", is_staff=True)
    client.force_login(user)
    assert RolloutPage.open(client).decide_links == []
    user.user_permissions.add(Permission.objects.get(codename="add_stagedecision"))
    assert len(RolloutPage.open(client).decide_links) == 1


# -- The way back -------------------------------------------------------------


def test_back_to_warn_is_one_click_in_enforce_and_asks_no_gate(
    operator: Client, set_mode: Callable[..., int], settings: Settings
) -> None:
    set_mode("enforce", pilots=frozenset({"early-bird"}))
    settings.STAGE_GATEKEEPER = "ops.gates.ask.examine"
    reason = RolloutPage.open(operator).back_reason
    assert operator.post(BACK_TO_WARN, {"reason": reason}).status_code == 302
    row = newest()
    assert (row.previous_mode, row.mode, row.pilots) == ("enforce", "warn", ["early-bird"])
    assert (row.actor, row.source, row.reason, row.evidence) == ("ann", "admin", reason, {})


@pytest.mark.parametrize("mode", ["off", "warn"])
def test_back_to_warn_never_makes_the_mode_stricter(
    operator: Client, set_mode: Callable[..., int], mode: str
) -> None:
    version = set_mode(mode) if mode == "warn" else 0
    assert not RolloutPage.open(operator).offers_back_to_warn
    page = Page(operator.post(BACK_TO_WARN, {"reason": "a page out of date"}, follow=True))
    assert "nothing changed" in page.text
    assert rollout_store.newest().version == version


def test_back_to_warn_without_a_reason_shows_the_error_on_the_page(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode("enforce")
    page = Page(operator.post(BACK_TO_WARN, {"reason": " "}))
    assert "This field is required" in page.text
    assert newest().pk == version


def test_back_to_warn_needs_the_permission_to_change_the_rollout(
    client: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode("enforce")
    assert client.post(BACK_TO_WARN, {"reason": "r"}).status_code == 302  # to the login
    client.force_login(User.objects.create_user("bob", is_staff=True))
    assert client.post(BACK_TO_WARN, {"reason": "r"}).status_code == 403
    page = RolloutPage.open(client)
    assert not page.offers_back_to_warn
    assert "Back to warn" not in page.text
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("ann"))
    assert strict.post(BACK_TO_WARN, {"reason": "r"}).status_code == 403
    assert strict.get(BACK_TO_WARN).status_code == 405
    assert newest().pk == version


# -- The form -----------------------------------------------------------------


def enforcing(version: int, **given: Any) -> dict[str, Any]:
    """The form's input for a change to enforce."""
    return {
        "mode": "enforce",
        "enforce_percent": "100",
        "reason": "the day has come",
        "expected_version": version,
        **given,
    }


def test_a_change_that_a_check_holds_names_the_check_keeps_the_input_and_opens_the_override(
    operator: Client, set_mode: Callable[..., int], gated: None
) -> None:
    version = set_mode("warn")
    page = RolloutPage(operator.post(ROLLOUT, enforcing(version, pilots="early-bird")))
    assert "A fresh, tested backup: This database has no backup." in page.refusal
    assert "backup_valid" not in page.text
    assert page.form_value("reason") == "the day has come"
    assert page.form_value("pilots") == "early-bird"
    assert page.form_value("mode") == "enforce"
    assert "Mode warn → enforce" in page.effects
    assert page.override_is_open
    assert newest().pk == version
    held = ("backup_valid", "would_refuse", "way_back_proven", "consumers_known")
    reasons = {f"override:{gate}": "the auditor waits" for gate in held}
    again = enforcing(version, **reasons)
    assert operator.post(ROLLOUT, again).status_code == 302
    assert newest().mode == "enforce"
    assert newest().evidence["overrides"] == dict.fromkeys(held, "the auditor waits")
    skipped = RolloutPage.open(operator).history[0][-1]
    assert "Check backup_valid skipped: “the auditor waits”" in skipped


def test_a_preview_shows_what_the_change_would_do_and_does_nothing(
    operator: Client, set_mode: Callable[..., int], gated: None
) -> None:
    version = set_mode("warn")
    counted("canonical", 1)
    page = RolloutPage(operator.post(ROLLOUT, enforcing(version, preview="1")))
    for sentence in (
        "Mode warn → enforce",
        "Enforced: 0 → 1 of the 1 clients",
        "Newly enforced: importer.",
        "every check has to pass. These do not pass now: A fresh, tested backup",
    ):
        assert sentence in page.effects
    assert page.refusal == ""
    assert newest().pk == version


def test_the_override_is_closed_until_a_check_holds_a_change(operator: Client) -> None:
    assert not RolloutPage.open(operator).override_is_open


def test_each_mode_has_its_meaning_and_unreachable_modes_their_reason(operator: Client) -> None:
    shown = RolloutPage.open(operator).section("change").text
    assert "off: stages are observed and counted, clients see nothing (in force)" in shown
    assert "enforce: not from off; clients must be warned first" in shown


# -- The pages as a whole -----------------------------------------------------


@pytest.mark.parametrize("address", [ROLLOUT, f"{ROLLOUT}?window=24h", HOME])
def test_the_number_of_queries_does_not_grow_with_the_data(
    operator: Client, set_mode: Callable[..., int], address: str
) -> None:
    def queries(numbers: range) -> int:
        now = timezone.now()  # one for all, so that no two tallies share a minute
        for number in numbers:
            saw(f"Seires {number}", number)
            counted("canonical", number, minutes=number, client=f"c{number}", now=now)
            set_mode("off" if number % 2 else "warn")
            Heartbeat.objects.create(fingerprint=str(number))
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(address).status_code == 200
        return len(captured)

    few = queries(range(4))
    assert queries(range(4, 30)) <= few


@pytest.mark.parametrize("address", [ROLLOUT, HOME])
def test_headings_are_in_order_and_nothing_is_inline(
    operator: Client, set_mode: Callable[..., int], address: str
) -> None:
    set_mode("enforce")
    counted("rejected", 2)
    saw("Seires A")
    assert Page.get(operator, address).faults() == []
