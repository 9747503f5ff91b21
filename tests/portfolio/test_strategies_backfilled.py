"""Strategies and the backfill: stages become canonical, the client's words stay, the API adds up what is one stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from normalization.stages import Stage
from ops.backfill import columns, constraint, control
from ops.backfill.models import BackfillRun
from ops.backfill.survey import unclean_rows
from stagenorm.portfolio.models import Fund, StrategyStageAllocation
from tests.backfill_runs import QUICK, begin, logged, work
from tests.decided import decide, retire

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/portfolio/strategies"
TABLE = "portfolio_strategystageallocation"
SetMode = Callable[..., int]


def made(api: APIClient, fund: Fund, allocation: dict[str, float]) -> dict[str, Any]:
    answer = api.post(
        ADDRESS, {"fund_id": fund.pk, "name": "Core", "stage_allocation": allocation}
    )
    assert answer.status_code == 201, answer.json()
    return dict(answer.json())


def rows() -> list[tuple[str, str]]:
    return list(
        StrategyStageAllocation.objects.order_by("position").values_list("spelling", "stage")
    )


def backfilled() -> BackfillRun:
    finish = work(begin())
    assert (finish.run.state, finish.trouble) == ("completed", "")
    return finish.run


def undone(run: BackfillRun) -> None:
    assert work(control.begin_undo(run.pk, QUICK, "tests")).run.state == "completed"


def test_a_new_strategy_written_with_aliases_is_clean_at_once(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    made(api, fund, {"Series A": 0.5, "SEED ROUND": 0.25, "series-b": 0.25})
    assert rows() == [("Series A", "series-a"), ("SEED ROUND", "seed"), ("series-b", "series-b")]
    assert unclean_rows() == {}


@pytest.mark.parametrize("mode", ["off", "warn"])
def test_an_unknown_stage_is_unclean_until_it_is_mapped_and_its_spelling_stays(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str
) -> None:
    set_mode(mode)
    before = made(api, fund, {"Foo": 0.25, "Seed": 0.75})
    assert before["stages"][0] == {"spelling": "Foo", "stage": None, "weight": 0.25}
    assert unclean_rows() == {TABLE: {"Foo": 1}}
    decide("Foo", Stage.SERIES_A)
    run = backfilled()
    assert rows() == [("Foo", "series-a"), ("Seed", "seed")]
    assert unclean_rows() == {}
    assert [(was, now) for _, was, now in logged(run)] == [("Foo", "series-a")]
    shown = api.get(f"{ADDRESS}/{before['id']}").json()
    assert shown["stages"][0] == {"spelling": "Foo", "stage": "series-a", "weight": 0.25}
    assert shown["stage_allocation"] == {"series-a": 0.25, "seed": 0.75}
    undone(run)
    assert rows() == [("Foo", "Foo"), ("Seed", "seed")]
    assert (
        api.get(f"{ADDRESS}/{before['id']}").json()["stage_allocation"]
        == before["stage_allocation"]
    )


def test_an_unknown_stage_that_is_mapped_to_anothers_is_added_up(
    api: APIClient, fund: Fund
) -> None:
    before = made(api, fund, {"Foo": 0.25, "series-a": 0.5, "seed": 0.25})
    decide("Foo", Stage.SERIES_A)
    run = backfilled()
    assert rows() == [("Foo", "series-a"), ("series-a", "series-a"), ("seed", "seed")]
    one = f"{ADDRESS}/{before['id']}"
    shown = api.get(one).json()
    assert shown["stage_allocation"] == {"series-a": 0.75, "seed": 0.25}
    assert [(row["spelling"], row["stage"], row["weight"]) for row in shown["stages"]] == [
        ("Foo", "series-a", 0.25),
        ("series-a", "series-a", 0.5),
        ("seed", "seed", 0.25),
    ]
    assert api.get(ADDRESS).json()["strategies"] == [shown]
    undone(run)
    assert api.get(one).json()["stages"] == before["stages"]
    backfilled()
    assert api.patch(one, {"stage_allocation": shown["stage_allocation"]}).json()["stages"] == [
        {"spelling": "series-a", "stage": "series-a", "weight": 0.75},
        {"spelling": "seed", "stage": "seed", "weight": 0.25},
    ]


@pytest.mark.parametrize("alias", ["in force", "retired"])
@pytest.mark.parametrize(
    "sent", [{"Foo": 0.25, "seed": 0.75}, {"series-a": 0.25, "Seed": 0.75}, {"Foo": 1}]
)
def test_neither_what_was_written_nor_what_is_shown_is_refused_in_enforce(
    api: APIClient, fund: Fund, set_mode: SetMode, sent: dict[str, float], alias: str
) -> None:
    strategy = made(api, fund, {"Foo": 0.25, "Seed": 0.75})
    decide("Foo", Stage.SERIES_A)
    backfilled()
    if alias == "retired":
        retire("Foo")
    set_mode("enforce")
    one = f"{ADDRESS}/{strategy['id']}"
    assert api.patch(one, {"stage_allocation": {"foo bar": 1}}).status_code == 400
    answer = api.patch(one, {"stage_allocation": sent})
    assert answer.status_code == 200, answer.json()
    stage = "series-a" if alias == "in force" or "Foo" not in sent else "Foo"
    assert rows()[0] == (next(iter(sent)), stage)


@pytest.mark.parametrize("sent", ["what was written", "What Is Shown"])
def test_both_texts_of_an_unknown_stage_are_the_strategys_own(
    api: APIClient, fund: Fund, set_mode: SetMode, sent: str
) -> None:
    strategy = made(api, fund, {"What Is Shown": 1})
    StrategyStageAllocation.objects.update(spelling="what was written")
    set_mode("enforce")
    one = f"{ADDRESS}/{strategy['id']}"
    assert api.get(one).json()["stage_allocation"] == {"What Is Shown": 1}
    assert api.patch(one, {"stage_allocation": {sent: 1}}).json()["stage_allocation"] == {sent: 1}


def test_what_a_backfilled_unknown_was_shown_as_before_is_not_refused_after_an_undo(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    strategy = made(api, fund, {"Foo": 0.25, "Seed": 0.75})
    decide("Foo", Stage.SERIES_A)
    run = backfilled()
    retire("Foo")
    undone(run)
    set_mode("enforce")
    answer = api.patch(
        f"{ADDRESS}/{strategy['id']}", {"stage_allocation": strategy["stage_allocation"]}
    )
    assert answer.status_code == 200, answer.json()
    assert answer.json()["stage_allocation"] == {"Foo": 0.25, "seed": 0.75}


def test_a_table_held_to_canonical_stages_refuses_an_unknown_one_with_the_documented_problem(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    [column] = columns.find([TABLE])
    constraint.validate(column)
    try:
        answer = api.post(
            ADDRESS, {"fund_id": fund.pk, "name": "Core", "stage_allocation": {"Foo": 1}}
        )
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/unknown-stage")
        assert "series-a" in answer.json()["valid_stages"]
        assert not StrategyStageAllocation.objects.exists()
        made(api, fund, {"Series A": 1})
    finally:
        constraint.drop(column)
