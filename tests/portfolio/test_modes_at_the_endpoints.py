"""Three endpoints × three modes × what was sent: status, body, headers, counts and rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, PortfolioCompany, PortfolioStrategy, Simulation

pytestmark = pytest.mark.django_db

SENT = {
    "canonical": ["series-a"],
    "alias": ["SERIES_A"],
    "unknown": ["Seires A"],
    "mixed": ["series-a", "Seed Funding Round", "Seires B"],
    "none": [],
}
TALLY = {"canonical": (0, 0), "alias": (1, 0), "unknown": (0, 1), "mixed": (1, 1), "none": (0, 0)}
OUTCOME = {
    "canonical": "canonical",
    "alias": "normalized",
    "unknown": "unknown",
    "mixed": "unknown",
}
ENDPOINTS = ["monte-carlo-simulate", "portfolio-strategies", "fund-companies"]
MODES = ["off", "warn", "enforce"]
# A list takes one stage at a time, so a mixture cannot be asked of it.
CASES = [
    case
    for case in itertools.product(ENDPOINTS, MODES, SENT)
    if case[0::2] != ("fund-companies", "mixed")
]


@pytest.fixture
def stocked(fund: Fund) -> Fund:
    """A fund with active companies in mixed spellings."""
    for name, stage in [
        ("a", "series-a"),
        ("b", "SERIES_A"),
        ("c", "Series A Round"),
        ("d", "Seires A"),
        ("e", "seed"),
    ]:
        PortfolioCompany.objects.create(fund=fund, name=name, stage=stage)
    return fund


def weights(stages: list[str]) -> list[tuple[str, float]]:
    return [(stage, 1 / len(stages)) for stage in stages]


def send(api: APIClient, endpoint: str, fund: Fund, stages: list[str]) -> Any:
    if endpoint == "fund-companies":
        return api.get(f"/api/funds/{fund.pk}/companies", {"stage": stages[0]} if stages else {})
    body: dict[str, Any] = {"fund_id": fund.pk}
    if endpoint == "portfolio-strategies":
        body |= {"name": "Core"} | ({"stage_allocation": dict(weights(stages))} if stages else {})
        return api.post("/api/portfolio/strategies", body)
    distribution = [{"stage": stage, "weight": weight} for stage, weight in weights(stages)]
    body |= {"runs": 100, "seed": 7} | ({"stage_distribution": distribution} if stages else {})
    return api.post("/api/monte-carlo/simulate", body)


def counts(endpoint: str) -> dict[tuple[str, str], float]:
    family = next(f for f in REGISTRY.collect() if f.name == "stage_validation_requests")
    return {
        (sample.labels["mode"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total") and sample.labels["endpoint"] == endpoint
    }


def expected_status(endpoint: str, mode: str, sent: str) -> int:
    if sent == "none":
        return (
            400 if endpoint == "portfolio-strategies" else 200
        )  # there the stages are a required member
    if mode == "enforce" and sent in {"unknown", "mixed"}:
        return 400
    if (endpoint, sent) == ("monte-carlo-simulate", "unknown"):
        return 400  # let through, but nothing that could be simulated is left
    return 201 if endpoint == "portfolio-strategies" else 200


@pytest.mark.parametrize(("endpoint", "mode", "sent"), CASES)
def test_what_an_endpoint_does_in_a_mode(
    api: APIClient,
    set_mode: Callable[..., int],
    stocked: Fund,
    endpoint: str,
    mode: str,
    sent: str,
) -> None:
    version = set_mode(mode) if mode != "off" else 0
    before = counts(endpoint)
    answer = send(api, endpoint, stocked, SENT[sent])
    body = answer.json()
    rejected = mode == "enforce" and sent in {"unknown", "mixed"}

    assert answer.status_code == expected_status(endpoint, mode, sent)

    # Headers
    if (endpoint, sent) == ("portfolio-strategies", "none"):
        assert "Stage-Validation" not in answer
    else:
        normalized, unknown = TALLY[sent]
        assert (
            answer["Stage-Validation"]
            == f"{mode}; policy={version}; normalized={normalized}; unknown={unknown}"
        )
    deprecated = mode != "off" and sent in {"alias", "unknown", "mixed"}
    assert ("Deprecation" in answer, "Link" in answer) == (deprecated, deprecated)
    assert "Sunset" not in answer

    # Counts: one request with its worst outcome, none without stages
    after = counts(endpoint)
    gained = {
        key: value - before.get(key, 0)
        for key, value in after.items()
        if value != before.get(key, 0)
    }
    outcome = "rejected" if rejected else OUTCOME.get(sent)
    assert gained == ({} if outcome is None else {(mode, outcome): 1})

    # Rows
    stored = answer.status_code < 400
    assert PortfolioStrategy.objects.count() == (stored and endpoint == "portfolio-strategies")
    assert Simulation.objects.count() == (stored and endpoint == "monte-carlo-simulate")

    # Body
    if answer.status_code == 400:
        assert answer["Content-Type"] == "application/problem+json"
        slug = (
            "unknown-stage"
            if rejected
            else "invalid-request"
            if sent == "none"
            else "nothing-to-simulate"
        )
        assert body["type"] == f"/problems/{slug}"
        if rejected:
            assert (body["mode"], body["policy_version"]) == (mode, version)
            [error] = body["errors"]
            assert (error["code"], error["received"]) == ("unknown_stage", SENT[sent][-1])
            assert error["suggestions"] == [
                {"Seires A": "series-a", "Seires B": "series-b"}[SENT[sent][-1]]
            ]
            assert "/stage" in error["pointer"]
        return
    told = [warning["code"] for warning in body.get("warnings", [])]
    stored_unknown = endpoint == "monte-carlo-simulate" and sent == "none"
    assert told == (
        ["unknown_stage"] if mode == "warn" and sent in {"unknown", "mixed"}
        else ["stored_stage_unknown"] if stored_unknown
        else []
    )  # fmt: skip
    check = {
        "monte-carlo-simulate": simulated,
        "portfolio-strategies": kept,
        "fund-companies": listed,
    }[endpoint]
    check(body, sent)


def simulated(body: dict[str, Any], sent: str) -> None:
    mix = {
        "canonical": {"series-a": 1},
        "alias": {"series-a": 1},
        "mixed": {"seed": 0.5, "series-a": 0.5},
        "none": {"seed": 0.25, "series-a": 0.75},
    }
    unmodelled = {"mixed": 1 / 3, "none": 1 / 5}
    assert body["stage_mix"] == pytest.approx(mix[sent])
    assert body["unmodelled_weight"] == pytest.approx(unmodelled.get(sent, 0))


def kept(body: dict[str, Any], sent: str) -> None:
    stages: dict[str, list[tuple[str, str | None]]] = {
        "canonical": [("series-a", "series-a")],
        "alias": [("SERIES_A", "series-a")],
        "unknown": [("Seires A", None)],
        "mixed": [("series-a", "series-a"), ("Seed Funding Round", "seed"), ("Seires B", None)],
    }
    assert [(row["spelling"], row["stage"]) for row in body["stages"]] == stages[sent]
    rows = PortfolioStrategy.objects.get().stage_allocations.values_list("spelling", "stage")
    assert list(rows) == stages[sent]
    assert sum(row["weight"] for row in body["stages"]) == pytest.approx(1)


def listed(body: dict[str, Any], sent: str) -> None:
    names = {"canonical": "abc", "alias": "abc", "unknown": "d", "none": "abcde"}
    assert "".join(company["name"] for company in body["companies"]) == names[sent]
