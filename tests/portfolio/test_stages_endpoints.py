"""`/api/stages`: what texts mean, without storing or counting anything."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from normalization import observations
from normalization.decision_warnings import DecisionVerdict
from normalization.models import ObservedSpelling, OutcomeTally
from normalization.stages import Stage, fold
from stagenorm.portfolio.models import Fund
from tests.decided import decide

MAPPED = Path(__file__).parents[1] / "data" / "mapped_spellings.csv"
NORMALIZE = "/api/stages/normalize"
ApiFor = Callable[..., APIClient]
"""A typical client's texts: most known, some undecided, one decided outside."""
TEXTS = [
    "Series A",
    "series_b",
    "SEED",
    "seed round",
    "Pre-Seed",
    "Series C+",
    "Seires A",
    "Grant",
]


def results(api: APIClient, spellings: list[str]) -> list[dict[str, Any]]:
    answer = api.post(NORMALIZE, {"spellings": spellings})
    assert answer.status_code == 200, answer.json()
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def ordinary_texts() -> list[str]:
    """Return 200 different texts: spellings of the reviewed list in several writings."""
    with MAPPED.open(encoding="utf-8", newline="") as lines:
        listed = [row["raw"] for row in csv.DictReader(lines)]
    writings = ("{}", "  {}", "{}\u00a0", "\ufeff{}", "{} ")
    texts = [writing.format(text) for writing in writings for text in listed]
    return [*list(dict.fromkeys(texts))[:198], "Seires A", "Grant"]


@pytest.fixture
def grant_is_outside(db: None) -> None:
    decide("Grant", DecisionVerdict.OUTSIDE, note="A grant is not an equity round.")


def test_the_six_stages_are_listed_in_order_without_a_key(db: None) -> None:
    body = APIClient().get("/api/stages").json()
    assert [each["stage"] for each in body["stages"]] == [stage.value for stage in Stage]
    assert [each["position"] for each in body["stages"]] == list(range(len(Stage)))


def test_the_etag_of_the_stages_changes_with_the_decisions(
    db: None, api: APIClient, request: pytest.FixtureRequest
) -> None:
    first = api.get("/api/stages")
    again = api.get("/api/stages", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    request.getfixturevalue("grant_is_outside")
    changed = api.get("/api/stages", headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["decisions_version"] > first.json()["decisions_version"]


def test_each_text_gets_its_meaning_in_the_order_of_the_request(
    api: APIClient, grant_is_outside: None
) -> None:
    found = results(api, ["Series A", "series-c+", "Seires A", "Grant", "", "Series A"])
    assert [each["status"] for each in found] == [
        "known",
        "known",
        "undecided",
        "outside",
        "undecided",
        "known",
    ]
    assert [each["stage"] for each in found] == [
        "series-a",
        "series-c+",
        None,
        None,
        None,
        "series-a",
    ]
    assert [each["canonical"] for each in found] == [False, True, False, False, False, False]
    assert found[2]["suggestions"] == ["series-a"]
    assert found[3]["note"] == "A grant is not an equity round."


def test_a_look_up_is_not_counted_as_traffic(api: APIClient) -> None:
    results(api, TEXTS)
    observations.flush()
    assert not OutcomeTally.objects.exists()
    assert not ObservedSpelling.objects.exists()


def test_a_read_only_key_may_look_texts_up(api_for: ApiFor) -> None:
    assert results(api_for(read_only=True), ["Seed"])[0]["stage"] == "seed"


def test_a_look_up_needs_a_key() -> None:
    assert APIClient().post(NORMALIZE, {"spellings": ["Seed"]}).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"spellings": []},
        {"spellings": "Seed"},
        {"spellings": [1]},
        {"spellings": [None]},
        {"spellings": ["Seed"] * 1_001},
        {"spellings": ["x" * 2_001]},
        {"spellings": ["a\0b"]},
        {"spellings": ["Seed"], "apply": True},
    ],
)
def test_a_malformed_look_up_is_refused(api: APIClient, body: dict[str, Any]) -> None:
    answer = api.post(NORMALIZE, body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/invalid-request"


def test_a_text_with_a_lone_surrogate_is_answered(api: APIClient) -> None:
    answer = api.post(NORMALIZE, '{"spellings": ["\\ud800"]}', content_type="application/json")
    assert answer.status_code in (200, 400)


def test_look_ups_are_limited_for_each_client(api_for: ApiFor, settings: Any) -> None:
    settings.NORMALIZE_THROTTLE = "2/minute"
    busy, other = api_for("busy"), api_for("other")
    answers = [busy.post(NORMALIZE, {"spellings": ["Seed"]}) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert int(answers[2]["Retry-After"]) > 0
    assert other.post(NORMALIZE, {"spellings": ["Seed"]}).status_code == 200


def test_a_script_repairs_a_list_and_is_then_accepted_in_enforce(
    api: APIClient, fund: Fund, set_mode: Callable[..., int], grant_is_outside: None
) -> None:
    """Of 200 texts, those with a stage are replaced; a person decides about the rest."""
    set_mode("enforce")
    stored = ordinary_texts()
    before = found = results(api, stored)
    assert len(set(stored)) == 200
    assert sum(each["status"] != "known" for each in before) == 2
    assert sum(not each["canonical"] for each in before) >= 180
    repaired = [each["stage"] or next(iter(each["suggestions"]), None) for each in found]
    left = {text for text, stage in zip(stored, repaired, strict=True) if stage is None}
    assert left == {"Grant"}
    for stage in sorted({each for each in repaired if each}):
        answer = api.post(
            "/api/portfolio/strategies",
            {"fund_id": fund.pk, "name": f"All in {stage}", "stage_allocation": {stage: 1}},
        )
        assert answer.status_code == 201, answer.json()
        assert "Deprecation" not in answer


def test_the_listing_of_deprecations_suffices_for_a_program(
    api: APIClient, set_mode: Callable[..., int]
) -> None:
    """A program folds its own texts by the rule that the listing points to, and looks them up."""
    set_mode("warn")
    listing = api.get("/api/deprecations", headers={"Accept": "application/json"}).json()
    assert api.get(listing["folding"]).status_code == 200
    instead = {fold(stage): stage for stage in listing["valid_stages"]}
    instead |= {each["spelling"]: each["stage"] for each in listing["deprecated"]}
    known = ordinary_texts()[:198]
    assert [instead[fold(text)] for text in known] == [
        each["stage"] for each in results(api, known)
    ]


def test_the_callers_own_use_names_the_stage_of_today_or_suggestions(
    api: APIClient, fund: Fund, set_mode: Callable[..., int]
) -> None:
    set_mode("warn")
    for spelling in ("Series A", "Seires A"):
        api.get(f"/api/funds/{fund.pk}/companies", {"stage": spelling})
    observations.flush()
    listing = api.get("/api/deprecations", headers={"Accept": "application/json"}).json()
    use = {each["spelling"]: each for each in listing["your_usage"]}
    assert use["Series A"]["send_instead"] == "series-a"
    assert use["Seires A"]["send_instead"] is None
    assert use["Seires A"]["suggestions"] == ["series-a"]
