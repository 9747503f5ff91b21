"""What a change would refuse: the requests of 24 hours that it enforces, by today's decisions."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from normalization.decision_warnings import DecisionVerdict
from normalization.models import ObservedSpelling, OutcomeTally
from normalization.observations import OTHER
from normalization.rollout import Mode, Rollout
from normalization.stages import Stage
from ops.clock import database_now
from ops.gates.traffic import enforced_traffic
from ops.gates.traffic_rule import EnforcedTraffic
from tests.decided import decide, retire

pytestmark = pytest.mark.django_db(transaction=True)

ENFORCE = Rollout(Mode.ENFORCE)


def sent(
    client: str,
    requests: int,
    unknown: int = 0,
    spelling: str = "Grant",
    *,
    endpoint: str = "fund-companies",
    outcome: str = "unknown",
    stage: str = "",
    hours_ago: float = 1,
) -> None:
    """Count requests of a client in mode warn, `unknown` of them with the spelling."""
    moment = timezone.now() - timedelta(hours=hours_ago)
    minute = moment.replace(second=0, microsecond=0)
    for name, count in (("canonical", requests - unknown), (outcome, unknown)):
        if count:
            OutcomeTally.objects.create(
                minute=minute,
                endpoint=endpoint,
                client=client,
                mode="warn",
                outcome=name,
                requests=count,
            )
    if unknown:
        ObservedSpelling.objects.create(
            day=moment.date(),
            spelling=spelling,
            stage=stage,
            endpoint=endpoint,
            client=client,
            count=unknown,
            first_seen=moment,
            last_seen=moment,
        )


def found(rollout: Rollout = ENFORCE) -> EnforcedTraffic:
    return enforced_traffic(rollout, database_now())


def test_undecided_requests_of_enforced_clients_are_refused() -> None:
    sent("deal-flow", 100, 40)
    sent("other", 900)
    traffic = found()
    assert (traffic.requests, traffic.refused, traffic.clients) == (1_000, 40, 2)
    assert [(each.client, each.refused) for each in traffic.refused_clients] == [("deal-flow", 40)]
    assert traffic.spellings == ("Grant",)


def test_a_decision_for_a_stage_counts_at_once() -> None:
    sent("deal-flow", 100, 40, "1. Runde")
    assert found().refused == 40
    decide("1. Runde", Stage.SEED)
    assert found().refused == 0


def test_a_spelling_decided_outside_is_still_refused() -> None:
    sent("deal-flow", 100, 40)
    decide("Grant", DecisionVerdict.OUTSIDE)
    assert found().refused == 40


def test_a_retired_decision_refuses_what_was_accepted() -> None:
    decide("1. Runde", Stage.SEED)
    sent("deal-flow", 100, 40, "1. Runde", outcome="normalized", stage="seed")
    assert found().refused == 0
    retire("1. Runde")
    assert found().refused == 40


def test_holdouts_caps_and_clients_beyond_the_share_do_not_count() -> None:
    sent("deal-flow", 100, 40)
    sent("other", 900)
    held_out = Rollout(Mode.ENFORCE, holdouts=frozenset({"deal-flow"}))
    assert (found(held_out).requests, found(held_out).refused) == (900, 0)
    capped = Rollout(Mode.ENFORCE, overrides={"fund-companies": Mode.WARN})
    assert (found(capped).requests, found(capped).clients) == (0, 0)
    none = Rollout(Mode.ENFORCE, enforce_percent=Decimal(0))
    assert (found(none).clients, found(none).clients_seen) == (0, 2)


def test_pilots_alone_are_told_apart() -> None:
    sent("deal-flow", 3)
    sent("other", 900)
    pilots = Rollout(Mode.ENFORCE, Decimal(0), pilots=frozenset({"deal-flow"}))
    assert (found(pilots).requests, found(pilots).pilots_alone) == (3, True)
    assert not found().pilots_alone


@pytest.mark.parametrize(("hours", "counted"), [(23, 10), (25, 0)])
def test_a_nightly_client_counts_for_a_day(hours: float, counted: int) -> None:
    sent("nightly", 10, 10, hours_ago=hours)
    assert found().refused == counted


@pytest.mark.parametrize("spelling", [OTHER, "Gr?nt"])
def test_what_was_not_kept_as_it_came_counts_as_undecided(spelling: str) -> None:
    sent("deal-flow", 100, 40, spelling)
    assert found().refused == 40


def test_refused_requests_without_any_kept_spelling_stay_refused() -> None:
    sent("deal-flow", 100, 40)
    ObservedSpelling.objects.all().delete()
    assert found().refused == 40


def test_no_more_requests_are_refused_than_were_counted() -> None:
    sent("deal-flow", 100, 40)
    ObservedSpelling.objects.update(count=4_000)  # five thousand stages in one request
    assert found().refused == 40
