"""The rollout as a value: transitions, canary share, wire form."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.rollout import (
    BUCKETS,
    TRANSITIONS,
    Mode,
    Rollout,
    RolloutInvalid,
    bucket,
    enforces_more,
    with_mode,
)

VECTORS = Path(__file__).parents[1] / "data" / "canary_buckets.json"
CLIENTS = [f"client-{n}" for n in range(10_000)]

percents = st.decimals(0, 100, places=2)
names = st.frozensets(st.sampled_from(["a", "b", "c", "d"]), max_size=2)
rollouts = st.builds(
    lambda mode, percent, pilots, holdouts, overrides, at: Rollout(
        mode, percent, pilots, holdouts - pilots, overrides, at
    ),
    st.sampled_from(Mode),
    percents,
    names,
    names,
    st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(Mode)),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)


def test_every_pair_of_modes_has_a_transition_with_a_reason() -> None:
    assert set(TRANSITIONS) == set(itertools.product(Mode, Mode))
    assert all(transition.reason for transition in TRANSITIONS.values())


def test_only_off_to_enforce_is_not_a_transition() -> None:
    refused = [pair for pair, transition in TRANSITIONS.items() if not transition.allowed]
    assert refused == [(Mode.OFF, Mode.ENFORCE)]


def test_buckets_equal_the_published_vectors() -> None:
    vectors = json.loads(VECTORS.read_text("utf-8"))
    assert {name: bucket(name) for name in vectors} == vectors
    assert len(vectors) >= 20


def test_ten_percent_of_ten_thousand_clients_is_ten_percent_within_one() -> None:
    rollout = Rollout(Mode.ENFORCE, Decimal(10))
    enforced = sum(rollout.mode_for("any", client) is Mode.ENFORCE for client in CLIENTS)
    assert 900 <= enforced <= 1_100


def test_growing_the_share_only_ever_adds_clients() -> None:
    before: set[str] = set()
    for percent in range(0, 101):
        rollout = Rollout(Mode.ENFORCE, Decimal(percent))
        now = {client for client in CLIENTS if rollout.mode_for("any", client) is Mode.ENFORCE}
        assert before <= now
        before = now
    assert before == set(CLIENTS)


@pytest.mark.parametrize(
    ("rollout", "client", "mode"),
    [
        (Rollout(Mode.OFF), "a", Mode.OFF),
        (Rollout(Mode.WARN, pilots=frozenset("a")), "a", Mode.WARN),
        (Rollout(Mode.ENFORCE), "a", Mode.ENFORCE),
        (Rollout(Mode.ENFORCE, Decimal(0)), "a", Mode.WARN),
        (Rollout(Mode.ENFORCE, Decimal(0), pilots=frozenset("a")), "a", Mode.ENFORCE),
        (Rollout(Mode.ENFORCE, holdouts=frozenset("a")), "a", Mode.WARN),
        (Rollout(Mode.ENFORCE, overrides={"here": Mode.WARN}), "a", Mode.WARN),
        (Rollout(Mode.ENFORCE, overrides={"there": Mode.WARN}), "a", Mode.ENFORCE),
        (Rollout(Mode.WARN, overrides={"here": Mode.OFF}), "a", Mode.OFF),
        (Rollout(Mode.WARN, overrides={"here": Mode.ENFORCE}), "a", Mode.WARN),
        (Rollout(Mode.OFF, overrides={"here": Mode.ENFORCE}), "a", Mode.OFF),
    ],
)
def test_mode_for_client_and_endpoint(rollout: Rollout, client: str, mode: Mode) -> None:
    assert rollout.mode_for("here", client) is mode
    assert rollout.decide("here", client).mode is mode
    assert rollout.decide("here", client).why


@given(rollouts)
def test_lowering_the_mode_lowers_every_client_at_every_endpoint(rollout: Rollout) -> None:
    lowered = with_mode(rollout, Mode.WARN)
    assert all(lowered.mode_for(e, c) is not Mode.ENFORCE for e in ["x", "y", "z"] for c in "abcd")


@given(rollouts)
def test_the_wire_form_round_trips(rollout: Rollout) -> None:
    assert Rollout.from_wire(json.loads(json.dumps(rollout.to_wire()))) == rollout


@given(rollouts, rollouts)
def test_a_change_that_enforces_nothing_more_refuses_no_further_client(
    old: Rollout, new: Rollout
) -> None:
    places = [(e, c) for e in ["x", "y", "z"] for c in ["a", "b", "c", "d", *CLIENTS[:30]]]
    harder = [
        p
        for p in places
        if new.mode_for(*p) is Mode.ENFORCE and old.mode_for(*p) is not Mode.ENFORCE
    ]
    assert enforces_more(old, new) or not harder


WIRE = Rollout(Mode.WARN).to_wire()


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "warn",
        {},
        {**WIRE, "more": 1},
        {**WIRE, "mode": "ENFORCE"},
        {**WIRE, "mode": None},
        {**WIRE, "enforce_percent": "101"},
        {**WIRE, "enforce_percent": "0.001"},
        {**WIRE, "enforce_percent": "x"},
        {**WIRE, "enforce_percent": "NaN"},
        {**WIRE, "enforce_percent": None},
        {**WIRE, "pilots": "abc"},
        {**WIRE, "pilots": [1]},
        {**WIRE, "pilots": ["a"], "holdouts": ["a"]},
        {**WIRE, "overrides": []},
        {**WIRE, "overrides": {"x": "loud"}},
        {**WIRE, "enforce_at": "tomorrow"},
        {**WIRE, "enforce_at": "2026-12-31T00:00:00"},
        {**WIRE, "enforce_at": 1},
    ],
)
def test_anything_but_a_rollout_is_refused_on_the_wire(wire: object) -> None:
    with pytest.raises(RolloutInvalid):
        Rollout.from_wire(wire)


def test_equal_rollouts_have_equal_text() -> None:
    one = Rollout(
        Mode.WARN,
        Decimal("50.00"),
        frozenset({"b", "a"}),
        enforce_at=datetime(2026, 12, 31, tzinfo=UTC),
    )
    assert json.dumps(one.to_wire()) == json.dumps(
        replace(one, enforce_percent=Decimal(50)).to_wire()
    )


def test_a_bucket_is_below_ten_thousand_for_any_name() -> None:
    assert all(0 <= bucket(name) < BUCKETS for name in ["", "ä", "\ud800", "x" * 10_000])
