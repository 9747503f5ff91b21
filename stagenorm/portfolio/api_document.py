"""Completes the OpenAPI document: the introduction, descriptions of members, and examples.

The serializers have the shapes. What is for readers only is here and in `api_glossary`.
Tests check that every member is described and every example is valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from normalization.issue_codes import IssueCode, issue
from normalization.problems import CATALOGUE, CONTENT_TYPE, VALID_STAGES
from normalization.schema import explanation
from stagenorm.portfolio.api_examples import ANSWERS, BODIES, HEADERS, PARAMETERS
from stagenorm.portfolio.api_glossary import GLOSSARY

Schema = dict[str, Any]

INTRODUCTION: Final = Path(__file__).with_name("api_introduction.md")
EXAMPLES_FILE: Final = "stagenorm/portfolio/api_examples.py"
METHODS: Final = ("get", "post", "patch", "delete")
EXAMPLE_ID: Final = "urn:uuid:0b1c6f0e-6a55-4d0c-9d3e-5f3a7b6a1c22"

ENUMS: Final = {
    "CompanyStatusEnum": (
        "What became of the investment.",
        {
            "active": "The fund holds it.",
            "exited": "The fund sold it.",
            "written_off": "It is worth nothing.",
        },
    ),
    "ProfileEnum": (
        "The assumptions about returns; `GET /api/monte-carlo/profiles` has them all.",
        {
            "market-v1": "First generation: independent companies, no fees. Numbers are gross.",
            "optimistic-v1": "The model of market-v1 with the odds of a bull market.",
            "market-v2": "Second generation: fees, carry, reserves and deployment. Use this one.",
        },
    ),
    "MixBasisEnum": (
        "What weighs the fund's own companies.",
        {"companies": "Each company counts once.", "invested_usd": "Each by its dollars."},
    ),
    "BasisEnum": (
        "Whether fees and carry are deducted.",
        {"net": "They are deducted.", "gross": "They are not."},
    ),
    "IncludeEnum": (
        "A further part of the answer.",
        {"gross": "The numbers before fees and carry.", "path": "The fund year by year."},
    ),
}

# Status → the kind of problem that is shown, and its detail.
PROBLEMS: Final = {
    400: ("invalid-request", "The request is not valid at one place."),
    401: ("not-authenticated", "The API key is not known."),
    403: ("forbidden", "This API key may only read."),
    404: ("not-found", "The fund does not exist, or the key may not see it."),
    406: ("not-acceptable", "The Accept header allows nothing that is served here."),
    409: ("conflict", "The first request with this Idempotency-Key is still in progress."),
    413: ("body-too-large", "The body exceeds 2048 KiB, the maximum of this service."),
    415: ("unsupported-media-type", "Send the body as Content-Type: application/json."),
    422: ("idempotency-mismatch", "This Idempotency-Key came with another body first."),
    429: ("too-many-requests", "Request was throttled. Expected available in 12 seconds."),
    503: ("unavailable", "The database does not answer in time; nothing was done. Try again."),
}

# Operation and status → link: the operation that uses the answer, and its parameter.
LINKS: Final = {
    ("create_strategy", "201"): {
        "GetStrategy": ("get_strategy", "strategy_id", "/id"),
        "ChangeStrategy": ("change_strategy", "strategy_id", "/id"),
        "DeleteStrategy": ("delete_strategy", "strategy_id", "/id"),
        "ListSimulations": ("list_simulations_of_strategy", "strategy_id", "/id"),
    },
    ("simulate", "200"): {
        "GetSimulation": ("get_simulation", "simulation_id", "/simulation_id"),
    },
}


def complete(result: Schema, **_: Any) -> Schema:
    """Add the introduction, descriptions and examples, and return the document."""
    result["info"]["description"] = INTRODUCTION.read_text("utf-8")
    components = result["components"]["schemas"]
    for name, (text, values) in ENUMS.items():
        if name in components:
            components[name]["description"] = explanation(text, values)
    for name, component in components.items():
        _describe_members(name, component)
    for operation in operations(result):
        _exemplify(operation)
        _link(operation)
    return result


def operations(document: Schema) -> Iterator[Schema]:
    """Yield every operation of a document."""
    for path in document["paths"].values():
        yield from (path[method] for method in METHODS if method in path)


def _describe_members(name: str, component: Schema) -> None:
    members = component.get("properties", {})
    for member, schema in members.items():
        text = GLOSSARY.get(f"{name}.{member}") or GLOSSARY.get(member)
        if text is None or "description" in schema:
            continue
        # Some readers of 3.1 still ignore what stands beside a $ref.
        if "$ref" in schema:
            schema = members[member] = {"allOf": [schema]}
        schema["description"] = text


def _link(operation: Schema) -> None:
    for status, response in operation["responses"].items():
        for name, link in LINKS.get((operation["operationId"], status), {}).items():
            target, parameter, pointer = link
            response.setdefault("links", {})[name] = {
                "operationId": target,
                "parameters": {parameter: f"$response.body#{pointer}"},
            }


def _exemplify(operation: Schema) -> None:
    for parameter in operation.get("parameters", ()):
        description, example = _example(PARAMETERS, parameter["name"], "PARAMETERS")
        parameter.setdefault("description", description)
        parameter["example"] = example
    name = operation["operationId"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None and "examples" not in body:
        body["example"] = _example(BODIES, name, "BODIES")
    for status, response in operation["responses"].items():
        for header, described in response.get("headers", {}).items():
            described["example"] = _example(HEADERS, header, "HEADERS")
        for kind, content in response.get("content", {}).items():
            if kind == CONTENT_TYPE:
                _exemplify_problem(int(status), response, content)
            elif "examples" not in content:
                content["example"] = _example(ANSWERS, (name, status, kind), "ANSWERS")


def _example(examples: Mapping[Any, Any], key: object, name: str) -> Any:
    """Return an example of the document; raise `LookupError` with the place that lacks it."""
    if key not in examples:
        raise LookupError(f"{key!r} has no example: add one to {name} in {EXAMPLES_FILE}.")
    return examples[key]


def _exemplify_problem(status: int, response: Schema, content: Schema) -> None:
    shown = problem_example(status)
    if status == 400 and "Stage-Validation" in response.get("headers", {}):
        content["examples"] = {
            "UnknownStage": {"summary": "A stage is not known", "value": unknown_stage_example()},
            "InvalidRequest": {"summary": "The shape is not valid", "value": shown},
        }
    else:
        content["example"] = shown


def problem_example(status: int) -> Schema:
    """Return a problem document of that status."""
    slug, detail = PROBLEMS[status]
    shown = _problem(slug, status, detail)
    if status == 400:
        detail = "This field is not known."
        shown["errors"] = [issue("/colour", IssueCode.UNKNOWN_FIELD, detail=detail)]
    return shown


def unknown_stage_example() -> Schema:
    """Return the problem document of a stage that mode enforce refuses."""
    item = issue("/stage_allocation/Seires A", IssueCode.UNKNOWN_STAGE, received="Seires A")
    return {
        **_problem("unknown-stage", 400, "1 of 3 stages is not known."),
        "mode": "enforce",
        "policy_version": 17,
        "valid_stages": VALID_STAGES,
        "errors": [{**item, "suggestions": ["series-a"]}],
    }


def _problem(slug: str, status: int, detail: str) -> Schema:
    return {
        "type": f"/problems/{slug}",
        "title": CATALOGUE[slug][0],
        "status": status,
        "detail": detail,
        "instance": EXAMPLE_ID,
    }
