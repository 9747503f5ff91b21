"""Weights by text become weights by stage; nothing is dropped and nothing is merged in silence."""

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.stages import BUILTIN, Stage, Unknown, Weights, normalize_weights


def test_weights_come_in_stage_order() -> None:
    weights = normalize_weights({"Series C+": 0.2, "SEED_ROUND": 0.5, "series a": 0.3})
    assert list(weights.by_stage.items()) == [
        (Stage.SEED, 0.5),
        (Stage.SERIES_A, 0.3),
        (Stage.SERIES_C_PLUS, 0.2),
    ]
    assert weights.unknown == ()
    assert weights.merged == ()


def test_spellings_of_one_stage_are_added_up_and_reported_in_order() -> None:
    weights = normalize_weights(
        [("Seed", 0.25), ("series-b", 0.25), ("seed round", 0.25), ("seed", 0.25)]
    )
    assert weights.by_stage == {Stage.SEED: 0.75, Stage.SERIES_B: 0.25}
    assert weights.merged == ((Stage.SEED, ("Seed", "seed round", "seed")),)


def test_one_spelling_given_twice_is_reported_as_well() -> None:
    assert normalize_weights([("seed", 0.5), ("seed", 0.5)]).merged == (
        (Stage.SEED, ("seed", "seed")),
    )


def test_unknown_stages_keep_their_weight_and_are_never_treated_as_another() -> None:
    # The lost 5 %: `series-c-` is not series-c, and its weight is still there to be seen.
    weights = normalize_weights({"series-c-": 0.05, "series-c": 0.95})
    assert weights.by_stage == {Stage.SERIES_C: 0.95}
    assert weights.unknown == (
        (Unknown("series-c-", (Stage.SERIES_C_PLUS, Stage.SERIES_C)), 0.05),
    )


def test_the_operators_spellings_count() -> None:
    table = BUILTIN.extended({"Angel": Stage.PRE_SEED}, version=1)
    assert normalize_weights({"angel": 1.0}, table).by_stage == {Stage.PRE_SEED: 1.0}


@pytest.mark.parametrize("none", [{}, [], iter(())])
def test_no_weights_are_no_stages(none: Iterable[tuple[str, float]]) -> None:
    assert normalize_weights(none) == Weights({}, (), ())


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan, 1e308, -1.0])
def test_weights_are_not_judged_here(odd: float) -> None:
    assert (
        Stage.SEED
        in normalize_weights([("seed", odd), ("Seed", 1e308), ("SEED", -math.inf)]).by_stage
    )


spelled = st.sampled_from(
    ["seed", "Seed", "series a", "SERIES_A", "series-c-", "Series D", "series-c+", ""]
)


@given(st.lists(st.tuples(spelled, st.integers(0, 100).map(float)), max_size=12))
def test_no_weight_is_lost(items: list[tuple[str, float]]) -> None:
    weights = normalize_weights(items)
    assert sum(weights.by_stage.values()) + sum(weight for _, weight in weights.unknown) == sum(
        w for _, w in items
    )
    assert list(weights.by_stage) == sorted(weights.by_stage)
    assert all(len(raws) > 1 for _, raws in weights.merged)
