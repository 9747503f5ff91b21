"""`Prefer: handling=dry-run`: the request is checked in full, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from normalization import observations
from normalization.models import ObservedSpelling, OutcomeTally
from stagenorm.portfolio.models import (
    Fund,
    IdempotencyRecord,
    PortfolioStrategy,
    Simulation,
    StrategyStageAllocation,
)

STRATEGIES = "/api/portfolio/strategies"
SIMULATE = "/api/monte-carlo/simulate"
DRY = "handling=dry-run"
STRICT = "stage-validation=enforce, handling=dry-run"
SetMode = Callable[..., int]


@pytest.fixture
def stored(api: APIClient, fund: Fund) -> dict[str, Any]:
    body = {"fund_id": fund.pk, "name": "Core", "stage_allocation": {"Seed": 1}}
    return dict(api.post(STRATEGIES, body).json())


def tried(
    api: APIClient, stored: dict[str, Any], kind: str, stages: dict[str, float], **headers: Any
) -> Any:
    headers = {"HTTP_PREFER": STRICT, **headers}
    if kind == "create":
        body = {"fund_id": stored["fund_id"], "name": "New", "stage_allocation": stages}
        return api.post(STRATEGIES, body, **headers)
    if kind == "change":
        body = {"name": "Changed", "stage_allocation": stages}
        return api.patch(f"{STRATEGIES}/{stored['id']}", body, **headers)
    items = [{"stage": stage, "weight": weight} for stage, weight in stages.items()]
    body = {"fund_id": stored["fund_id"], "runs": 100, "stage_distribution": items}
    return api.post(SIMULATE, body, **headers)


KINDS = ["create", "change", "simulate"]


def assert_nothing_stored(api: APIClient, stored: dict[str, Any]) -> None:
    assert PortfolioStrategy.objects.count() == 1
    assert StrategyStageAllocation.objects.count() == 1
    assert api.get(f"{STRATEGIES}/{stored['id']}").json() == stored
    assert not Simulation.objects.exists()
    assert not IdempotencyRecord.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["off", "warn", "enforce"])
def test_a_request_that_would_succeed_is_202_with_its_warnings(
    api: APIClient, stored: dict[str, Any], set_mode: SetMode, kind: str, mode: str
) -> None:
    set_mode(mode)
    answer = tried(api, stored, kind, {"Series A": 0.5, "series-a": 0.501})
    assert answer.status_code == 202, answer.json()
    assert answer["Preference-Applied"] == STRICT
    assert answer["Stage-Validation"].startswith("enforce; ")
    assert answer.json()["accepted"] is True
    codes = {warning["code"] for warning in answer.json()["warnings"]}
    assert codes == {"weights_not_one", "duplicate_stage"}
    assert_nothing_stored(api, stored)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_enforcement_would_refuse_is_its_problem(
    api: APIClient, stored: dict[str, Any], set_mode: SetMode, kind: str
) -> None:
    set_mode("warn")
    answer = tried(api, stored, kind, {"Angel": 0.5, "seed": 0.5})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/unknown-stage")
    assert answer["Preference-Applied"] == STRICT
    let_through = tried(api, stored, kind, {"Angel": 0.5, "seed": 0.5}, HTTP_PREFER=DRY)
    assert let_through.status_code == 202
    assert let_through["Preference-Applied"] == DRY
    assert [item["code"] for item in let_through.json()["warnings"]] == ["unknown_stage"]
    assert_nothing_stored(api, stored)


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_dry_run_is_refused_as_the_request_would_be(
    api: APIClient, stored: dict[str, Any], kind: str
) -> None:
    answer = tried(api, stored, kind, {"seed": 2})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-request")
    assert_nothing_stored(api, stored)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_is_not_counted_as_traffic(
    api: APIClient, stored: dict[str, Any], kind: str
) -> None:
    observations.forget()
    tried(api, stored, kind, {"Angel": 0.5, "seed": 0.5})
    observations.flush()
    assert not OutcomeTally.objects.exists()
    assert not ObservedSpelling.objects.exists()


def test_a_dry_run_neither_uses_nor_replays_an_idempotency_key(
    api: APIClient, stored: dict[str, Any]
) -> None:
    key: dict[str, Any] = {"HTTP_IDEMPOTENCY_KEY": "k"}
    assert tried(api, stored, "create", {"seed": 1}, **key).status_code == 202
    body = {"fund_id": stored["fund_id"], "name": "New", "stage_allocation": {"seed": 1}}
    assert api.post(STRATEGIES, body, **key).status_code == 201


def test_a_request_that_only_reads_has_no_dry_run(
    api: APIClient, stored: dict[str, Any], fund: Fund
) -> None:
    answer = api.get(f"/api/funds/{fund.pk}/companies", {"stage": "Angel"}, HTTP_PREFER=DRY)
    assert answer.status_code == 200
    assert not answer.has_header("Preference-Applied")
    observations.flush()
    assert ObservedSpelling.objects.filter(spelling="Angel").exists()


@pytest.mark.parametrize("address", ["/api/monte-carlo/simulate", "/api/portfolio/strategies"])
def test_a_dry_run_refuses_a_malformed_idempotency_key(
    api: APIClient, fund: Fund, address: str
) -> None:
    body: dict[str, Any] = {"fund_id": fund.pk}
    if "simulate" in address:
        body["stage_distribution"] = [{"stage": "seed", "weight": 1}]
    else:
        body |= {"name": "Core", "stage_allocation": {"seed": 1}}
    headers: dict[str, Any] = {"HTTP_PREFER": "handling=dry-run"}
    assert api.post(address, body, **headers, HTTP_IDEMPOTENCY_KEY="a").status_code == 202
    refused = api.post(address, body, **headers, HTTP_IDEMPOTENCY_KEY="\u00e9")
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["pointer"] == "/Idempotency-Key"
