"""Strategies and the backfill: canonical stages, unchanged spellings, summed equal stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError
from rest_framework.test import APIClient

from normalization.stages import Stage
from ops.backfill import columns, constraint, control
from ops.backfill.models import BackfillRun
from stagenorm.portfolio.models import Fund, StrategyStageAllocation
from tests.backfill_runs import QUICK, begin, logged, not_derived, undecided, work
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


def rows() -> list[tuple[str, str | None]]:
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
    assert (not_derived(), undecided()) == ({}, {})


@pytest.mark.parametrize("mode", ["off", "warn"])
def test_an_unknown_stage_is_undecided_until_it_is_decided_and_its_spelling_stays(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str
) -> None:
    set_mode(mode)
    before = made(api, fund, {"Foo": 0.25, "Seed": 0.75})
    assert before["stages"][0] == {"spelling": "Foo", "stage": None, "weight": 0.25}
    assert (not_derived(), undecided()) == ({}, {TABLE: {"Foo": 1}})
    decide("Foo", Stage.SERIES_A)
    assert (not_derived(), undecided()) == ({TABLE: {"Foo": 1}}, {})
    run = backfilled()
    assert rows() == [("Foo", "series-a"), ("Seed", "seed")]
    assert (not_derived(), undecided()) == ({}, {})
    assert [(was, now) for _, was, now in logged(run)] == [(None, "series-a")]
    shown = api.get(f"{ADDRESS}/{before['id']}").json()
    assert shown["stages"][0] == {"spelling": "Foo", "stage": "series-a", "weight": 0.25}
    assert shown["stage_allocation"] == {"series-a": 0.25, "seed": 0.75}
    undone(run)
    assert rows() == [("Foo", None), ("Seed", "seed")]
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
    stage = "series-a" if alias == "in force" or "Foo" not in sent else None
    assert rows()[0] == (next(iter(sent)), stage)


@pytest.mark.parametrize("sent", ["what was written", "held by an earlier release"])
def test_both_texts_of_an_unknown_stage_are_the_strategys_own(
    api: APIClient, fund: Fund, set_mode: SetMode, sent: str
) -> None:
    strategy = made(api, fund, {"what was written": 1})
    StrategyStageAllocation.objects.update(stage="held by an earlier release")
    set_mode("enforce")
    one = f"{ADDRESS}/{strategy['id']}"
    assert api.get(one).json()["stage_allocation"] == {"what was written": 1}
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


def test_a_table_held_to_canonical_stages_keeps_an_unknown_one_in_its_own_words(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    [column] = columns.find([TABLE])
    constraint.validate(column)
    try:
        made(api, fund, {"Foo": 0.5, "Series A": 0.5})
        assert rows() == [("Foo", None), ("Series A", "series-a")]
        with pytest.raises(IntegrityError):
            StrategyStageAllocation.objects.update(stage="Foo")
    finally:
        constraint.drop(column)


def test_a_decided_spelling_keeps_its_own_weight_so_that_a_wrong_decision_can_be_repaired(
    api: APIClient, fund: Fund
) -> None:
    decide("Foo", Stage.SERIES_A)
    sent = {"Foo": 0.25, "series-a": 0.25, "Series A": 0.25, "seed": 0.25}
    before = made(api, fund, sent)
    assert before["stage_allocation"] == {"series-a": 0.75, "seed": 0.25}
    weights = StrategyStageAllocation.objects.order_by("position").values_list(
        "spelling", "weight"
    )
    assert list(weights) == [("Foo", 0.25), ("series-a", 0.5), ("seed", 0.25)]
    retire("Foo")
    backfilled()
    shown = api.get(f"{ADDRESS}/{before['id']}").json()["stage_allocation"]
    assert shown == {"Foo": 0.25, "series-a": 0.5, "seed": 0.25}
