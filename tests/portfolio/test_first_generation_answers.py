"""Answers without the members of the second generation stay as recorded, to the last digit.

The bodies in tests/data/monte_carlo_v1_answers.json were recorded from the code before market-v2
existed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund

RECORDED = json.loads(
    (Path(__file__).parents[1] / "data" / "monte_carlo_v1_answers.json").read_text("utf-8")
)


@pytest.mark.parametrize("recorded", RECORDED, ids=[str(n) for n in range(len(RECORDED))])
def test_an_answer_of_the_first_generation_is_the_recorded_one(
    api: APIClient, fund: Fund, settings: Any, recorded: dict[str, Any]
) -> None:
    settings.SIMULATE_THROTTLE = ""
    answer = api.post("/api/monte-carlo/simulate", {**recorded["request"], "fund_id": fund.pk})
    assert answer.status_code == 200, answer.json()
    body = answer.json()
    del body["simulation_id"]
    assert body["parameters"].pop("fund_id") == fund.pk
    assert body == recorded["body"]
    assert list(body) == list(recorded["body"])
