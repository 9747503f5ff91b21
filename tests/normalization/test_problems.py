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
    [("get", "/nothing/here", 404), ("get", "/problems/none", 404), ("post", "/api/deprecations", 405)],
)
@pytest.mark.django_db
def test_errors_outside_the_endpoints_are_problems_too(client: Client, method: str, address: str, status: int) -> None:
    answer = getattr(client, method)(address)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    if status == 405:
        assert answer["Allow"] == "GET, HEAD, OPTIONS"


class Inner(StrictSerializer):
    """One weighted name."""

    name = StrictCharField(max_length=3)
    weight = StrictFloatField(min_value=0)


class Outer(StrictSerializer):
    """Everything a shape can have."""

    count = StrictIntegerField(min_value=1, max_value=9)
    items = Inner(many=True)


def faults(body: object) -> set[tuple[str, str]]:
    serializer = Outer(data=body)
    try:
        parse(serializer)
    except Problem as problem:
        return {(item["pointer"], item["code"]) for item in problem.errors if problem.status_code == 400}
    return set()


GOOD = {"count": 1, "items": [{"name": "a", "weight": 1}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (GOOD, set()),
        ({}, {("/count", "required"), ("/items", "required")}),
        ({**GOOD, "more": 1, "a/b~c": 2}, {("/more", "unknown_field"), ("/a~1b~0c", "unknown_field")}),
        ({**GOOD, "count": True}, {("/count", "invalid")}),
        ({**GOOD, "count": "1"}, {("/count", "invalid")}),
        ({**GOOD, "count": 1.0}, {("/count", "invalid")}),
        ({**GOOD, "count": 10}, {("/count", "max_value")}),
        ({**GOOD, "count": 10**30}, {("/count", "max_value")}),
        ({**GOOD, "count": None}, {("/count", "null")}),
        ({**GOOD, "items": {}}, {("/items", "not_a_list")}),
        ({**GOOD, "items": [1]}, {("/items/0", "invalid")}),
        (
            {"count": 0, "items": [{"name": "a", "weight": 1}, {"name": "long", "weight": -1, "x": 0}]},
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
        ({**GOOD, "items": [{"name": "\ud800", "weight": 1}]}, {("/items/0/name", "surrogate_characters_not_allowed")}),
        ({**GOOD, "items": [{"name": "\x00", "weight": 1}]}, {("/items/0/name", "null_characters_not_allowed")}),
        ([], {("", "invalid")}),
        (None, {("", "null")}),
        ("x", {("", "invalid")}),
    ],
)
def test_all_faults_of_a_body_are_named_at_once_with_their_places(body: object, expected: set[tuple[str, str]]) -> None:
    assert faults(body) == expected


def test_a_pointer_token_is_escaped_as_rfc_6901_says() -> None:
    assert escape_pointer("~1/a") == "~01~1a"
