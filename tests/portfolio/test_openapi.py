"""The OpenAPI document is the one in docs/, is clean, and every answer conforms to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.core.management import call_command
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund
from tests.servers import Service

ROOT = Path(__file__).parents[2]
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
    """Mend with: .venv/bin/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml"""
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


@pytest.mark.parametrize("mode", ["warn", "enforce"])
def test_every_operation_conforms_under_generated_requests(
    granian_server: Callable[..., Service], set_mode: Callable[..., int], mode: str
) -> None:
    from stagenorm.portfolio.keys import create_key

    for name in ("One", "Two", "Three"):
        Fund.objects.create(name=name)
    set_mode(mode)
    _, key = create_key("schemathesis")
    server = granian_server(env={"SIMULATE_THROTTLE": "1000000/minute"})
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{server.address}/api/schema",
        *("--header", f"Authorization: Api-Key {key}"),
        *(
            "--checks",
            "all",
            "--exclude-checks",
            "unsupported_method,positive_data_acceptance,negative_data_rejection",
        ),
        *(
            "--phases",
            "examples,coverage,fuzzing",
            "--mode",
            "all",
            "--max-examples",
            "40",
            "--seed",
            "1",
        ),
        *("--generation-database", "none", "--suppress-health-check", "all", "--no-color"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, cwd=server.directory
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
