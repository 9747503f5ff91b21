"""`/admin/ops/incidents/`: each way back with what is recorded of it, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from normalization import rollout_store
from normalization.models import OutcomeTally
from normalization.rollout import Mode
from normalization.stages import Stage
from ops.pages.home import page as home
from ops.pages.incidents import page, record
from ops.pages.incidents.counts import LOOKED_BACK, IncidentPeriod
from tests.decided import decide
from tests.incidents import (
    ENDPOINT,
    SUMMARY,
    Sent,
    alert_acts,
    date_back,
    guard_acts,
    sends,
    served,
)
from tests.observed import break_table, counted, saw, serves
from tests.pages import INCIDENTS, HomePage, IncidentPage, Page

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each part a minute, so that a busy machine omits none."""
    monkeypatch.setattr(page, "SECONDS", 60.0)
    monkeypatch.setattr(home, "SECONDS", 60.0)


def by_alert(sent: Mapping[str, Sent]) -> int:
    return alert_acts(sent, annotations={"summary": SUMMARY})


# -- What happened ------------------------------------------------------------

HALF = Sent(6, 6)


@pytest.mark.parametrize(
    ("act", "sent", "title", "safe", "measured", "hurt"),
    [
        (
            guard_acts, {"deal-flow": Sent(0, 6), "lp-portal": Sent(500, 0)},
            "deal-flow was held out", "Safe now: deal-flow is only warned",
            "6 of 6 requests in 10 s were refused: 100.0 %. The limit is 5 %.",
            [["deal-flow held out", "6", "6", "0", ENDPOINT, "Letter"]],
        ),
        (
            guard_acts, {"a": HALF, "b": HALF, "c": Sent(2, 8)},
            "Enforcement was taken back", "Safe now: nothing is being refused",
            "18 of 34 requests in 10 s were refused: 52.9 %. The limit is 5 %.",
            [
                ["c", "8", "10", "0", ENDPOINT, "Letter"],
                ["a", "6", "12", "0", ENDPOINT, "Letter"],
                ["b", "6", "12", "0", ENDPOINT, "Letter"],
            ],
        ),
        (
            guard_acts,
            {
                "a": HALF, "b": HALF, "c": HALF,
                "fine": Sent(900, 0, "portfolio-strategies"),
            },
            f"{ENDPOINT} was limited to warnings", f"Safe now: {ENDPOINT} refuses nothing",
            "18 of 36 requests in 10 s were refused: 50.0 %. The limit is 5 %.",
            [[name, "6", "12", "0", ENDPOINT, "Letter"] for name in "abc"],
        ),
        (
            by_alert, {"deal-flow": Sent(88, 12), "lp-portal": Sent(10, 0)},
            "Enforcement was taken back", "Safe now: nothing is being refused", SUMMARY,
            [["deal-flow", "12", "100", "0", ENDPOINT, "Letter"]],
        ),
    ],
    ids=["one client", "every client", "one endpoint", "the alert"],
)  # fmt: skip
def test_the_page_has_who_was_refused_and_the_measured_value_against_its_limit(
    operator: Client,
    set_mode: Callable[..., int],
    act: Callable[[Mapping[str, Sent]], int],
    sent: Mapping[str, Sent],
    title: str,
    safe: str,
    measured: str,
    hurt: list[list[str]],
) -> None:
    enforced = set_mode("enforce", enforce_percent=Decimal(100))
    version = act(sent)
    counted("rejected", 50, client="rehearsing", mode="warn")  # rehearsals do not count
    found = IncidentPage.open(operator, version)
    assert found.faults() == []
    assert found.heading.startswith(f"{title} on ")
    assert found.safety.startswith(safe)
    assert [row[:6] for row in found.clients] == hurt
    assert found.tiles["Refused requests"].startswith(str(sum(int(row[1]) for row in hurt)))
    entries = found.entries
    assert any(measured in entry for entry in entries)
    assert f"Version {enforced}, by tests." in entries[0]
    assert "rehearsing" not in found.text


def test_the_timeline_is_in_the_order_of_the_facts(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    enforced = set_mode("enforce")
    date_back(10)
    sends("deal-flow", "Series A Extension", times=12)
    fired = (timezone.now() + timedelta(milliseconds=1)).isoformat()
    version = alert_acts(
        {"deal-flow": Sent(88, 12)}, annotations={"summary": SUMMARY}, startsAt=fired
    )
    for name, seconds in (("web:1", 0.8), ("web:2", 2.5)):
        served(name, {enforced: 1, version: seconds})
    served("web:3", {version: 300})  # started later: it never had to follow
    rollout_store.change(Mode.OFF, actor="olga", source="admin", reason="To be sure")
    found = IncidentPage.open(operator, version)
    words = (
        "Enforced for 100 % of the clients",
        "First refused request",
        "First request with a new spelling",
        "The alert fired",
        "Back to warn for every client",
        "All 2 processes follow the change 2.5 s after",
        "Warn → Observe",
    )
    places = [next(i for i, each in enumerate(found.entries) if word in each) for word in words]
    assert sorted(places) == [0, 1, 2, 3, 4, 5, 6]
    assert set(places[:2]) == {0, 1}
    assert "deal-flow sent “Series A Extension”" in found.entries[places[2]]
    assert SUMMARY in found.entries[places[3]]
    assert "The signature of the delivery was valid." in found.entries[places[4]]


@pytest.mark.parametrize(
    ("members", "recorded"),
    [
        ({}, {}),
        ({"annotations": {"summary": SUMMARY}}, {"summary": SUMMARY}),
        ({"annotations": {"summary": "a\x00b" + "c" * 999}}, {"summary": "ab" + "c" * 298}),
        ({"annotations": "text", "startsAt": 5}, {}),
        ({"annotations": {"summary": 7}, "startsAt": "2026-11-27T10:00:00"}, {}),
        (
            {"startsAt": "2026-11-27T10:00:00.5Z"},
            {"starts_at": "2026-11-27T10:00:00.500000+00:00"},
        ),
    ],
)
def test_the_alert_s_figures_are_recorded_and_a_wrong_one_never_stops_the_way_back(
    set_mode: Callable[..., int], members: dict[str, Any], recorded: dict[str, str]
) -> None:
    set_mode("enforce")
    version = alert_acts({}, **members)
    found = record.incident(version)
    assert found is not None
    evidence = found.change.evidence
    assert {name: evidence[name] for name in evidence if name not in ("alert", "fingerprint")} == (
        recorded
    )


def test_the_time_looked_at_ends_a_day_before_the_way_back(set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    date_back(3 * 24 * 60)
    found = record.incident(alert_acts({}))
    assert found is not None
    period = IncidentPeriod.of(found)
    assert (found.at - period.begin, period.cut) == (LOOKED_BACK, True)


def test_a_spelling_is_new_if_the_hurt_clients_did_not_send_it_before(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    saw("Known of old", days=3, client="deal-flow")
    saw("Of another", days=3, client="lp-portal")
    sends("deal-flow", "Known of old", "Of another", "Never seen")
    sends("bystander", "Not hurt")
    version = guard_acts({"deal-flow": Sent(0, 6)})
    rows = IncidentPage.open(operator, version).spellings
    assert {row[0] for row in rows} == {"Known of old", "Of another new", "Never seen new"}


# -- Is it safe, and what next ------------------------------------------------


def test_the_advice_follows_what_the_operator_does(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce", enforce_percent=Decimal(100))
    sends("deal-flow", "Sreis A", "Bridge note")
    version = by_alert({"deal-flow": Sent(1, 12)})
    opened = IncidentPage.open(operator, version)
    assert opened.actions[0].startswith("Decide the 2 spellings")
    decide("Sreis A", Stage.SERIES_A)
    assert IncidentPage.open(operator, version).actions[0].startswith("Decide “Bridge note”")
    decide("Bridge note", Stage.SEED)
    decided = IncidentPage.open(operator, version)
    assert decided.actions[0].startswith("Write to the owner of deal-flow 12 requests")
    assert decided.actions[-1].startswith("Enforce again")
    set_mode("enforce")
    again = IncidentPage.open(operator, version)
    assert again.safety.startswith("Safe now, although enforced again since version")


@pytest.mark.parametrize(
    ("rollout", "safe"),
    [
        ({"enforce_percent": Decimal(100)}, "Look at this: enforced again since version"),
        ({"holdouts": frozenset({"deal-flow"})}, "Safe now, although enforced again since"),
        ({"overrides": {ENDPOINT: Mode.WARN}, "pilots": frozenset({"a"})}, "Look at this"),
    ],
)
def test_enforcement_that_is_on_again_is_safe_if_no_hurt_client_is_in_it(
    operator: Client, set_mode: Callable[..., int], rollout: dict[str, Any], safe: str
) -> None:
    set_mode("enforce")
    sends("deal-flow", "Bridge note")
    version = by_alert({"deal-flow": Sent(1, 12)})
    set_mode("enforce", **rollout)
    assert IncidentPage.open(operator, version).safety.startswith(safe)


def test_it_is_not_safe_while_a_server_has_not_followed(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode("enforce")
    serves(version, "web:1")
    version = by_alert({"deal-flow": Sent(1, 12)})
    serves(version, "web:2")
    found = IncidentPage.open(operator, version)
    assert found.safety.startswith("Not safe yet: a server has not followed")
    assert "web:1" in found.safety
    assert found.actions[0].startswith("Look at the servers that are behind")


# -- The page without its facts -----------------------------------------------


def test_without_counts_the_page_has_the_guard_s_record(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    version = guard_acts({"deal-flow": Sent(0, 6)})
    OutcomeTally.objects.all().delete()
    found = IncidentPage.open(operator, version)
    assert found.clients == [["deal-flow held out", "6", "not known", "0", ENDPOINT, "Letter"]]
    assert "As the guard recorded them" in found.text


def test_a_part_that_cannot_be_read_costs_the_page_nothing_else(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    version = guard_acts({"deal-flow": Sent(0, 6)})
    break_table("normalization_outcometally")
    try:
        found = IncidentPage.open(operator, version)
        assert found.safety.startswith("Safe now")
        assert "This part is slow right now." in found.text
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE not_there RENAME TO normalization_outcometally")


# -- Other places -------------------------------------------------------------


def test_the_summary_and_the_json_have_the_figures_of_the_page(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    enforced = set_mode("enforce")
    sends("deal-flow", "Bridge note", times=6)
    version = guard_acts({"deal-flow": Sent(0, 6), "lp-portal": Sent(500, 0)})
    served("web:1", {enforced: 1, version: 0.5})
    text = IncidentPage.open(operator, version).summary
    for words in (
        "deal-flow was held out by the guard. 6 of 6 requests in 10 s were refused: 100.0 %.",
        "Every server followed within 0.5 s.",
        "Refused: 6 requests of deal-flow (6). Nothing was stored. Spellings: “Bridge note”.",
        "Safe now: deal-flow is only warned. Next: Decide “Bridge note”.",
        f"{INCIDENTS}{version}/",
    ):
        assert words in text, text
    answer = operator.get(f"{INCIDENTS}{version}/incident.json")
    assert answer["Content-Disposition"] == f'attachment; filename="incident-{version}.json"'
    wire = json.loads(answer.content)
    assert wire["refused"]["by_client"] == [
        {
            "client": "deal-flow", "refused": 6, "of_enforced_requests": 6,
            "endpoints": [ENDPOINT], "held_out": True, "warned_since": 0,
        }
    ]  # fmt: skip
    assert wire["spread"] == {"processes": 1, "seconds": 0.5}
    assert (wire["scope"], wire["enforced_by_version"]) == ("client", enforced)
    assert wire["evidence"]["rejects"] == 6
    assert [each["spelling"] for each in wire["spellings"]] == ["Bridge note"]


def test_home_links_the_incident_and_the_list_has_every_one_by_pages(
    operator: Client, set_mode: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = []
    for _ in range(3):
        set_mode("enforce")
        versions.append(by_alert({}))
    [notice] = HomePage.open(operator).all("div", css="notice")[:1]
    assert notice.one("a").attribute("href") == f"{INCIDENTS}{versions[-1]}/"
    monkeypatch.setattr(record, "LISTED", 2)
    first = Page.get(operator, INCIDENTS)
    assert first.faults() == []
    assert [row[2] for row in first.cells()] == ["the alert"] * 2
    older = first.one("a", rel="next").attribute("href")
    second = Page(operator.get(INCIDENTS + older))
    links = [each.one("a").attribute("href") for each in second.one("tbody").all("th")]
    assert links == [f"{INCIDENTS}{versions[0]}/"]
    assert not second.has("a", rel="next")


def test_a_change_by_a_person_is_no_incident(
    operator: Client, set_mode: Callable[..., int]
) -> None:
    version = set_mode("warn")
    for address in (f"{version}/", f"{version + 1}/", f"{2**63}/", f"{version}/incident.json"):
        assert operator.get(INCIDENTS + address).status_code == 404, address
    assert "never taken back automatically" in Page.get(operator, INCIDENTS).text


def test_all_staff_may_look_and_nobody_else(client: Client, set_mode: Callable[..., int]) -> None:
    set_mode("enforce")
    version = by_alert({})
    addresses = (INCIDENTS, f"{INCIDENTS}{version}/", f"{INCIDENTS}{version}/incident.json")
    assert [client.get(each).status_code for each in addresses] == [302] * 3
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert [client.get(each).status_code for each in addresses] == [200] * 3
