"""What enforcement refuses is counted as refused, and is visible before: every kind of refusal of
the three endpoints, sent in each mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from prometheus_client import REGISTRY
from rest_framework.test import APIClient

from normalization import observations
from normalization.decision_warnings import DecisionVerdict
from normalization.models import OutcomeTally
from normalization.outcomes import would_be_refused
from normalization.rollout import Mode, Rollout
from ops import clock
from ops.gates.traffic import enforced_traffic
from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund
from tests.decided import decide
from tests.pages import ClientPage

pytestmark = pytest.mark.django_db

STRATEGIES = "/api/portfolio/strategies"
THIRDS = {"seed": 0.3333, "series-a": 0.3333, "series-b": 0.3333}

# (endpoint, stages or weights, the outcome in warn: "" is not counted in any mode)
SENT: dict[str, tuple[str, Any, str]] = {
    "list: canonical": ("fund-companies", "seed", "canonical"),
    "list: alias": ("fund-companies", "Seed Round", "normalized"),
    "list: unknown": ("fund-companies", "Seires A", "unknown"),
    "list: outside": ("fund-companies", "Grant", "outside"),
    "list: no such parameter": ("fund-companies", None, ""),
    "strategy: rounded weights": ("portfolio-strategies", THIRDS, "canonical"),
    "strategy: unknown": ("portfolio-strategies", {"seed": 0.5, "Seires A": 0.5}, "unknown"),
    "strategy: outside": ("portfolio-strategies", {"seed": 0.5, "Grant": 0.5}, "outside"),
    "strategy: both": ("portfolio-strategies", {"Seires A": 0.5, "Grant": 0.5}, "unknown"),
    "strategy: wrong sum": ("portfolio-strategies", {"seed": 0.5, "Seires A": 0.1}, ""),
    "strategy: no stage": ("portfolio-strategies", {}, ""),
    "patch: stored spelling": ("patch", {"seed": 0.5, "Series Z": 0.5}, "normalized"),
    "patch: stored and new": ("patch", {"Seires A": 0.5, "Series Z": 0.5}, "unknown"),
    "patch: outside": ("patch", {"Grant": 0.5, "Series Z": 0.5}, "outside"),
    "simulate: rounded weights": ("monte-carlo-simulate", THIRDS, "canonical"),
    "simulate: unknown": ("monte-carlo-simulate", {"seed": 0.5, "Seires A": 0.5}, "unknown"),
    "simulate: outside": ("monte-carlo-simulate", {"seed": 0.5, "Grant": 0.5}, "outside"),
    "simulate: nothing known": ("monte-carlo-simulate", {"Seires A": 1}, "unknown"),
    "simulate: wrong sum": ("monte-carlo-simulate", {"seed": 0.5, "Grant": 0.1}, ""),
    "simulate: scenario": ("scenario", {"seed": 0.5, "Seires A": 0.5}, "unknown"),
}
ENDPOINT = {"patch": "portfolio-strategies", "scenario": "monte-carlo-simulate"}


@pytest.fixture
def api() -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {create_key('importer')[1]}")
    return client


@pytest.fixture
def fund() -> Fund:
    return Fund.objects.create(name="Alder")


def send(api: APIClient, fund: Fund, endpoint: str, given: Any, stored: int) -> Any:
    if endpoint == "fund-companies":
        query = {"stage": given} if given is not None else {"colour": "red"}
        return api.get(f"/api/funds/{fund.pk}/companies", query)
    if endpoint == "portfolio-strategies":
        return api.post(
            STRATEGIES, {"fund_id": fund.pk, "name": "Core", "stage_allocation": given}
        )
    if endpoint == "patch":
        return api.patch(f"{STRATEGIES}/{stored}", {"stage_allocation": given})
    distribution = [{"stage": stage, "weight": weight} for stage, weight in given.items()]
    body: dict[str, Any] = {"fund_id": fund.pk, "runs": 100, "seed": 7}
    if endpoint == "scenario":
        body |= {
            "profile": "market-v2",
            "stage_distribution": [{"stage": "seed", "weight": 1}],
            "scenarios": [{"label": "other", "stage_distribution": distribution}],
        }
    else:
        body["stage_distribution"] = distribution
    return api.post("/api/monte-carlo/simulate", body)


def counters() -> dict[tuple[str, str, str], float]:
    family = next(f for f in REGISTRY.collect() if f.name == "stage_validation_requests")
    return {
        (each.labels["endpoint"], each.labels["mode"], each.labels["outcome"]): each.value
        for each in family.samples
        if each.name.endswith("_total")
    }


@pytest.mark.parametrize("sent", SENT)
def test_every_refusal_of_enforcement_is_counted_and_visible_in_warn(
    api: APIClient, operator: Client, set_mode: Callable[..., int], fund: Fund, sent: str
) -> None:
    decide("Grant", DecisionVerdict.OUTSIDE)
    endpoint, given, in_warn = SENT[sent]
    place = ENDPOINT.get(endpoint, endpoint)
    legacy = {"seed": 0.5, "Series Z": 0.5}
    stored = {
        mode: send(api, fund, "portfolio-strategies", legacy, 0).json()["id"] for mode in Mode
    }
    observations.forget()
    refused_by_enforcement = in_warn in ("unknown", "outside")

    for mode in Mode:
        set_mode(mode)
        before = counters()
        answer = send(api, fund, endpoint, given, stored[mode])
        observations.flush()
        tallies = list(OutcomeTally.objects.values_list("endpoint", "mode", "outcome", "requests"))
        OutcomeTally.objects.all().delete()
        gained = {key: value - before.get(key, 0) for key, value in counters().items()}
        gained = {key: value for key, value in gained.items() if value}

        refused = refused_by_enforcement and mode is Mode.ENFORCE
        of_stages = answer.status_code == 400 and answer.json()["type"].endswith("unknown-stage")
        assert of_stages is refused
        outcome = "rejected" if refused else in_warn
        assert tallies == ([(place, mode, outcome, 1)] if outcome else [])
        assert gained == ({(place, mode, outcome): 1} if outcome else {})
        if not outcome:
            assert answer.status_code == 400
            continue
        assert would_be_refused(outcome, mode) is refused_by_enforcement
        if mode is Mode.WARN:
            assert ("Deprecation" in answer) is (in_warn != "canonical" or "patch" in sent)

        # The clients page and the gate judge the same rows.
        OutcomeTally.objects.create(
            minute=clock.database_now().replace(second=0, microsecond=0),
            endpoint=place, client="importer", mode=mode, outcome=outcome, requests=1,
        )  # fmt: skip
        page = ClientPage.open(operator)
        assert page.consequence.startswith("1 of its" if refused_by_enforcement else "None of its")
        traffic = enforced_traffic(Rollout(Mode.ENFORCE), clock.database_now())
        assert (traffic.requests, traffic.refused) == (1, int(refused_by_enforcement))
        OutcomeTally.objects.all().delete()
