"""The guard's rule: when rejects are more than chance, whom it protects, and that it only takes back."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.guard_rule import (
    WINDOWS_SECONDS,
    GuardAction,
    GuardLimits,
    GuardScope,
    SlotCount,
    evidence,
    is_too_much,
    judge,
    taken_back,
    winsorized,
)
from normalization.rollout import Mode, Rollout, enforces_more

LIMITS = GuardLimits()
SIMULATE, COMPANIES = "monte-carlo-simulate", "fund-companies"


def total(requests: int, endpoint: str = COMPANIES, age: float = 0) -> SlotCount:
    return SlotCount(endpoint, None, age, requests, 0)


def client(
    name: str, requests: int, rejects: int, endpoint: str = COMPANIES, age: float = 0
) -> SlotCount:
    return SlotCount(endpoint, name, age, requests, rejects)


def action_for(
    *counts: SlotCount,
    enforced: int = 20,
    held_out: frozenset[str] = frozenset(),
    pinned: frozenset[str] = frozenset(),
) -> GuardAction | None:
    return judge(
        counts, enforced_clients=enforced, held_out=held_out, pinned=pinned, limits=LIMITS
    )


@pytest.mark.parametrize(
    ("requests", "critical"), [(4, 4), (10, 6), (16, 7), (100, 16), (1000, 63), (10_000, 501)]
)
def test_one_client_is_hurt_from_a_critical_count_on(requests: int, critical: int) -> None:
    needed = LIMITS.client_evidence
    assert is_too_much(requests, critical, LIMITS, needed)
    assert not is_too_much(requests, critical - 1, LIMITS, needed)


@pytest.mark.parametrize(
    ("requests", "critical"), [(3, 3), (10, 5), (100, 13), (1000, 56), (10_000, 501)]
)
def test_everybody_is_hurt_from_a_critical_count_on(requests: int, critical: int) -> None:
    needed = LIMITS.everybody_evidence
    assert is_too_much(requests, critical, LIMITS, needed)
    assert not is_too_much(requests, critical - 1, LIMITS, needed)


def test_fewer_than_three_rejects_never_act() -> None:
    assert not is_too_much(2, 2, LIMITS, 0.0)
    assert action_for(total(2), client("a", 2, 2)) is None


@given(requests=st.integers(1, 10**6), share=st.floats(0, 0.05))
def test_a_share_up_to_the_limit_never_acts(requests: int, share: float) -> None:
    rejects = int(requests * share)
    assert not is_too_much(requests, rejects, LIMITS, 0.0)


@given(requests=st.integers(4, 5000), rejects=st.integers(0, 5000), more=st.integers(1, 50))
def test_more_rejects_are_never_less_evidence(requests: int, rejects: int, more: int) -> None:
    rejects = min(rejects, requests)
    higher = min(rejects + more, requests)
    assert evidence(requests, higher, 0.03) >= evidence(requests, rejects, 0.03)
    needed = LIMITS.client_evidence
    if is_too_much(requests, rejects, LIMITS, needed):
        assert is_too_much(requests, higher, LIMITS, needed)


def test_a_hurt_client_is_held_out_behind_any_traffic_of_the_others() -> None:
    action = action_for(total(5_000), client("deal-flow", 6, 6), enforced=200)
    assert action is not None
    assert (action.scope, action.clients) == (GuardScope.CLIENT, ("deal-flow",))
    assert (action.requests, action.rejects, action.window) == (6, 6, 10)


@pytest.mark.parametrize("age", [0, 5, 55, 295, 3595])
def test_rejects_count_for_an_hour_and_no_longer(age: float) -> None:
    assert action_for(total(6, age=age), client("a", 6, 6, age=age)) is not None
    assert action_for(total(6, age=3600), client("a", 6, 6, age=3600)) is None


@pytest.mark.parametrize("hostile", [1, 2])
def test_one_or_two_hostile_keys_cannot_end_enforcement_for_others(hostile: int) -> None:
    bad = [client(f"bad-{number}", 500, 500) for number in range(hostile)]
    action = action_for(total(10_000), *bad)
    assert action is not None
    assert action.scope is GuardScope.CLIENT


def test_three_hurt_clients_take_enforcement_back_for_everybody() -> None:
    bad = [client(name, 20, 10) for name in ("a", "b", "c")]
    action = action_for(total(100), *bad)
    assert action is not None
    assert action.scope is GuardScope.EVERYBODY


@pytest.mark.parametrize(("enforced", "needed"), [(1, 3), (30, 3), (31, 4), (200, 20)])
def test_a_tenth_of_the_clients_but_at_least_three_have_to_be_hurt(
    enforced: int, needed: int
) -> None:
    assert LIMITS.clients_needed(enforced) == needed


def test_a_client_held_out_several_times_counts_once() -> None:
    held_out = frozenset({"a"})
    action = action_for(total(10_000), client("a", 9, 9), held_out=held_out)
    assert action is not None
    assert action.scope is GuardScope.CLIENT
    others = frozenset({"b", "c"})
    action = action_for(total(10_000), client("a", 9, 9), held_out=others)
    assert action is not None
    assert (action.scope, action.clients) == (GuardScope.EVERYBODY, ("a", "b", "c"))


def test_an_endpoint_behind_a_busy_one_is_capped_alone() -> None:
    bad = [client(name, 10, 9, SIMULATE) for name in "abcd"]
    action = action_for(total(40, SIMULATE), total(9_000), *bad)
    assert action is not None
    assert (action.scope, action.endpoint) == (GuardScope.ENDPOINT, SIMULATE)


def test_the_only_endpoint_in_use_means_everybody() -> None:
    bad = [client(name, 10, 9) for name in "abcd"]
    action = action_for(total(40), *bad)
    assert action is not None
    assert action.scope is GuardScope.EVERYBODY


def test_a_pinned_client_is_not_held_out() -> None:
    counts = [total(1_000), client("bank", 9, 9)]
    assert action_for(*counts, pinned=frozenset({"bank"})) is None
    assert action_for(*counts) is not None


@pytest.mark.parametrize(
    ("rejects", "counted"),
    [({}, 0), ({"a": 9}, 0), ({"a": 9, "b": 8}, 0), ({"a": 9, "b": 8, "c": 2}, 6)],
)
def test_the_two_worst_clients_count_like_the_third(rejects: dict[str, int], counted: int) -> None:
    assert winsorized(rejects) == counted


percents = st.integers(0, 10_000).map(lambda bucket: Decimal(bucket) / 100)
names = st.frozensets(st.sampled_from(["a", "b", "c", "d"]), max_size=3)
caps = st.dictionaries(st.sampled_from([SIMULATE, COMPANIES]), st.sampled_from(list(Mode)))


@given(
    mode=st.sampled_from(list(Mode)),
    percent=percents,
    pilots=names,
    holdouts=names,
    overrides=caps,
    scope=st.sampled_from(list(GuardScope)),
    hurt=st.sampled_from(["a", "z"]),
)
def test_no_action_of_the_guard_enforces_more(
    mode: Mode,
    percent: Decimal,
    pilots: frozenset[str],
    holdouts: frozenset[str],
    overrides: dict[str, Mode],
    scope: GuardScope,
    hurt: str,
) -> None:
    before = Rollout(mode, percent, pilots - holdouts, holdouts, overrides)
    action = GuardAction(scope, 10, 10, 9, (hurt,), COMPANIES)
    after = taken_back(before, action)
    assert not enforces_more(before, after)
    for endpoint in (SIMULATE, COMPANIES):
        for name in ("a", "b", "z"):
            was, now = before.mode_for(endpoint, name), after.mode_for(endpoint, name)
            assert now.strictness <= was.strictness


@pytest.mark.parametrize("rate", [0.0, 0.005, 0.01, 0.03])
@pytest.mark.parametrize("per_second", [0.05, 1, 30])
def test_true_rates_up_to_three_percent_do_not_act_for_a_day(
    rate: float, per_second: float
) -> None:
    """A simulated clock, one client among others: counts in slots of 5 s, judged each slot."""
    chance = random.Random(f"{rate} {per_second}")
    hours = 24 if per_second <= 1 else 2
    slots = int(hours * 720)
    history: list[tuple[int, int]] = []
    sums = {window: [0, 0] for window in WINDOWS_SECONDS}
    acted = 0
    for slot in range(slots):
        requests = _poisson(chance, per_second * 5)
        rejects = sum(chance.random() < rate for _ in range(requests))
        history.append((requests, rejects))
        for window, cell in sums.items():
            cell[0] += requests
            cell[1] += rejects
            if (gone := slot - window // 5) >= 0:
                cell[0] -= history[gone][0]
                cell[1] -= history[gone][1]
            acted += is_too_much(cell[0], cell[1], LIMITS, LIMITS.client_evidence)
    assert acted == 0


def _poisson(chance: random.Random, mean: float) -> int:
    """Count exponential gaps within one unit of time."""
    count, passed = 0, chance.expovariate(mean)
    while passed < 1:
        count += 1
        passed += chance.expovariate(mean)
    return count
