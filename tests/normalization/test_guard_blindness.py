"""The guard on a simulated clock: what it sees, after how long, and that chance never acts.

Pure: counts are generated second by second and judged by the rule of the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from normalization.guard_rule import (
    SLOT_SECONDS,
    WINDOWS_SECONDS,
    GuardAction,
    GuardLimits,
    GuardScope,
    SlotCount,
    is_too_much,
    judge,
)

LIMITS = GuardLimits()
DAY = 24 * 3600
OTHER = "fund-companies"


@dataclass(frozen=True)
class Sender:
    """A client: requests a second at an endpoint, and the share of rejects at a second."""

    client: str
    rate: float
    share: Callable[[float], float] = lambda _now: 0.0
    endpoint: str = OTHER


def counts_until(senders: list[Sender], seconds: int) -> Iterator[tuple[int, list[SlotCount]]]:
    """Yield each second with the counts of the last hour, as the shared table has them.

    Requests and rejects come evenly, so that a case has one answer. A client is in the table
    with its own row; the row of all clients has no rejects.
    """
    sent: dict[tuple[int, str, str], list[float]] = {}
    owed = {(each.client, each.endpoint): [0.0, 0.0] for each in senders}
    for now in range(1, seconds + 1):
        slot = now // SLOT_SECONDS
        for each in senders:
            debt = owed[each.client, each.endpoint]
            debt[0] += each.rate
            requests, debt[0] = int(debt[0]), debt[0] % 1
            debt[1] += requests * each.share(now)
            rejects, debt[1] = int(debt[1] + 1e-9), debt[1] - int(debt[1] + 1e-9)
            if requests:
                cell = sent.setdefault((slot, each.endpoint, each.client), [0, 0])
                cell[0] += requests
                cell[1] += rejects
        yield now, list(_rows(sent, now))


def _rows(sent: dict[tuple[int, str, str], list[float]], now: int) -> Iterator[SlotCount]:
    totals: dict[tuple[int, str], float] = {}
    slot_now = now // SLOT_SECONDS
    for (slot, endpoint, client), (requests, rejects) in sent.items():
        age = float(SLOT_SECONDS * (slot_now - slot))
        if age < max(WINDOWS_SECONDS):
            yield SlotCount(endpoint, client, age, int(requests), int(rejects))
            totals[slot, endpoint] = totals.get((slot, endpoint), 0) + requests
    for (slot, endpoint), requests in totals.items():
        age = float(SLOT_SECONDS * (slot_now - slot))
        yield SlotCount(endpoint, None, age, int(requests), 0)


def first_act(senders: list[Sender], seconds: int, step: int = 1) -> tuple[int, GuardAction]:
    """Return when the guard first acts, in seconds from the first reject, and what it does."""
    begun = 0
    for now, rows in counts_until(senders, seconds):
        if not begun and any(each.rejects for each in rows):
            begun = now
        if not begun or now % step:
            continue
        action = judge(
            rows, enforced_clients=len({each.client for each in senders}), limits=LIMITS
        )
        if action is not None:
            return now - begun, action
    raise AssertionError("the guard did not act")


def all_rejected(_now: float) -> float:
    return 1.0


def burst(now: float) -> float:
    return 1.0 if 60 <= now < 62 else 0.0


def creep(now: float) -> float:
    return 0.2 * now / 3600


def others(rate: float, number: int = 9) -> list[Sender]:
    return [Sender(f"good-{each}", rate / number) for each in range(number)]


# name: senders, seconds, at most after, scope, whom
SEEN: dict[str, tuple[list[Sender], int, int, GuardScope, str]] = {
    "a client of 1 % of 30/s": (
        [Sender("hurt", 0.3, all_rejected), *others(29.7)], 60, 12, GuardScope.CLIENT, "hurt",
    ),
    "a client of 5 % of 30/s": (
        [Sender("hurt", 1.5, all_rejected), *others(28.5)], 60, 4, GuardScope.CLIENT, "hurt",
    ),
    "a client of 20 % of 30/s": (
        [Sender("hurt", 6, all_rejected), *others(24)], 60, 2, GuardScope.CLIENT, "hurt",
    ),
    "an endpoint behind a busy one": (
        [
            *others(200),
            *(Sender(f"good-{n}", 0.5, all_rejected, "portfolio-strategies") for n in range(4)),
        ],
        60, 15, GuardScope.ENDPOINT, "portfolio-strategies",
    ),
    "a canary of 3 requests a minute": (
        [Sender("canary", 3 / 60, all_rejected)], 200, 60, GuardScope.CLIENT, "canary",
    ),
    "a burst of 40 in 2 s": (
        [Sender("hurt", 20, burst), *others(10)], 70, 3, GuardScope.CLIENT, "hurt",
    ),
    "everybody, half rejected": (
        [Sender(f"c-{n}", 5, lambda _now: 0.5) for n in range(6)],
        60, 4, GuardScope.EVERYBODY, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_the_guard_sees_what_the_alerts_do_not(name: str) -> None:
    senders, seconds, at_most, scope, whom = SEEN[name]
    after, action = first_act(senders, seconds)
    print(f"\n{name}: {action.scope} after {after} s")
    assert action.scope is scope
    assert whom in (*action.clients, action.endpoint, "")
    assert after <= at_most


def test_a_creep_to_a_fifth_within_an_hour_is_seen_before_a_tenth() -> None:
    senders = [Sender(f"c-{each}", 1, creep) for each in range(5)]
    after, action = first_act(senders, 3600, step=15)
    print(f"\ncreep: {action.scope} after {after} s at {100 * creep(after):.1f} %")
    assert creep(after) < 0.12


@pytest.mark.parametrize("share", [0.0, 0.005, 0.01, 0.03])
@pytest.mark.parametrize("rate", [0.05, 1, 30, 500])
def test_no_act_in_a_day_of_rejects_below_the_limit(rate: float, share: float) -> None:
    """Slots of five seconds of a day; every window that ends in any of them is judged.

    Up to 1 % also as the requests of everybody, which need less evidence.
    """
    needed = LIMITS.everybody_evidence if share <= 0.01 else LIMITS.client_evidence
    random = np.random.default_rng([int(rate * 100), int(share * 1000)])
    requests = random.poisson(rate * SLOT_SECONDS, DAY // SLOT_SECONDS)
    rejects = random.binomial(requests, share)
    for window in WINDOWS_SECONDS:
        slots = window // SLOT_SECONDS
        kernel = np.ones(slots, dtype=np.int64)
        sent, refused = (np.convolve(each, kernel)[: len(each)] for each in (requests, rejects))
        suspicious = (refused >= LIMITS.least_rejects) & (refused > LIMITS.share * sent)
        acts = [
            (int(n), int(r))
            for n, r in zip(sent[suspicious], refused[suspicious], strict=True)
            if is_too_much(int(n), int(r), LIMITS, needed)
        ]
        assert acts == [], f"a window of {window} s"
