"""The OpenAPI document is the one in docs/, is clean, and every answer conforms to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import call_command
from rest_framework.test import APIClient

from stagenorm.portfolio.api_document import operations as operations_of
from stagenorm.portfolio.models import Fund, PortfolioCompany, PortfolioStrategy
from tests import children
from tests.servers import Service

ROOT = Path(__file__).parents[2]
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
THROTTLES = ("SIMULATE_THROTTLE", "NORMALIZE_THROTTLE")
MORE = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "1"))
PHASES = """
[phases.fuzzing.generation]
max-examples = {fuzzing}
[phases.stateful.generation]
max-examples = {stateful}
"""
BOUNDARY = {
    "/api/monte-carlo/simulate": "post",
    "/api/portfolio/strategies": "post",
    "/api/funds/{fund_id}/companies": "get",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    out = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=out)
    return yaml.safe_load(out.getvalue())  # type: ignore[no-any-return]


def test_the_document_in_docs_is_the_generated_one(document: dict[str, Any]) -> None:
    """To update it: manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml"""
    assert yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text("utf-8")) == document


@pytest.mark.parametrize("address", BOUNDARY)
def test_the_headers_of_the_boundary_are_documented(
    document: dict[str, Any], address: str
) -> None:
    operation = document["paths"][address][BOUNDARY[address]]
    success = "201" if address.endswith("strategies") else "200"
    for status in (success, "400"):
        assert {"Stage-Validation", "Deprecation", "Sunset", "Link"} <= set(
            operation["responses"][status]["headers"]
        )
    assert "Prefer" in {parameter["name"] for parameter in operation["parameters"]}


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for address, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"], (
                        address,
                        method,
                        status,
                    )


def test_every_operation_documents_what_any_of_them_can_answer(document: dict[str, Any]) -> None:
    operations = [
        each for operations in document["paths"].values() for each in operations.values()
    ]
    assert {"406", "503"} <= set.intersection(*(set(each["responses"]) for each in operations))


OTHER_NOTATIONS = "5.0 5e0 1e1 %2B5 +5 5+ 1_0 0x5 %D9%A5 true 5%00 "


@pytest.mark.django_db
def test_a_whole_number_of_a_query_is_written_in_digits_for_every_operation(
    document: dict[str, Any], api: APIClient
) -> None:
    fund = Fund.objects.create(pk=7, name="Birch Ventures")
    strategy = PortfolioStrategy.objects.create(fund=fund, name="Core")
    whole = [
        (address.format(fund_id=fund.pk, strategy_id=strategy.pk), parameter["name"])
        for address, operations in document["paths"].items()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and parameter["schema"].get("type") == "integer"
    ]
    assert len(whole) >= 5
    for address, name in whole:
        assert api.get(f"{address}?{name}=0{fund.pk}").status_code == 200, address
        for notation in OTHER_NOTATIONS.split(" "):
            answer = api.get(f"{address}?{name}={notation}")
            assert answer.status_code == 400, (address, name, notation)
            [error] = answer.json()["errors"]
            found = (error["pointer"], error["in"], error["code"])
            assert found == (f"/{name}", "query", "invalid")


@pytest.mark.django_db
def test_problem_bodies_validate_against_the_document(
    document: dict[str, Any], api: APIClient, fund: Fund, set_mode: Callable[..., int]
) -> None:
    set_mode("enforce")
    strategies = "/api/portfolio/strategies"
    allocation = {"fund_id": fund.pk, "name": "x", "stage_allocation": {"Seires A": 1}}
    problems = [
        api.post(strategies, allocation),
        api.post(strategies, {"more": 1}),
        api.post(strategies, {**allocation, "fund_id": 10**12}),
        api.generic("POST", strategies, "{", content_type="application/json"),
        api.put(strategies, {}),
        api.get(f"/api/funds/{fund.pk}/companies", {"limit": "x", "sort": "stage"}),
        APIClient().get(strategies),
    ]
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    for answer in problems:
        assert answer.status_code >= 400
        jsonschema.validate(answer.json(), schema)
        jsonschema.validate(
            answer.json(), {"properties": {"status": {"const": answer.status_code}}}
        )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["warn", "enforce"])
def test_every_operation_conforms_under_generated_requests(
    granian_server: Callable[..., Service], set_mode: Callable[..., int], mode: str
) -> None:
    """`SCHEMATHESIS_EXAMPLES` multiplies the examples."""
    from stagenorm.portfolio.keys import create_key

    for name in ("One", "Two", "Three"):
        fund = Fund.objects.create(name=name)
        for stage in ("Seed", "series c+", "Seires A"):
            PortfolioCompany.objects.create(fund=fund, name=stage, stage_raw=stage)
    set_mode(mode)
    _, key = create_key("schemathesis")
    unlimited = dict.fromkeys(THROTTLES, "1000000/minute")
    server = granian_server(env=unlimited)
    config = server.directory / "schemathesis.toml"
    config.write_text(PHASES.format(fuzzing=20 * MORE, stateful=10 * MORE))
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)),
        *("run", f"{server.address}/api/schema", "--header", f"Authorization: Api-Key {key}"),
        *("--checks", "all", "--mode", "all", "--seed", "1", "--continue-on-failure"),
        *("--generation-database", "none", "--suppress-health-check", "all", "--no-color"),
    ]
    hooks = {"SCHEMATHESIS_HOOKS": HOOKS.stem, "PYTHONPATH": str(HOOKS.parent)}
    done = children.run(
        command, seconds=800 * MORE, cwd=server.directory, env={**os.environ, **hooks}
    )
    if MORE > 1:
        print(done.stdout)
    assert done.returncode == 0, done.stdout[-9_000:] + done.stderr[-2_000:]


def test_bodies_have_their_defaults_in_words_and_a_patch_has_none(
    document: dict[str, Any],
) -> None:
    """Clients act upon `default`: they send it, or require the member in its type."""
    schemas = document["components"]["schemas"]
    assert "default" not in str(schemas["PatchedStrategyPatchRequest"])
    ratio = schemas["StrategyRequest"]["properties"]["reserve_ratio"]
    assert ratio["description"].endswith("The default is 0.5.")
    bodies = [schema for name, schema in schemas.items() if name.endswith("Request")]
    members = [member for body in bodies for member in body["properties"].values()]
    assert not any("default" in member for member in members)
    assert "required" not in schemas["PatchedStrategyPatchRequest"]
    parameters = [each for one in operations_of(document) for each in one.get("parameters", ())]
    assert not any("default" in parameter["schema"] for parameter in parameters)


def test_request_bodies_declare_that_other_members_are_refused(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = [schema for name, schema in schemas.items() if name.endswith("Request")]
    assert len(bodies) >= 4
    assert all(schema["additionalProperties"] is False for schema in bodies)
    answers = [schema for name, schema in schemas.items() if not name.endswith("Request")]
    assert not any(schema.get("additionalProperties") is False for schema in answers)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x" * 101},
        {"name": "  "},
        {"name": "a\0b"},
        {"description": "a\0b"},
        {"description": "x" * 501},
        {"sector_allocation": {str(n): 0 for n in range(51)}},
        {"sector_allocation": {"a": 1.5}},
        {"stage_allocation": {}},
        {"stage_allocation": {"seed": 1.006}},
        {"tags": ["x"] * 11},
        {"tags": ["x" * 51]},
        {"check_size": {"min": -1}},
        {"reserve_ratio": 1.01},
        {"more": 1},
    ],
)
def test_the_document_has_the_limits_of_the_server(
    document: dict[str, Any], api: APIClient, fund: Fund, body: dict[str, Any]
) -> None:
    schema = {
        "$ref": "#/components/schemas/StrategyRequest",
        "components": document["components"],
    }
    fine = {"fund_id": fund.pk, "name": "Core", "stage_allocation": {"seed": 1}}
    jsonschema.validate(fine, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(fine | body, schema)
    assert api.post("/api/portfolio/strategies", fine | body).status_code == 400


STRATEGIES = "/api/portfolio/strategies"
BODIES: dict[str, dict[str, Any]] = {
    "create_strategy": {"name": "Core", "stage_allocation": {"seed": 1}},
    "change_strategy": {"name": "Other"},
    "simulate": {"runs": 100, "stage_distribution": [{"stage": "seed", "weight": 1}]},
    "normalize_stages": {"spellings": ["Seed"]},
}


def each_operation(
    document: dict[str, Any], api: APIClient, fund: Fund
) -> Iterator[tuple[str, str, str, dict[str, Any] | None]]:
    """Yield id, method, address and body of every operation, for objects that exist."""
    bodies = {name: dict(body) for name, body in BODIES.items()}
    for name in ("create_strategy", "simulate"):
        bodies[name]["fund_id"] = fund.pk
    simulation = api.post("/api/monte-carlo/simulate", bodies["simulate"]).json()
    strategy: Any = None
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            strategy = strategy or api.post(STRATEGIES, bodies["create_strategy"]).json()
            address = path.format(
                fund_id=fund.pk,
                strategy_id=strategy["id"],
                simulation_id=simulation["simulation_id"],
            )
            name = operation["operationId"]
            yield name, method, address, bodies.get(name)
            if name == "delete_strategy":
                strategy = None


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        " ",
        "application/problem+json",
        "application/problem+json; charset=utf-8",
        "text/csv, application/problem+json;q=0.5",
        "*/*",
        "application/*",
        "application/json, application/problem+json",
    ],
)
def test_accepting_problems_or_nothing_is_served_by_every_operation(
    document: dict[str, Any], api: APIClient, fund: Fund, accept: str | None
) -> None:
    header = {} if accept is None else {"HTTP_ACCEPT": accept}
    asked = [*each_operation(document, api, fund), ("schema", "get", "/api/schema", None)]
    assert len(asked) == 15
    for name, method, address, body in asked:
        answer = getattr(api, method)(address, *([body] if body else []), **header)
        expected = {"create_strategy": 201, "delete_strategy": 204}.get(name, 200)
        assert answer.status_code == expected, (name, answer.content)
        assert "problem" not in answer.get("Content-Type", ""), name


@pytest.mark.parametrize("accept", ["text/csv", "image/*", "application/problem+xml"])
def test_other_types_are_406_but_a_deletion_needs_none(
    api: APIClient, fund: Fund, accept: str
) -> None:
    body = {"fund_id": fund.pk, "name": "Core", "stage_allocation": {"seed": 1}}
    one = f"/api/portfolio/strategies/{api.post('/api/portfolio/strategies', body).json()['id']}"
    refused = api.get(one, HTTP_ACCEPT=accept)
    assert (refused.status_code, refused["Content-Type"]) == (406, "application/problem+json")
    assert api.delete(one, HTTP_ACCEPT=accept).status_code == 204
    missing = api.delete(one, HTTP_ACCEPT=accept)
    assert (missing.status_code, missing["Content-Type"]) == (404, "application/problem+json")


def test_every_property_is_described(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    plain = [
        f"{name}.{member}"
        for name, schema in schemas.items()
        for member, described in schema.get("properties", {}).items()
        if not described.get("description")
    ]
    assert plain == []
    assert not [name for name, schema in schemas.items() if not schema.get("description")]


def test_every_value_of_an_enum_is_explained_and_has_a_name_of_its_own(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]
    enums = {name: each for name, each in schemas.items() if "enum" in each}
    for name, schema in enums.items():
        names = schema["x-enum-varnames"]
        assert len(set(names)) == len(schema["enum"]) == len(names), name
        if name != "StageEnum":  # GET /api/stages has their labels
            assert all(f"* `{value}`: " in schema["description"] for value in schema["enum"]), name


def test_every_body_parameter_and_answer_has_a_valid_example(document: dict[str, Any]) -> None:
    for operation in operations_of(document):
        shown = [operation.get("requestBody"), *operation["responses"].values()]
        contents = [
            content for each in shown if each for content in each.get("content", {}).values()
        ]
        for each in [*operation.get("parameters", ()), *contents]:
            examples = [value["value"] for value in each.get("examples", {}).values()]
            examples += [each["example"]] if "example" in each else []
            assert examples, (operation["operationId"], each.get("name"))
            schema = {**each["schema"], "components": document["components"]}
            for example in examples:
                jsonschema.validate(example, schema)
            assert each.get("description", "no parameter")


def test_the_introduction_names_what_a_first_call_needs(document: dict[str, Any]) -> None:
    text = document["info"]["description"]
    for word in ("Authorization: Api-Key", "429", "Retry-After", "enforce", "Idempotency-Key"):
        assert word in text
    assert {tag["name"] for tag in document["tags"] if tag["description"]} == {
        tag for operation in operations_of(document) for tag in operation["tags"]
    }
