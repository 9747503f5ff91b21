"""PATCH: given members change, the result is checked, and a stored stage is never refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, PortfolioStrategy, StrategyStageAllocation

ADDRESS = "/api/portfolio/strategies"
SetMode = Callable[..., int]


@pytest.fixture
def stored(api: APIClient, fund: Fund) -> dict[str, Any]:
    """A strategy with an unknown stage, made while that was let through."""
    body = {
        "fund_id": fund.pk,
        "name": "Core",
        "check_size": {"min": 10, "target": 20, "max": 30},
        "stage_allocation": {"Seires A": 0.25, "Seed Round": 0.75},
        "tags": ["old"],
    }
    answer = api.post(ADDRESS, body)
    assert answer.status_code == 201
    return dict(answer.json())


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("patch", "differs"),
    [
        ({}, set()),
        ({"name": "New"}, {"name"}),
        ({"description": "d", "reserve_ratio": 0.1}, {"description", "reserve_ratio"}),
        ({"target_portfolio_size": 30}, {"target_portfolio_size"}),
        ({"max_portfolio_size": 25}, {"max_portfolio_size"}),
        (
            {"target_portfolio_size": 40, "max_portfolio_size": 50},
            {"target_portfolio_size", "max_portfolio_size"},
        ),
        ({"check_size": {}}, set()),
        ({"check_size": {"max": 20}}, {"check_size"}),
        ({"check_size": None}, {"check_size"}),
        ({"tags": []}, {"tags"}),
        ({"sector_allocation": {"a": 1}}, {"sector_allocation"}),
        ({"target_irr": 0.5}, {"target_irr"}),
        ({"stage_allocation": {"series-b": 1}}, {"stage_allocation", "stages"}),
    ],
)
def test_only_what_is_given_changes(
    api: APIClient, stored: dict[str, Any], patch: dict[str, Any], differs: set[str]
) -> None:
    one = f"{ADDRESS}/{stored['id']}"
    answer = api.patch(one, patch)
    assert answer.status_code == 200
    assert changed(stored, answer.json()) - {"updated_at"} == differs
    assert api.get(one).json() == {
        name: value for name, value in answer.json().items() if name != "warnings"
    }


def test_a_check_size_is_merged_member_by_member(api: APIClient, stored: dict[str, Any]) -> None:
    one = f"{ADDRESS}/{stored['id']}"
    assert api.patch(one, {"check_size": {"min": None, "max": 25.5}}).json()["check_size"] == {
        "min": None,
        "target": 20.0,
        "max": 25.5,
    }
    assert api.patch(one, {"check_size": None}).json()["check_size"] == {
        "min": None,
        "target": None,
        "max": None,
    }


@pytest.mark.parametrize(
    ("patch", "errors"),
    [
        ({"target_portfolio_size": 31}, [("/target_portfolio_size", "out_of_order")]),
        ({"max_portfolio_size": 24}, [("/max_portfolio_size", "out_of_order")]),
        ({"check_size": {"min": 21}}, [("/check_size/min", "out_of_order")]),
        ({"check_size": {"max": 19}}, [("/check_size/max", "out_of_order")]),
        ({"check_size": {"target": None, "max": 9}}, [("/check_size/max", "out_of_order")]),
        ({"fund_id": 1}, [("/fund_id", "unknown_field")]),
        ({"id": 1, "name": ""}, [("/name", "blank"), ("/id", "unknown_field")]),
        ({"stage_allocation": {"seed": 0.9}}, [("/stage_allocation", "weights_not_one")]),
        ({"name": None}, [("/name", "null")]),
        ([], [("", "invalid")]),
    ],
)
def test_what_would_result_is_checked_and_a_refusal_changes_nothing(
    api: APIClient, stored: dict[str, Any], patch: Any, errors: list[tuple[str, str]]
) -> None:
    one = f"{ADDRESS}/{stored['id']}"
    answer = api.patch(one, patch)
    assert answer.status_code == 400
    assert [(item["pointer"], item["code"]) for item in answer.json()["errors"]] == errors
    assert api.get(one).json() == stored


@pytest.mark.parametrize(
    ("allocation", "status"),
    [
        ({"Seires A": 0.25, "Seed Round": 0.75}, 200),
        ({"Seires A": 0.25, "seed": 0.75}, 200),
        ({"Seires A": 1}, 200),
        ({"Seires A": 0.5, "Angel": 0.5}, 400),
        ({"seires a": 1}, 400),
    ],
)
def test_a_stored_unknown_stage_is_not_refused_in_enforce_but_a_new_one_is(
    api: APIClient,
    stored: dict[str, Any],
    set_mode: SetMode,
    allocation: dict[str, float],
    status: int,
) -> None:
    set_mode("enforce")
    answer = api.patch(f"{ADDRESS}/{stored['id']}", {"stage_allocation": allocation})
    assert answer.status_code == status
    if status == 200:
        assert {
            row.spelling: row.weight for row in StrategyStageAllocation.objects.all()
        } == allocation
        return
    assert answer.json()["type"] == "/problems/unknown-stage"
    assert [item["received"] for item in answer.json()["errors"]] == [
        raw for raw in allocation if raw != "Seires A"
    ]
    assert PortfolioStrategy.objects.get().stage_allocations.count() == 2


@pytest.mark.parametrize("mode", ["off", "warn", "enforce"])
def test_what_is_shown_can_be_sent_back_in_every_mode(
    api: APIClient, stored: dict[str, Any], set_mode: SetMode, mode: str
) -> None:
    set_mode(mode)
    members = {
        name: stored[name]
        for name in stored
        if name not in {"id", "fund_id", "stages", "created_at", "updated_at"}
    }
    answer = api.patch(f"{ADDRESS}/{stored['id']}", members)
    assert answer.status_code == 200, answer.json()
    assert answer.json()["stage_allocation"] == stored["stage_allocation"]
    assert changed(stored, answer.json()) <= {"updated_at", "stages"}
    if mode != "off":
        assert answer["Stage-Validation"].endswith("normalized=0; unknown=1")


def test_a_stage_of_another_strategy_is_not_ones_own(
    api: APIClient, stored: dict[str, Any], set_mode: SetMode
) -> None:
    fresh = api.post(
        ADDRESS, {"fund_id": stored["fund_id"], "name": "x", "stage_allocation": {"seed": 1}}
    ).json()
    set_mode("enforce")
    assert (
        api.patch(f"{ADDRESS}/{fresh['id']}", {"stage_allocation": {"Seires A": 1}}).status_code
        == 400
    )


@pytest.mark.django_db(transaction=True)
def test_changes_and_a_deletion_at_once_neither_fail_nor_leave_rows(
    transactional_db: None, api: APIClient, stored: dict[str, Any]
) -> None:
    one = f"{ADDRESS}/{stored['id']}"
    start = threading.Barrier(12)

    def send(n: int) -> int:
        start.wait(30)
        try:
            allocation = {"seed": n / 20, "Series A": 1 - n / 20}
            answer = (
                api.delete(one) if n == 6 else api.patch(one, {"stage_allocation": allocation})
            )
            return int(answer.status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(send, range(12)))
    assert statuses[6] == 204
    assert set(statuses) <= {200, 204, 404}
    assert not StrategyStageAllocation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_changes_at_once_leave_the_rows_of_one_of_them(
    transactional_db: None, api: APIClient, stored: dict[str, Any]
) -> None:
    one = f"{ADDRESS}/{stored['id']}"

    def send(n: int) -> int:
        try:
            return int(
                api.patch(
                    one, {"stage_allocation": {"seed": n / 20, "Series A": 1 - n / 20}}
                ).status_code
            )
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(16))) == {200}
    rows = list(StrategyStageAllocation.objects.values_list("spelling", "weight"))
    assert [spelling for spelling, _ in rows] == ["seed", "Series A"]
    assert sum(weight for _, weight in rows) == pytest.approx(1)
