"""Weights of stages: one rule for their sum in every mode, and sums that are decimal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, StrategyStageAllocation

STRATEGIES = "/api/portfolio/strategies"
SIMULATE = "/api/monte-carlo/simulate"
SIX = ["pre-seed", "seed", "series-a", "series-b", "series-c", "series-c+"]
SPELLINGS = [*SIX, "Seed", "SEED", "Seed Round", "seed-round", "Series A", "Series B"]
MODES = ["off", "warn", "enforce"]
SetMode = Callable[..., int]


def create(api: APIClient, fund: Fund, allocation: Any) -> Any:
    return api.post(
        STRATEGIES, {"fund_id": fund.pk, "name": "Core", "stage_allocation": allocation}
    )


def simulate(api: APIClient, fund: Fund, weights: Any) -> Any:
    distribution = [{"stage": stage, "weight": weight} for stage, weight in weights]
    body = {"fund_id": fund.pk, "runs": 100, "seed": 7, "stage_distribution": distribution}
    return api.post(SIMULATE, body)


SUMS: list[tuple[list[float], str]] = [
    ([1], "fine"),
    ([0.5, 0.5 + 1e-6], "fine"),
    ([0.5, 0.5 - 1e-6], "fine"),
    ([0.1] * 10, "fine"),
    ([1 / 3] * 3, "fine"),
    ([0.5, 0.5 + 2e-6], "rescaled"),
    ([0.5, 0.5 - 1e-4], "rescaled"),
    ([0.1667] * 6, "rescaled"),
    ([0.167] * 6, "rescaled"),
    ([0.3333] * 3, "rescaled"),
    ([0.333] * 3, "rescaled"),
    ([1.0005], "rescaled"),
    ([0.9995], "rescaled"),
    ([1.00050001], "refused"),
    ([0.5, 0.501], "rescaled"),
    ([0.5, 0.5011], "refused"),
    ([1.005, *[0] * 9], "rescaled"),
    ([1.005, *[0] * 8], "refused"),
    ([0.5, 0.505, *[0] * 10], "rescaled"),
    ([0.5, 0.5051, *[0] * 10], "refused"),
    ([0.9], "refused"),
    ([0, 0], "refused"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("weights", "verdict"), SUMS)
def test_one_rule_for_the_sum_holds_in_every_mode(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str, weights: list[float], verdict: str
) -> None:
    set_mode(mode)
    items = list(zip(SPELLINGS, weights, strict=False))
    answers = {
        "/stage_allocation": create(api, fund, dict(items)),
        "/stage_distribution": simulate(api, fund, items),
    }
    for pointer, answer in answers.items():
        body = answer.json()
        assert (answer.status_code >= 400) is (verdict == "refused"), body
        told = body.get("errors") or body.get("warnings", [])
        sums = [item for item in told if item["code"] == "weights_not_one"]
        assert [item["pointer"] for item in sums] == ([] if verdict == "fine" else [pointer])
    if verdict != "refused":
        stored = StrategyStageAllocation.objects.values_list("weight", flat=True)
        assert abs(sum(stored) - 1) < (1.1e-6 if verdict == "fine" else 1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("weights", "total"),
    [
        ([50, 30, 20], "100"),
        ([100], "100"),
        ([33.3, 33.3, 33.3], "99.9"),
        ([16.67] * 6, "100.02"),
        ([99.5, 0.5], "100"),
    ],
)
def test_percentages_are_refused_with_the_remedy(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str, weights: list[float], total: str
) -> None:
    set_mode(mode)
    items = list(zip(SIX, weights, strict=False))
    for answer in (create(api, fund, dict(items)), simulate(api, fund, items)):
        assert answer.status_code == 400
        [error] = answer.json()["errors"]
        assert error["code"] == "weights_not_one"
        assert error["detail"] == (
            f"Weights are fractions that sum to 1; these sum to {total}: divide by 100."
        )


@pytest.mark.parametrize("weights", [[50, 30, 10], [50, -30, 80], [0.5, 99.7], [1000]])
def test_other_large_weights_are_refused_one_by_one(
    api: APIClient, fund: Fund, weights: list[float]
) -> None:
    answer = create(api, fund, dict(zip(SIX, weights, strict=False)))
    codes = {error["code"] for error in answer.json()["errors"]}
    assert answer.status_code == 400
    assert codes <= {"max_value", "min_value"}


def test_a_rescaled_sum_names_the_sum_that_came(api: APIClient, fund: Fund) -> None:
    body = create(api, fund, dict.fromkeys(SIX, 0.1667)).json()
    assert body["warnings"] == [
        {
            "pointer": "/stage_allocation",
            "code": "weights_not_one",
            "detail": "The weights sum to 1.0002; they were rescaled to sum to 1.",
        }
    ]
    assert body["stage_allocation"] == pytest.approx(dict.fromkeys(SIX, 1 / 6), abs=1e-15)


def test_enforce_refuses_for_the_stage_alone_where_warn_accepts(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    allocation = {"Angel": 0.5, "seed": 0.5001}
    set_mode("warn")
    accepted = create(api, fund, allocation)
    assert accepted.status_code == 201
    assert {item["code"] for item in accepted.json()["warnings"]} == {
        "unknown_stage",
        "weights_not_one",
    }
    set_mode("enforce")
    refused = create(api, fund, allocation)
    assert refused.json()["type"] == "/problems/unknown-stage"
    assert [item["pointer"] for item in refused.json()["errors"]] == ["/stage_allocation/Angel"]


def test_an_unknown_stage_is_rescaled_with_the_others(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    body = create(api, fund, {"Angel": 0.25, "seed": 0.7505}).json()
    assert body["stage_allocation"] == pytest.approx(
        {"Angel": 0.25 / 1.0005, "seed": 0.7505 / 1.0005}, abs=1e-15
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_change_follows_the_rule_for_the_sum(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str
) -> None:
    set_mode(mode)
    one = f"{STRATEGIES}/{create(api, fund, {'seed': 1}).json()['id']}"
    for weights, verdict in SUMS:
        allocation = dict(zip(SPELLINGS, weights, strict=False))
        answer = api.patch(one, {"stage_allocation": allocation})
        expected = 400 if verdict == "refused" else 200
        assert answer.status_code == expected, (weights, answer.json())
        told = answer.json().get("errors") or answer.json().get("warnings", [])
        codes = {item["code"] for item in told}
        assert ("weights_not_one" in codes) is (verdict != "fine"), weights


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stored", [[0.4999, 0.5], [0.50005, 0.5], [0.1667] * 6, [1 / 3] * 3])
def test_a_stored_strategy_can_be_sent_back_in_every_mode(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str, stored: list[float]
) -> None:
    made = create(api, fund, dict(zip(SIX, [1 / len(stored)] * len(stored), strict=False))).json()
    for row, weight in zip(
        StrategyStageAllocation.objects.order_by("position"), stored, strict=True
    ):
        row.weight = weight  # as an earlier release stored it
        row.save()
    set_mode(mode)
    one = f"{STRATEGIES}/{made['id']}"
    shown = api.get(one).json()["stage_allocation"]
    answer = api.patch(one, {"stage_allocation": shown})
    assert answer.status_code == 200, answer.json()
    again = api.patch(one, {"stage_allocation": answer.json()["stage_allocation"]})
    assert again.json()["stage_allocation"] == answer.json()["stage_allocation"]
    assert "warnings" not in again.json()


@pytest.mark.parametrize(
    "same",
    [
        [[("seed", 0.3), ("series-a", 0.7)], [("series-a", 0.7), ("seed", 0.3)]],
        [[("seed", 0.1), ("Seed", 0.2), ("series-a", 0.7)], [("seed", 0.3), ("series-a", 0.7)]],
        [[("seed", 0.1 + 0.2), ("series-a", 0.7)], [("seed", 0.3), ("series-a", 0.7)]],
        [
            [("seed", 0.1), ("Seed", 0.2), ("series-a", 0.7001)],
            [("seed", 0.3), ("series-a", 0.7001)],
        ],
        [[("seed", 0.1)] + [(text, 0.1) for text in SPELLINGS[6:9]] + [("series-a", 0.6)],
         [("seed", 0.4), ("series-a", 0.6)]],
    ],
)  # fmt: skip
def test_the_same_mix_in_other_items_is_the_same_simulation(
    api: APIClient, fund: Fund, same: list[list[tuple[str, float]]]
) -> None:
    first, second = (simulate(api, fund, weights).json() for weights in same)
    assert first["parameters_hash"] == second["parameters_hash"]
    assert first["stage_mix"] == second["stage_mix"]
    assert first["tvpi"] == second["tvpi"]
