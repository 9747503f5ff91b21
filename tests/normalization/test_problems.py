"""Every error is a problem document, and its type is a page that says what to do."""

import pytest
from django.test import Client

from normalization.problems import CATALOGUE, Problem
from normalization.serializers import (
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictSerializer,
    escape_pointer,
    parse,
)


@pytest.mark.parametrize("slug", CATALOGUE)
def test_every_problem_type_has_a_page(client: Client, slug: str) -> None:
    page = client.get(f"/problems/{slug}")
    assert page.status_code == 200
    assert CATALOGUE[slug][0] in page.content.decode()


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("get", "/nothing/here", 404),
        ("get", "/problems/none", 404),
        ("post", "/api/deprecations", 405),
    ],
)
@pytest.mark.django_db
def test_errors_outside_the_endpoints_are_problems_too(
    client: Client, method: str, address: str, status: int
) -> None:
    answer = getattr(client, method)(address)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    if status == 405:
        assert answer["Allow"] == "GET, HEAD, OPTIONS"


JSON, PAGE = "application/json", "text/html"


@pytest.mark.parametrize(
    ("method", "address", "accept", "status"),
    [
        ("post", "/api/deprecations", PAGE, 405),
        ("post", "/api/docs", PAGE, 405),
        ("options", "/api/docs", PAGE, 405),
        ("post", "/api/schema", "*/*", 405),
        ("get", "/api/schema", PAGE, 406),
        ("get", "/api/deprecations", "application/xml", 406),
        *(
            (method, f"/{name}", JSON, 405)
            for name in ("healthz", "readyz", "metrics")
            for method in ("post", "options")
        ),
    ],
)
@pytest.mark.django_db
def test_a_problem_is_json_whatever_the_address_renders_otherwise(
    client: Client, method: str, address: str, accept: str, status: int
) -> None:
    client.handler.enforce_csrf_checks = True
    answer = getattr(client, method)(address, headers={"accept": accept})
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert status != 405 or method.upper() not in answer["Allow"]


@pytest.mark.django_db
def test_the_list_of_deprecations_describes_itself_to_a_browser_as_well(client: Client) -> None:
    answer = client.options("/api/deprecations", headers={"accept": PAGE})
    assert (answer.status_code, answer["Content-Type"]) == (200, JSON)
    assert PAGE in answer.json()["renders"]


def test_a_form_without_its_token_is_told_what_to_do() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/")
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
    assert "Load the page again" in answer.json()["detail"]


def test_a_host_that_is_not_ours_is_named_as_the_reason(client: Client) -> None:
    answer = client.get("/healthz", headers={"host": "elsewhere.example"})
    assert (answer.status_code, "Host" in answer.json()["detail"]) == (400, True)


class Inner(StrictSerializer):
    """One weighted name."""

    name = StrictCharField(max_length=3)
    weight = StrictFloatField(min_value=0)


class Outer(StrictSerializer):
    """Everything a shape can have."""

    count = StrictIntegerField(min_value=1, max_value=9)
    items = Inner(many=True)


def faults(body: object) -> set[tuple[str, str]]:
    try:
        parse(Outer, body)
    except Problem as problem:
        return {
            (item["pointer"], item["code"])
            for item in problem.errors
            if problem.status_code == 400
        }
    return set()


GOOD = {"count": 1, "items": [{"name": "a", "weight": 1}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GOOD, set()),
        ({}, {("/count", "required"), ("/items", "required")}),
        (
            {**GOOD, "more": 1, "a/b~c": 2},
            {("/more", "unknown_field"), ("/a~1b~0c", "unknown_field")},
        ),
        ({**GOOD, "count": True}, {("/count", "invalid")}),
        ({**GOOD, "count": "1"}, {("/count", "invalid")}),
        ({**GOOD, "count": 1.5}, {("/count", "invalid")}),
        ({**GOOD, "count": 1.0}, set()),
        ({**GOOD, "count": 10}, {("/count", "max_value")}),
        ({**GOOD, "count": 10**30}, {("/count", "max_value")}),
        ({**GOOD, "count": None}, {("/count", "null")}),
        ({**GOOD, "items": {}}, {("/items", "not_a_list")}),
        ({**GOOD, "items": [1]}, {("/items/0", "invalid")}),
        (
            {
                "count": 0,
                "items": [{"name": "a", "weight": 1}, {"name": "long", "weight": -1, "x": 0}],
            },
            {
                ("/count", "min_value"),
                ("/items/1/name", "max_length"),
                ("/items/1/weight", "min_value"),
                ("/items/1/x", "unknown_field"),
            },
        ),
        ({**GOOD, "items": [{"name": "a", "weight": 10**400}]}, {("/items/0/weight", "overflow")}),
        (
            {**GOOD, "items": [{"name": 5, "weight": True}]},
            {("/items/0/name", "invalid"), ("/items/0/weight", "invalid")},
        ),
        (
            {**GOOD, "items": [{"name": "\ud800", "weight": 1}]},
            {("/items/0/name", "surrogate_characters_not_allowed")},
        ),
        (
            {**GOOD, "items": [{"name": "\x00", "weight": 1}]},
            {("/items/0/name", "null_characters_not_allowed")},
        ),
        ([], {("", "invalid")}),
        (None, {("", "null")}),
        ("x", {("", "invalid")}),
    ],
)
def test_all_faults_of_a_body_are_named_at_once_with_their_places(
    body: object, expected: set[tuple[str, str]]
) -> None:
    assert faults(body) == expected


def test_a_pointer_token_is_escaped_as_rfc_6901_says() -> None:
    assert escape_pointer("~1/a") == "~01~1a"
