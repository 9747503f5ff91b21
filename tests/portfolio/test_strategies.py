"""Strategies over HTTP: what is stored, shown, changed and deleted, and who may do it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, PortfolioStrategy, StrategyStageAllocation

ADDRESS = "/api/portfolio/strategies"
SetMode = Callable[..., int]
ApiFor = Callable[..., APIClient]


@pytest.fixture
def other(db: None) -> Fund:
    return Fund.objects.create(name="Birch Capital II")


def new(fund: Fund, **members: Any) -> dict[str, Any]:
    return {
        "fund_id": fund.pk,
        "name": "Core",
        "stage_allocation": {"seed": 0.5, "series-a": 0.5},
        **members,
    }


def made(api: APIClient, fund: Fund, **members: Any) -> dict[str, Any]:
    answer = api.post(ADDRESS, new(fund, **members))
    assert answer.status_code == 201, answer.json()
    return dict(answer.json())


def rows() -> list[tuple[str, str | None, float]]:
    return list(StrategyStageAllocation.objects.values_list("spelling", "stage", "weight"))


def test_a_new_strategy_has_the_defaults_and_a_location(api: APIClient, fund: Fund) -> None:
    answer = api.post(ADDRESS, new(fund))
    body = answer.json()
    assert answer.status_code == 201
    assert answer["Location"] == f"{ADDRESS}/{body['id']}"
    assert api.get(answer["Location"]).json() == body
    assert {
        name: body[name] for name in body if name not in {"id", "created_at", "updated_at"}
    } == {
        "fund_id": fund.pk,
        "name": "Core",
        "description": "",
        "model_type": "balanced",
        "target_portfolio_size": 25,
        "max_portfolio_size": 30,
        "deployment_months": 36,
        "check_size": {"min": None, "target": None, "max": None},
        "sector_allocation": {},
        "stage_allocation": {"seed": 0.5, "series-a": 0.5},
        "stages": [
            {"spelling": "seed", "stage": "seed", "weight": 0.5},
            {"spelling": "series-a", "stage": "series-a", "weight": 0.5},
        ],
        "reserve_ratio": 0.5,
        "risk_tolerance": "moderate",
        "target_irr": None,
        "target_multiple": None,
        "tags": [],
    }
    assert PortfolioStrategy.objects.get().client == "tests"


def test_every_member_is_kept(api: APIClient, fund: Fund) -> None:
    members = {
        "name": "Growth é",
        "description": "  Later, larger.\n",
        "model_type": "concentrated",
        "target_portfolio_size": 10,
        "max_portfolio_size": 10,
        "deployment_months": 1,
        "check_size": {"min": 0.1, "target": 250_000, "max": 999_999_999_999.99},
        "sector_allocation": {"Health/bio~tech": 0.25, "Fintech": 0.75},
        "reserve_ratio": 0,
        "risk_tolerance": "high",
        "target_irr": 0.25,
        "target_multiple": 3.5,
        "tags": ["a", "b"],
    }
    body = made(api, fund, **members)
    assert {name: body[name] for name in members} == members
    strategy = PortfolioStrategy.objects.get()
    assert (strategy.check_size_min, strategy.check_size_max) == (
        Decimal("0.10"),
        Decimal("999999999999.99"),
    )


def test_spelling_and_stage_are_kept_one_row_per_stage(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    allocation = {
        "Series A": 0.25,
        "Seires B": 0.125,
        "series_a": 0.25,
        "SEED": 0.25,
        "Angel": 0.125,
    }
    body = made(api, fund, stage_allocation=allocation)
    assert rows() == [
        ("Series A", "series-a", 0.5),
        ("Seires B", None, 0.125),
        ("SEED", "seed", 0.25),
        ("Angel", None, 0.125),
    ]
    assert body["stage_allocation"] == {
        "series-a": 0.5,
        "Seires B": 0.125,
        "seed": 0.25,
        "Angel": 0.125,
    }
    told = {(item["code"], item["pointer"]) for item in body["warnings"]}
    assert told == {
        ("unknown_stage", "/stage_allocation/Seires B"),
        ("unknown_stage", "/stage_allocation/Angel"),
        ("duplicate_stage", "/stage_allocation/series_a"),
    }


INVALID: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"name": ""}, [("/name", "blank")]),
    ({"name": "   "}, [("/name", "blank")]),
    ({"name": "x" * 101}, [("/name", "max_length")]),
    ({"name": 7}, [("/name", "invalid")]),
    ({"name": None}, [("/name", "null")]),
    ({"name": "a\0b"}, [("/name", "null_characters_not_allowed")]),
    ({"description": "x" * 501}, [("/description", "max_length")]),
    ({"model_type": ""}, [("/model_type", "blank")]),
    ({"target_portfolio_size": 0}, [("/target_portfolio_size", "min_value")]),
    ({"target_portfolio_size": True}, [("/target_portfolio_size", "invalid")]),
    ({"target_portfolio_size": 1.5}, [("/target_portfolio_size", "invalid")]),
    ({"target_portfolio_size": "25"}, [("/target_portfolio_size", "invalid")]),
    ({"target_portfolio_size": 31}, [("/target_portfolio_size", "out_of_order")]),
    ({"max_portfolio_size": 24}, [("/max_portfolio_size", "out_of_order")]),
    (
        {"target_portfolio_size": 9, "max_portfolio_size": 8},
        [("/target_portfolio_size", "out_of_order")],
    ),
    ({"deployment_months": 10**30}, [("/deployment_months", "max_value")]),
    (
        {"max_portfolio_size": 10**400, "target_portfolio_size": 10**401},
        [
            ("/target_portfolio_size", "max_value"),
            ("/max_portfolio_size", "max_value"),
            ("/target_portfolio_size", "out_of_order"),
        ],
    ),
    ({"check_size": 7}, [("/check_size", "invalid")]),
    ({"check_size": {"min": 2, "max": 1}}, [("/check_size/min", "out_of_order")]),
    ({"check_size": {"min": 1, "target": 3, "max": 2}}, [("/check_size/target", "out_of_order")]),
    (
        {"check_size": {"min": -1, "low": 1}},
        [("/check_size/min", "min_value"), ("/check_size/low", "unknown_field")],
    ),
    ({"check_size": {"max": 1e300}}, [("/check_size/max", "max_value")]),
    ({"check_size": {"max": 10**400}}, [("/check_size/max", "overflow")]),
    ({"sector_allocation": []}, [("/sector_allocation", "not_a_dict")]),
    ({"sector_allocation": {"a": 0.6, "b": 0.5}}, [("/sector_allocation", "shares_above_one")]),
    (
        {"sector_allocation": {"a/b": 1.5, "~": True}},
        [("/sector_allocation/a~1b", "max_value"), ("/sector_allocation/~0", "invalid")],
    ),
    ({"sector_allocation": {"x" * 101: 0}}, [(f"/sector_allocation/{'x' * 101}", "max_length")]),
    (
        {"sector_allocation": {str(n): 0 for n in range(51)}},
        [("/sector_allocation", "max_length")],
    ),
    ({"stage_allocation": None}, [("/stage_allocation", "null")]),
    ({"stage_allocation": []}, [("/stage_allocation", "not_an_object")]),
    ({"stage_allocation": {}}, [("/stage_allocation", "empty")]),
    ({"stage_allocation": {"seed": 0, "series-a": 0}}, [("/stage_allocation", "weights_not_one")]),
    (
        {"stage_allocation": {"seed": 0.5, "series-a": 0.498}},
        [("/stage_allocation", "weights_not_one")],
    ),
    (
        {"stage_allocation": {"seed": 1.5, "series-a": -0.5}},
        [("/stage_allocation/seed", "max_value"), ("/stage_allocation/series-a", "min_value")],
    ),
    ({"stage_allocation": {"seed": "1"}}, [("/stage_allocation/seed", "invalid")]),
    ({"stage_allocation": {"seed": True}}, [("/stage_allocation/seed", "invalid")]),
    ({"stage_allocation": {"seed": 10**400}}, [("/stage_allocation/seed", "overflow")]),
    ({"stage_allocation": {"a/~b": 2}}, [("/stage_allocation/a~1~0b", "max_value")]),
    ({"stage_allocation": {"x" * 256: 1}}, [(f"/stage_allocation/{'x' * 256}", "max_length")]),
    (
        {"stage_allocation": {f"stage {n}": 1 / 1001 for n in range(1001)}},
        [("/stage_allocation", "max_length")],
    ),
    ({"reserve_ratio": 1.01}, [("/reserve_ratio", "max_value")]),
    ({"reserve_ratio": False}, [("/reserve_ratio", "invalid")]),
    ({"target_irr": -1}, [("/target_irr", "min_value")]),
    ({"target_multiple": "3"}, [("/target_multiple", "invalid")]),
    ({"tags": "a"}, [("/tags", "not_a_list")]),
    ({"tags": ["a"] * 11}, [("/tags", "max_length")]),
    ({"tags": ["a", "x" * 51, 3]}, [("/tags/1", "max_length"), ("/tags/2", "invalid")]),
    ({"colour": 1, "a/b~c": 2}, [("/a~1b~0c", "unknown_field"), ("/colour", "unknown_field")]),
    ({"fund_id": "1"}, [("/fund_id", "invalid")]),
    ({"fund_id": True}, [("/fund_id", "invalid")]),
    ({"fund_id": 1.5}, [("/fund_id", "invalid")]),
    ({"deployment_months": 36.5}, [("/deployment_months", "invalid")]),
    ({"deployment_months": 241.0}, [("/deployment_months", "max_value")]),
    (
        {
            "fund_id": None,
            "name": 1,
            "stage_allocation": {"seed": 2},
            "check_size": {"min": 2, "max": 1},
        },
        [
            ("/fund_id", "null"),
            ("/name", "invalid"),
            ("/stage_allocation/seed", "max_value"),
            ("/check_size/min", "out_of_order"),
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("members", "errors"), INVALID)
def test_a_faulty_member_is_named_and_nothing_is_stored(
    api: APIClient, fund: Fund, members: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    answer = api.post(ADDRESS, new(fund, **members))
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert answer.json()["type"] == "/problems/invalid-request"
    assert [(item["pointer"], item["code"]) for item in answer.json()["errors"]] == errors
    assert not PortfolioStrategy.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        *(
            "null",
            "[]",
            '"x"',
            "7",
            "true",
            "{",
            '{"name": 1e999}',
            '{"name": NaN}',
            '{"name": 1, "name": 2}',
        ),
        *('{"\\ud800": 1}', '{"name": "\\ud800"}', '{"stage_allocation": {"\\ud800": 1}}'),
        *('{"sector_allocation": {"\\ud800": 1}}', '{"tags": ["\\ud800"]}'),
    ],
)
def test_a_body_that_is_no_strategy_at_all_is_a_problem(api: APIClient, body: str) -> None:
    answer = api.generic("POST", ADDRESS, body, content_type="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")


def test_without_a_body_the_required_members_are_named(api: APIClient) -> None:
    errors = api.post(ADDRESS, {}).json()["errors"]
    assert {(item["pointer"], item["code"]) for item in errors} == {
        ("/fund_id", "required"),
        ("/name", "required"),
        ("/stage_allocation", "required"),
    }


@pytest.mark.parametrize("fund_id", [0, -1, 9_999_999, 2**63, 10**300])
def test_a_fund_that_is_not_there_is_404_whatever_else_is_wrong(
    api: APIClient, fund: Fund, fund_id: int
) -> None:
    answer = api.post(ADDRESS, {"fund_id": fund_id, "name": 7})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_a_fund_out_of_the_keys_scope_looks_missing_everywhere(
    api: APIClient, api_for: ApiFor, fund: Fund, other: Fund
) -> None:
    theirs = made(api, other)
    limited = api_for("limited", funds=[fund.pk])
    one = f"{ADDRESS}/{theirs['id']}"
    answers = [
        limited.post(ADDRESS, new(other)),
        limited.get(ADDRESS, {"fund_id": other.pk}),
        limited.get(one),
        limited.patch(one, {"name": "Mine"}),
        limited.delete(one),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert limited.get(ADDRESS).json()["strategies"] == []
    assert api.get(one).json() == theirs


def test_a_read_only_key_may_only_look(api: APIClient, api_for: ApiFor, fund: Fund) -> None:
    one = f"{ADDRESS}/{made(api, fund)['id']}"
    reader = api_for("reader", read_only=True)
    answers = [
        reader.post(ADDRESS, new(fund)),
        reader.patch(one, {"name": "x"}),
        reader.delete(one),
    ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert reader.get(one).status_code == reader.get(ADDRESS).status_code == 200
    assert PortfolioStrategy.objects.count() == 1


@pytest.mark.parametrize("strategy_id", ["0", "9999999", str(2**63), "9" * 5000, "x", "-1"])
def test_a_strategy_that_is_not_there_is_a_404_problem(api: APIClient, strategy_id: str) -> None:
    for method in ("get", "patch", "delete"):
        answer = getattr(api, method)(
            f"{ADDRESS}/{strategy_id}", *([{}] if method == "patch" else [])
        )
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_deleting_takes_the_rows_and_answers_nothing(api: APIClient, fund: Fund) -> None:
    kept = made(api, fund)
    one = f"{ADDRESS}/{made(api, fund)['id']}"
    answer = api.delete(one)
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get(one).status_code == api.delete(one).status_code == 404
    assert set(StrategyStageAllocation.objects.values_list("strategy_id", flat=True)) == {
        kept["id"]
    }
