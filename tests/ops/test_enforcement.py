"""A client's enforcement status agrees with how its requests are treated."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normalization.outcomes import OUTCOMES
from normalization.rollout import Mode, Rollout, enters_at
from ops.pages.charts import STRIPE, stripe
from ops.pages.clients.counts import RequestCounts
from ops.pages.clients.enforcement import EnforcementStatus, consequence, enforcement_of
from ops.pages.rollout.changes import proposed

ENDPOINTS = ("companies", "simulate", "strategies")
CENT = Decimal("0.01")
clients = st.text(min_size=1, max_size=20)
shares = st.integers(0, 10_000).map(lambda cents: Decimal(cents) / 100)
caps = st.dictionaries(st.sampled_from(ENDPOINTS), st.sampled_from(Mode))
requests = st.integers(0, 10**6)
counts = st.builds(RequestCounts, *[requests] * 4)


@given(clients)
def test_a_client_enters_at_exactly_its_share(client: str) -> None:
    at = enters_at(client)
    assert Rollout(Mode.ENFORCE, enforce_percent=at).mode_for("companies", client) is Mode.ENFORCE
    assert (
        Rollout(Mode.ENFORCE, enforce_percent=at - CENT).mode_for("companies", client) is Mode.WARN
    )


@given(clients, st.sampled_from(Mode), shares, caps, st.sampled_from(["pilot", "holdout", ""]))
def test_the_status_of_a_client_is_how_its_requests_are_treated(
    client: str, mode: Mode, share: Decimal, overrides: dict[str, Mode], role: str
) -> None:
    pilots = frozenset({client} if role == "pilot" else ())
    holdouts = frozenset({client} if role == "holdout" else ())
    rollout = Rollout(mode, share, pilots, holdouts, overrides)
    found = enforcement_of(rollout, client, ENDPOINTS)
    refused = {name for name in ENDPOINTS if rollout.mode_for(name, client) is Mode.ENFORCE}
    assert set(found.endpoints) == refused
    assert found.now == (found.status is EnforcementStatus.NOW) == bool(refused)
    assert (found.status is EnforcementStatus.NEVER) == found.holdout == (role == "holdout")
    uncapped = Rollout(mode, share, rollout.pilots, rollout.holdouts)
    reached = uncapped.mode_for(ENDPOINTS[0], client) is Mode.ENFORCE
    assert set(found.capped) == (set(ENDPOINTS) - refused if reached else set())
    assert found.word
    assert found.sentence


@given(counts)
def test_a_stripe_shows_every_outcome_that_occurred_and_is_full(counted: RequestCounts) -> None:
    occurred = {name for name in OUTCOMES if getattr(counted, name)}
    parts = stripe({name: getattr(counted, name) for name in RequestCounts.__slots__})
    assert {part.outcome for part in parts} == occurred
    assert all(part.width >= 2 for part in parts)
    assert sum(part.width for part in parts) == pytest.approx(STRIPE if occurred else 0, abs=0.05)


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        (RequestCounts(), "nothing is known"),
        (RequestCounts(canonical=5_000), "None of its 5,000 requests would be refused."),
        (
            RequestCounts(canonical=5, normalized=1),
            "None of its 6 requests would be refused. 1 used deprecated spellings",
        ),
        (
            RequestCounts(canonical=990, unknown=10, refusable=10),
            "10 of its 1,000 requests (1.00 %) would be refused",
        ),
        (RequestCounts(unknown=10), "None of its 10 requests would be refused."),
    ],
)
def test_the_consequence_has_the_figures(counted: RequestCounts, told: str) -> None:
    assert told in consequence(counted)


@pytest.mark.parametrize(
    ("asked", "pilots", "holdouts"),
    [({"pilot": "c"}, "abc", "z"), ({"pilot": "z"}, "abz", ""), ({"holdout": "a"}, "b", "az"),
     ({"neither": "z"}, "ab", ""), ({"neither": "a"}, "b", "z")],
)  # fmt: skip
def test_a_proposal_moves_one_client_and_nothing_else(
    asked: dict[str, str], pilots: str, holdouts: str
) -> None:
    now = Rollout(Mode.WARN, Decimal(5), frozenset("ab"), frozenset("z"), {"companies": Mode.OFF})
    to = Rollout(
        Mode.WARN, Decimal(5), frozenset(pilots), frozenset(holdouts), {"companies": Mode.OFF}
    )
    assert proposed(now, asked) == to


@pytest.mark.parametrize(
    "asked",
    [{}, {"pilot": "a"}, {"neither": "x"}, {"pilot": ""}, {"pilot": "a\nb"}, {"pilot": " a"}],
)
def test_a_name_that_changes_nothing_or_is_no_line_of_the_form_proposes_nothing(
    asked: dict[str, str],
) -> None:
    assert proposed(Rollout(Mode.WARN, pilots=frozenset("a")), asked) is None
