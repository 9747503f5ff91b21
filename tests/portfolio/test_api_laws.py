"""Laws of the API over generated input: warn only adds, no 5xx, no client text in headers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from normalization import rollout_store
from normalization.deprecations import link
from normalization.rollout import Mode, Rollout
from stagenorm.portfolio.models import Fund, PortfolioCompany

pytestmark = pytest.mark.django_db

DECLARED = {"Stage-Validation", "Deprecation", "Sunset", "Link"}
OWN = {"simulation_id", "id", "created_at", "updated_at", "instance"}
law = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

spellings = st.sampled_from(
    [
        "seed",
        "Seed",
        "SEED_ROUND",
        "series-a",
        "Series A\n",
        "series-c+",
        "Seires A",
        "Series D",
        "Angel",
        "",
        "С",
    ]
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=120)
stages = st.lists(spellings | texts, min_size=1, max_size=4, unique=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
Send = Callable[[list[str]], Any]


@pytest.fixture(autouse=True)
def _unlimited(settings: Any) -> None:
    settings.SIMULATE_THROTTLE = ""


@pytest.fixture
def sends(api: APIClient, fund: Fund) -> dict[str, Send]:
    """Each endpoint as a function of the stages sent."""
    PortfolioCompany.objects.create(fund=fund, name="a", stage="Seed Round")

    def simulate(given: list[str]) -> Any:
        distribution = [{"stage": stage, "weight": 1 / len(given)} for stage in given]
        body = {"fund_id": fund.pk, "runs": 100, "seed": 3, "stage_distribution": distribution}
        return api.post("/api/monte-carlo/simulate", body)

    def strategy(given: list[str]) -> Any:
        allocation = {stage: 1 / len(given) for stage in given}
        return api.post(
            "/api/portfolio/strategies",
            {"fund_id": fund.pk, "name": "Core", "stage_allocation": allocation},
        )

    def companies(given: list[str]) -> Any:
        return api.get(f"/api/funds/{fund.pk}/companies?stage={quote(given[0])}")

    return {"simulate": simulate, "strategy": strategy, "companies": companies}


def in_mode(mode: Mode, send: Send, given: list[str]) -> Any:
    if rollout_store.newest().rollout.mode is not mode:
        rollout_store.change(Rollout(mode), actor="laws", source="tests", reason="law")
    rollout_store.forget()
    return send(given)


def comparable(answer: Any) -> tuple[int, dict[str, str], Any]:
    headers = {
        name: value
        for name, value in answer.items()
        if name not in DECLARED | {"Content-Length", "Location"}
    }
    return answer.status_code, headers, stripped(answer.json())


def stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: stripped(inner)
            for name, inner in value.items()
            if name not in OWN | {"warnings"}
        }
    return [stripped(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("endpoint", ["simulate", "strategy", "companies"])
@law
@given(given_stages=stages)
def test_warn_differs_from_off_only_in_declared_headers_and_warnings(
    sends: dict[str, Send], endpoint: str, given_stages: list[str]
) -> None:
    off = in_mode(Mode.OFF, sends[endpoint], given_stages)
    warn = in_mode(Mode.WARN, sends[endpoint], given_stages)
    assert comparable(off) == comparable(warn)
    assert not {"Deprecation", "Sunset", "Link"} & set(dict(off.items()))


@pytest.mark.parametrize("endpoint", ["simulate", "strategy", "companies"])
@law
@given(given_stages=stages)
def test_no_stage_gives_a_5xx_or_reaches_a_header(
    sends: dict[str, Send], endpoint: str, given_stages: list[str]
) -> None:
    for mode in (Mode.WARN, Mode.ENFORCE, Mode.WARN):
        answer = in_mode(mode, sends[endpoint], given_stages)
        assert answer.status_code < 500
        text = "".join(value for name, value in answer.items() if name in DECLARED)
        assert text.isascii()
        assert len(text) < 1024
        # Whatever was sent, the header has one of the forms that the server itself can make.
        assert re.fullmatch(
            r"(warn|enforce); policy=\d+; normalized=\d+; unknown=\d+", answer["Stage-Validation"]
        )
        assert answer.get("Deprecation", "@1767225600") == "@1767225600"
        assert answer.get("Link", link()) == link()


@pytest.mark.parametrize("address", ["/api/monte-carlo/simulate", "/api/portfolio/strategies"])
@law
@given(body=json_values)
def test_no_json_body_gives_a_5xx(api: APIClient, fund: Fund, address: str, body: Any) -> None:
    for each in (
        body,
        {"fund_id": fund.pk, "name": body, "stage_allocation": body, "stage_distribution": body},
    ):
        answer = api.generic("POST", address, json.dumps(each), content_type="application/json")
        assert answer.status_code < 500
        assert answer.status_code < 400 or answer["Content-Type"] == "application/problem+json"


@law
@given(
    query=st.dictionaries(
        st.sampled_from(["stage", "status", "sector", "q", "sort", "limit", "cursor", "x"]), texts
    )
)
def test_no_query_gives_a_5xx(api: APIClient, fund: Fund, query: dict[str, str]) -> None:
    answer = api.get(f"/api/funds/{fund.pk}/companies", query)
    assert answer.status_code in {200, 400}


@pytest.fixture
def everywhere(fund: Fund) -> list[tuple[str, str]]:
    """Method and address of every endpoint."""
    return [
        ("POST", "/api/monte-carlo/simulate"),
        ("GET", "/api/monte-carlo/simulations/7d2f6a52-5e0b-4cf4-9d0b-6c6c3a1d7a10"),
        ("POST", "/api/portfolio/strategies"),
        ("GET", "/api/portfolio/strategies"),
        ("GET", "/api/portfolio/strategies/1"),
        ("PATCH", "/api/portfolio/strategies/1"),
        ("DELETE", "/api/portfolio/strategies/1"),
        ("GET", f"/api/funds/{fund.pk}/companies"),
    ]


@pytest.mark.parametrize(
    "header",
    [None, "", "Api-Key", "Api-Key aaaaaaaa.bbbbbbbb", "Bearer x", "Api-Key ä.ü", "x" * 9_000],
)
def test_no_endpoint_answers_without_a_valid_key(
    everywhere: list[tuple[str, str]], header: str | None
) -> None:
    for method, address in everywhere:
        client = APIClient()
        if header is not None:
            client.credentials(HTTP_AUTHORIZATION=header)
        answer = client.generic(method, address, "{}", content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (401, "application/problem+json")
        assert answer["WWW-Authenticate"].startswith("Api-Key")


def test_a_wrong_method_or_content_type_is_a_problem(
    everywhere: list[tuple[str, str]], api: APIClient
) -> None:
    for method, address in everywhere:
        wrong = api.generic("PUT", address, "{}", content_type="application/json")
        assert (wrong.status_code, wrong["Content-Type"]) == (405, "application/problem+json")
        assert method in wrong["Allow"]
        if method in {"POST", "PATCH"}:
            for kind in [
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "",
            ]:
                answer = api.generic(method, address, "a=1", content_type=kind)
                assert answer.status_code in {415, 404}
                assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("address", ["/api/monte-carlo/simulate", "/api/portfolio/strategies"])
def test_a_body_of_5_mb_is_a_413_problem(api: APIClient, address: str) -> None:
    body = json.dumps({"name": "x" * 5_000_000})
    answer = api.generic("POST", address, body, content_type="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (413, "application/problem+json")
