"""The list of strategies: newest first, each once, with cursors valid for one list only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, PortfolioStrategy

ADDRESS = "/api/portfolio/strategies"


@pytest.fixture
def funds(db: None) -> list[Fund]:
    """Two funds with five strategies each, made in turns."""
    made = [Fund.objects.create(name=name) for name in ("Alder", "Birch")]
    for n in range(5):
        for fund in made:
            PortfolioStrategy.objects.create(fund=fund, name=f"{fund.name} {n}")
    return made


def names(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json()
    return [strategy["name"] for strategy in answer.json()["strategies"]]


def pages(api: APIClient, **query: Any) -> list[list[str]]:
    found = []
    cursor: str | None = ""
    while cursor is not None:
        answer = api.get(ADDRESS, {**query, **({"cursor": cursor} if cursor else {})})
        found.append(names(answer))
        cursor = answer.json()["next_cursor"]
    return found


def test_pages_hold_each_strategy_once_newest_first(api: APIClient, funds: list[Fund]) -> None:
    everything = [f"{name} {n}" for n in (4, 3, 2, 1, 0) for name in ("Birch", "Alder")]
    assert pages(api) == [everything]
    assert pages(api, limit=3) == [everything[n : n + 3] for n in range(0, 10, 3)]
    assert pages(api, limit=5) == [everything[:5], everything[5:]]
    assert pages(api, limit=2, fund_id=funds[0].pk) == [
        ["Alder 4", "Alder 3"],
        ["Alder 2", "Alder 1"],
        ["Alder 0"],
    ]


def test_a_strategy_made_meanwhile_shifts_no_page(api: APIClient, funds: list[Fund]) -> None:
    first = api.get(ADDRESS, {"limit": 4})
    PortfolioStrategy.objects.create(fund=funds[0], name="new")
    rest = api.get(ADDRESS, {"cursor": first.json()["next_cursor"]})
    assert len(set(names(first) + names(rest)) - {"new"}) == len(names(first) + names(rest)) == 10


def test_a_key_lists_the_strategies_of_its_funds(
    api_for: Callable[..., APIClient], funds: list[Fund]
) -> None:
    limited = api_for("limited", funds=[funds[1].pk])
    assert pages(limited, limit=3) == [["Birch 4", "Birch 3", "Birch 2"], ["Birch 1", "Birch 0"]]


def test_an_empty_fund_has_an_empty_page(api: APIClient, fund: Fund) -> None:
    assert api.get(ADDRESS, {"fund_id": fund.pk}).json() == {"strategies": [], "next_cursor": None}


def test_a_page_costs_the_same_queries_whatever_its_length(
    api: APIClient, funds: list[Fund], django_assert_num_queries: Callable[..., Any]
) -> None:
    for limit in (1, 10):
        with django_assert_num_queries(3):
            api.get(ADDRESS, {"limit": limit})


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "min_value"),
        ("limit=201", "max_value"),
        ("limit=x", "invalid"),
        ("limit=", "invalid"),
        ("limit=1&limit=2", "repeated_parameter"),
        ("colour=red", "unknown_parameter"),
        ("fund_id=x", "invalid"),
        ("fund_id=%00", "invalid"),
        ("cursor=x", "invalid_cursor"),
        ("cursor=x%00", "null_characters_not_allowed"),
        (f"cursor={'x' * 501}", "max_length"),
    ],
)
def test_a_faulty_parameter_is_named(
    api: APIClient, funds: list[Fund], query: str, code: str
) -> None:
    answer = api.get(f"{ADDRESS}?{query}")
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["in"], error["code"]) == (
        f"/{query.split('=', maxsplit=1)[0]}",
        "query",
        code,
    )


def test_a_cursor_is_good_for_its_own_list_only(api: APIClient, funds: list[Fund]) -> None:
    cursor = api.get(ADDRESS, {"limit": 1}).json()["next_cursor"]
    for query in (
        {"cursor": cursor, "fund_id": funds[0].pk},
        {"cursor": cursor[:-1]},
        {"cursor": "A" + cursor[1:]},
    ):
        answer = api.get(ADDRESS, query)
        assert [error["code"] for error in answer.json()["errors"]] == ["invalid_cursor"]


@pytest.mark.parametrize("fund_id", ["0", "-1", "9999999", str(2**63), "9" * 400])
def test_the_list_of_a_fund_that_is_not_there_is_404(
    api: APIClient, funds: list[Fund], fund_id: str
) -> None:
    assert api.get(ADDRESS, {"fund_id": fund_id}).status_code == 404
