"""`GET /api/deprecations` tells clients what to change, and each client what it sends itself."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from rest_framework.throttling import AnonRateThrottle

from normalization import decision_store, deprecations, observations
from normalization.decision_warnings import DecisionVerdict
from normalization.models import DecisionBatch, ObservedSpelling, StageDecision
from normalization.stages import BUILTIN, Known, Stage, normalize
from tests.decided import decide

pytestmark = pytest.mark.django_db(transaction=True)
ADDRESS = "/api/deprecations"


def test_every_spelling_listed_means_the_stage_beside_it_and_is_not_canonical(
    client: Client,
) -> None:
    body = client.get(ADDRESS).json()
    assert len(body["deprecated"]) > 30
    for entry in body["deprecated"]:
        result = normalize(entry["spelling"])
        assert isinstance(result, Known)
        assert (result.stage, result.canonical) == (Stage(entry["stage"]), False)
        assert datetime.fromisoformat(entry["since"]) == datetime(2026, 1, 1, tzinfo=UTC)
    assert body["valid_stages"] == [stage.value for stage in Stage]


def test_the_rollout_and_the_endpoints_are_told(
    client: Client, set_mode: Callable[..., int]
) -> None:
    set_mode("warn", enforce_at=datetime(2026, 12, 31, tzinfo=UTC))
    body = client.get(ADDRESS).json()
    assert (body["mode"], body["enforce_at"]) == ("warn", "2026-12-31T00:00:00+00:00")
    assert set(body["endpoints"].values()) == {
        "POST /api/monte-carlo/simulate",
        "POST /api/portfolio/strategies",
        "GET /api/funds/{fund_id}/companies",
    }


def test_an_operator_alias_is_listed_since_its_decision(client: Client) -> None:
    decide("Angel", Stage.PRE_SEED)
    listed = {entry["spelling"]: entry for entry in client.get(ADDRESS).json()["deprecated"]}
    assert listed["angel"]["stage"] == "pre-seed"
    assert (
        datetime.fromisoformat(listed["angel"]["since"]) == StageDecision.objects.get().created_at
    )


def test_an_outside_spelling_is_listed_with_its_note(client: Client) -> None:
    decide("Grant", DecisionVerdict.OUTSIDE, "not <b>equity</b>", kind="grant")
    decide("", DecisionVerdict.OUTSIDE, "no stage given")
    decide("Later", DecisionVerdict.OPEN)
    listed = {entry.pop("spelling"): entry for entry in client.get(ADDRESS).json()["outside"]}
    since = {each.key: each.created_at for each in StageDecision.objects.all()}
    assert datetime.fromisoformat(listed["grant"].pop("since")) == since["grant"]
    assert listed["grant"] == {"kind": "grant", "note": "not <b>equity</b>"}
    assert set(listed) == {"grant", ""}
    page = client.get(ADDRESS, headers={"accept": "text/html"}).content.decode()
    assert "not &lt;b&gt;equity&lt;/b&gt;" in page
    assert "(blank)" in page


def test_what_a_client_sent_has_the_status_of_today(client: Client) -> None:
    from stagenorm.portfolio.keys import create_key

    sent = {("Grant", ""): 1, ("Angel", ""): 1, ("Idea", ""): 1}
    observations.record("fund-companies", "web", "warn", "unknown", sent)
    observations.flush()
    decide("Grant", DecisionVerdict.OUTSIDE)
    decide("Angel", Stage.SEED)
    _, key = create_key("web")
    usage = client.get(ADDRESS, headers={"authorization": f"Api-Key {key}"}).json()["your_usage"]
    assert {use["spelling"]: (use["status"], use["stage"]) for use in usage} == {
        "Grant": ("outside", None),
        "Angel": ("known", None),
        "Idea": ("undecided", None),
    }


def test_a_client_sees_its_own_use_and_nobody_elses(client: Client) -> None:
    from stagenorm.portfolio.keys import create_key

    observations.record(
        "fund-companies",
        "web",
        "warn",
        "unknown",
        {("Seires A", ""): 2, ("Seed Round", "seed"): 1},
    )
    observations.record("fund-companies", "batch", "warn", "unknown", {("Angel", ""): 1})
    observations.flush()
    _, key = create_key("web")
    usage = client.get(ADDRESS, headers={"authorization": f"Api-Key {key}"}).json()["your_usage"]
    assert [(use["spelling"], use["stage"], use["count"]) for use in usage] == [
        ("Seed Round", "seed", 1),
        ("Seires A", None, 2),
    ]
    assert client.get(ADDRESS).json()["your_usage"] == []


def test_a_caller_without_a_key_causes_no_query(
    client: Client, django_assert_num_queries: Callable[[int], AbstractContextManager[Any]]
) -> None:
    decide("Angel", Stage.PRE_SEED)
    first = client.get(ADDRESS)
    with django_assert_num_queries(0):
        again = client.get(ADDRESS)
        assert client.get(ADDRESS, headers={"if-none-match": first["ETag"]}).status_code == 304
        page = client.get(ADDRESS, headers={"accept": "text/html"})
    assert (again.content, again.headers) == (first.content, first.headers)
    assert "angel" in page.content.decode()
    assert json.loads(first.content) == again.json()


def test_the_listing_is_of_the_decisions_that_this_process_uses(client: Client) -> None:
    decide("Angel", Stage.PRE_SEED)
    made = StageDecision.objects.get().created_at
    decision_store.current()
    StageDecision.objects.update(superseded_at=timezone.now(), superseded_by=_later_batch())
    listed = {entry["spelling"]: entry for entry in client.get(ADDRESS).json()["deprecated"]}
    assert datetime.fromisoformat(listed["angel"]["since"]) == made


def _later_batch() -> DecisionBatch:
    return DecisionBatch.objects.create(action="retire", source="command", author="tests")


def test_an_address_without_a_key_is_limited_and_a_key_is_not(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stagenorm.portfolio.keys import create_key

    cache.clear()
    monkeypatch.setitem(AnonRateThrottle.THROTTLE_RATES, "anon", "2/minute")
    answers = [client.get(ADDRESS) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert answers[-1].json()["type"] == "/problems/too-many-requests"
    assert client.get("/api/schema").status_code == 429
    assert client.get(ADDRESS, REMOTE_ADDR="192.0.2.7").status_code == 200
    # The header is trusted only behind a proxy.
    assert client.get(ADDRESS, headers={"x-forwarded-for": "192.0.2.8"}).status_code == 429
    key = {"authorization": f"Api-Key {create_key('web')[1]}"}
    assert {client.get(ADDRESS, headers=key).status_code for _ in range(4)} == {200}
    for path in ("/healthz", "/readyz", "/metrics"):
        assert {client.get(path).status_code for _ in range(3)} == {200}
    cache.clear()


def test_the_use_of_a_client_is_counted_from_its_newest_records(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = timezone.now()
    for days in range(5):
        seen = today - timedelta(days=days)
        ObservedSpelling.objects.create(
            day=seen.date(), spelling="Angel", endpoint="e", client="web", count=2,
            first_seen=seen, last_seen=seen,
        )  # fmt: skip
    monkeypatch.setattr(deprecations, "USAGE_ROWS", 3)
    [use] = deprecations.usage("web", BUILTIN)
    assert use["count"] == 6
    assert use["first_seen"] == (today - timedelta(days=2)).isoformat()
    assert use["last_seen"] == today.isoformat()


def test_a_wrong_key_is_refused_rather_than_ignored(client: Client) -> None:
    answer = client.get(ADDRESS, headers={"authorization": "Api-Key aaaaaaaa.bbbb"})
    assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")


def test_an_unchanged_list_is_304_until_it_changes(
    client: Client, set_mode: Callable[..., int]
) -> None:
    first = client.get(ADDRESS)
    again = client.get(ADDRESS, headers={"if-none-match": f'"other", {first["ETag"]}'})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
    set_mode("warn")
    changed = client.get(ADDRESS, headers={"if-none-match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_a_browser_gets_a_page_without_inline_script_or_style(client: Client) -> None:
    observations.record("deals", "x", "warn", "unknown", {})
    answer = client.get(ADDRESS, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    page = answer.content.decode()
    assert answer["Content-Type"].startswith("text/html")
    assert "<script" not in page
    assert "style=" not in page
    assert "seed funding round" in page
    assert "script-src 'self'" in answer["Content-Security-Policy"]


def test_raw_text_of_a_client_is_escaped_on_the_page(client: Client) -> None:
    from stagenorm.portfolio.keys import create_key

    observations.record(
        "fund-companies", "web", "warn", "unknown", {("<script>alert(1)</script>", ""): 1}
    )
    observations.flush()
    _, key = create_key("web")
    headers = {"accept": "text/html", "authorization": f"Api-Key {key}"}
    page = client.get(ADDRESS, headers=headers).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>" not in page


def test_a_representation_that_does_not_exist_is_a_406_problem(client: Client) -> None:
    answer = client.get(ADDRESS, headers={"accept": "application/xml"})
    assert (answer.status_code, answer["Content-Type"]) == (406, "application/problem+json")
