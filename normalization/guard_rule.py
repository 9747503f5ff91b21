"""The guard's rule: when rejected requests are more than chance, and what the guard then does.

Pure: takes counts, returns an action. `guard` collects the counts of all processes and carries the
action out.

The rule is a scan statistic. For each of several windows it asks whether the share of rejects is
above the limit and whether so many rejects would be very unlikely at a tolerable base rate. The
evidence is n · KL(share ‖ base): the log of how much better the observed share explains n requests
than the base rate does (Chernoff's bound on a binomial tail; Siegmund, "Sequential Analysis",
1985). A count of at least three rejects keeps one unlucky request from acting. Simulated over
10,000 traces a cell, the limits below act falsely less than once in a client-month at a true
reject rate of 3 % and one request a second, and never at 1 % or less.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import log
from typing import Final

from normalization.rollout import Mode, Rollout, without_enforcement

SLOT_SECONDS: Final = 5
WINDOWS_SECONDS: Final = (10, 60, 300, 3600)
HELD_OUT_SECONDS: Final = 600
"""Clients held out within this time count towards taking enforcement back for everybody."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """The figures of the rule.

    `share`: rejects at or below this share never act. `base`: the reject rate that counts as
    normal. `client_evidence` and `everybody_evidence`: natural logarithms of the odds required.
    `clients` and `clients_share`: how many clients held out within HELD_OUT_SECONDS take
    enforcement back for everybody, as a count and as a share of the enforced clients.
    """

    share: float = 0.05
    base: float = 0.03
    least_rejects: int = 3
    client_evidence: float = log(1e6)
    everybody_evidence: float = log(1e4)
    clients: int = 3
    clients_share: float = 0.10

    def clients_needed(self, enforced: int) -> int:
        """Return how many of `enforced` clients must be held out before everybody is."""
        return max(self.clients, -int(-self.clients_share * enforced // 1))


@dataclass(frozen=True, slots=True)
class SlotCount:
    """Enforced requests of one client at one endpoint in one slot that began `age` seconds ago.

    `client` is None for the requests of all clients, which then have no rejects of their own.
    """

    endpoint: str
    client: str | None
    age: float
    requests: int
    rejects: int


class GuardScope(StrEnum):
    """Whom the guard protects: one client, the clients of one endpoint, or every client."""

    CLIENT = "client"
    ENDPOINT = "endpoint"
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class GuardAction:
    """What to take back, and the figures that decided it.

    `clients` names the clients to hold out, `endpoint` the endpoint to cap. The rest is evidence:
    of `requests` in `window` seconds, `rejects` were refused; `by_client` are the worst clients.
    """

    scope: GuardScope
    window: int
    requests: int
    rejects: int
    clients: tuple[str, ...] = ()
    endpoint: str = ""
    by_client: Mapping[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of the requests that was refused."""
        return self.rejects / self.requests


@dataclass(slots=True)
class _Window:
    """The counts of one window: requests and rejects by endpoint and client."""

    seconds: int
    requests: Counter[str] = field(default_factory=Counter)
    of_client: dict[tuple[str, str], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0])
    )

    def rejects_by_client(self, endpoint: str | None = None) -> Counter[str]:
        """Return the rejects of each client, at one endpoint or in all."""
        found: Counter[str] = Counter()
        for (place, client), (_, rejects) in self.of_client.items():
            if endpoint in (None, place):
                found[client] += rejects
        return found


def evidence(requests: int, rejects: int, base: float) -> float:
    """Return n · KL(share ‖ base) in nats; 0 for a share at or below the base rate."""
    if not rejects or rejects <= base * requests:
        return 0.0
    share = rejects / requests
    found = share * log(share / base)
    if share < 1:
        found += (1 - share) * log((1 - share) / (1 - base))
    return requests * found


def is_too_much(requests: int, rejects: int, limits: GuardLimits, needed: float) -> bool:
    """Return whether the rejects are more than the limit and more than chance."""
    return (
        rejects >= limits.least_rejects
        and rejects > limits.share * requests
        and evidence(requests, rejects, limits.base) >= needed
    )


def winsorized(rejects: Mapping[str, int]) -> int:
    """Return the sum of all rejects, the two worst clients counted like the third worst.

    So one or two clients, hostile or broken, never end enforcement for the others.
    """
    ordered = sorted(rejects.values(), reverse=True)
    third = ordered[2] if len(ordered) > 2 else 0
    return sum(min(each, third) for each in ordered)


def judge(
    counts: Iterable[SlotCount],
    *,
    enforced_clients: int,
    held_out: frozenset[str] = frozenset(),
    pinned: frozenset[str] = frozenset(),
    limits: GuardLimits,
) -> GuardAction | None:
    """Return what to take back now, None for nothing.

    `enforced_clients`: how many clients sent enforced requests lately. `held_out`: clients that
    the guard held out within HELD_OUT_SECONDS. `pinned` clients are never held out, but count for
    all.
    """
    windows = _windows(counts)
    if action := _everybody(windows, limits) or _endpoint(windows, limits):
        return action
    hurt = _hurt_clients(windows, limits)
    known = {client for action in hurt for client in action.clients} | held_out
    if hurt and len(known) >= limits.clients_needed(enforced_clients):
        return _too_many_clients(hurt, known)
    free = [action for action in hurt if not pinned.intersection(action.clients)]
    return free[0] if free else None


def hurt_clients(counts: Iterable[SlotCount], limits: GuardLimits) -> list[str]:
    """Return the clients whose rejects are above the limit, the one with most rejects first."""
    return [action.clients[0] for action in _hurt_clients(_windows(counts), limits)]


def taken_back(rollout: Rollout, action: GuardAction) -> Rollout:
    """Return the rollout after the action: never one that enforces more."""
    if action.scope is GuardScope.EVERYBODY:
        return without_enforcement(rollout)
    if action.scope is GuardScope.ENDPOINT:
        cap = _milder(rollout.overrides.get(action.endpoint, Mode.WARN), Mode.WARN)
        return replace(rollout, overrides={**rollout.overrides, action.endpoint: cap})
    # A pilot cannot be a holdout: the client is moved.
    clients = frozenset(action.clients)
    return replace(rollout, holdouts=rollout.holdouts | clients, pilots=rollout.pilots - clients)


def _milder(one: Mode, other: Mode) -> Mode:
    return min(one, other, key=lambda mode: mode.strictness)


def _too_many_clients(hurt: list[GuardAction], known: set[str]) -> GuardAction:
    worst = hurt[0]
    return GuardAction(
        GuardScope.EVERYBODY,
        worst.window,
        worst.requests,
        worst.rejects,
        tuple(sorted(known)),
        by_client={client: each.rejects for each in hurt for client in each.clients},
    )


def _windows(counts: Iterable[SlotCount]) -> list[_Window]:
    windows = [_Window(seconds) for seconds in WINDOWS_SECONDS]
    for count in counts:
        for window in windows:
            if count.age < window.seconds:
                _add(window, count)
    return windows


def _add(window: _Window, count: SlotCount) -> None:
    if count.client is None:
        window.requests[count.endpoint] += count.requests
        return
    cell = window.of_client[count.endpoint, count.client]
    cell[0] += count.requests
    cell[1] += count.rejects


def _everybody(windows: list[_Window], limits: GuardLimits) -> GuardAction | None:
    """Enforcement hurts clients in general, at more than one endpoint or at the only one in
    use.
    """
    for window in windows:
        by_client = window.rejects_by_client()
        requests, rejects = window.requests.total(), winsorized(by_client)
        if not is_too_much(requests, rejects, limits, limits.everybody_evidence):
            continue
        if len(_endpoints_in_question(window, limits)) == 1 and len(+window.requests) > 1:
            continue  # one endpoint alone: capping it is enough
        return GuardAction(
            GuardScope.EVERYBODY, window.seconds, requests, rejects, by_client=_worst(by_client)
        )
    return None


def _endpoint(windows: list[_Window], limits: GuardLimits) -> GuardAction | None:
    """One endpoint hurts clients in general, while the others do not."""
    for window in windows:
        for endpoint, requests in window.requests.items():
            by_client = window.rejects_by_client(endpoint)
            rejects = winsorized(by_client)
            if is_too_much(requests, rejects, limits, limits.everybody_evidence):
                return GuardAction(
                    GuardScope.ENDPOINT,
                    window.seconds,
                    requests,
                    rejects,
                    endpoint=endpoint,
                    by_client=_worst(by_client),
                )
    return None


def _endpoints_in_question(window: _Window, limits: GuardLimits) -> list[str]:
    """The endpoints whose share of rejects, of all clients, is above the limit."""
    return [
        endpoint
        for endpoint, requests in window.requests.items()
        if window.rejects_by_client(endpoint).total() > limits.share * requests
    ]


def _hurt_clients(windows: list[_Window], limits: GuardLimits) -> list[GuardAction]:
    """One action for each client that enforcement hurts at some endpoint, the worst first."""
    found: dict[str, GuardAction] = {}
    for window in windows:
        for (endpoint, client), (requests, rejects) in window.of_client.items():
            if client in found:
                continue
            if is_too_much(requests, rejects, limits, limits.client_evidence):
                found[client] = GuardAction(
                    GuardScope.CLIENT,
                    window.seconds,
                    requests,
                    rejects,
                    (client,),
                    endpoint,
                    {client: rejects},
                )
    return sorted(found.values(), key=lambda action: -action.rejects)


def _worst(by_client: Counter[str], shown: int = 5) -> dict[str, int]:
    return {client: rejects for client, rejects in by_client.most_common(shown) if rejects}
