"""What the next step of the plan would do to each client today, and what the later steps would.

Pure, apart from the addresses of pages. The figures are the requests of the last 24 hours, judged
by today's decisions: those that the gate `would_refuse` judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

from normalization.rollout import Mode, Rollout
from normalization.rollout_plan import PlanStep, RolloutPlan
from ops.gates.traffic import ClientTotals, SentTraffic
from ops.pages.clients.enforcement import EnforcementStatus, enforcement_of
from ops.pages.rollout.changes import step_link

LISTED: Final = 20
NAMED: Final = 3
_PLACES: Final = {
    EnforcementStatus.NEVER: "held out",
    EnforcementStatus.ALWAYS: "always in",
    EnforcementStatus.CAPPED: "only warned",
}


@dataclass(frozen=True, slots=True)
class ClientEffect:
    """One client: from which share it is enforced, and what of its day would be refused.

    `state` is `in` (enforced already), `new` (the step enforces it) or `later`.
    """

    client: str
    enters_at: Decimal
    place: str
    state: str
    requests: int
    refused: int
    spelling: str

    @property
    def percent(self) -> float:
        """The share of its requests that would be refused."""
        return 100 * self.refused / max(self.requests, 1)

    @property
    def is_hurt(self) -> bool:
        """Whether the step newly refuses requests of this client."""
        return self.state == "new" and self.refused > 0

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"{reverse('ops-client')}?{urlencode({'name': self.client})}"

    @property
    def hold_out_url(self) -> str:
        """The address of the form that holds it out."""
        return f"{reverse('ops-rollout')}?{urlencode({'holdout': self.client})}#change"


@dataclass(frozen=True, slots=True)
class StepEffect:
    """What one step would do today. `acts`: whether the automatic way back would act.

    `url` fills in the form with this step, "" for the next one.
    """

    name: str
    clients: int
    refused: int
    percent: float
    acts: bool
    url: str

    @property
    def is_next(self) -> bool:
        """Whether this is the next step of the plan."""
        return not self.url


@dataclass(frozen=True, slots=True)
class StepEffects:
    """The effect of the next step: its clients, and of the later steps.

    `rows` are the clients to list, `more` how many are not listed. `new`: the clients that the
    step newly enforces; `refused`: their refused requests a day.
    """

    step: PlanStep
    rows: Sequence[ClientEffect]
    more: int
    new: Sequence[ClientEffect]
    clients: int
    refused: int
    percent: float
    later: Sequence[StepEffect]

    @property
    def hurt(self) -> list[ClientEffect]:
        """The clients of which the step newly refuses requests, the worst first."""
        hurt = [each for each in self.new if each.is_hurt]
        return sorted(hurt, key=lambda each: -each.refused)[:NAMED]

    @property
    def sentence(self) -> str:
        """Which clients enter, in one sentence."""
        if not self.clients:
            return "No client sent a stage in the last 24 hours."
        if not self.new:
            return f"No client that sent stages enters at {self.step.name}."
        names = ", ".join(each.client for each in self.new[:LISTED])
        more = len(self.new) - LISTED
        rest = f" and {more} more" if more > 0 else ""
        return f"New at {self.step.name}: {names}{rest}. Clients in grey stay as they are."


def step_effects(
    plan: RolloutPlan,
    rollout: Rollout,
    step: PlanStep,
    sent: SentTraffic,
    endpoints: Iterable[str],
    limit: float,
) -> StepEffects:
    """Return the effects of `step` on a `rollout`. `limit`: the guard's share, of 1."""
    asked = step.applied_to(rollout)
    everywhere = replace(
        rollout, mode=Mode.ENFORCE, enforce_percent=Decimal(100), holdouts=frozenset()
    )
    totals = {each.client: each for each in sent.by_client(everywhere)}
    every = list(endpoints)
    clients = sorted({client for client, _ in sent.places})
    effects = [_effect(client, rollout, asked, totals, every) for client in clients]
    effects.sort(key=lambda each: (each.enters_at, each.client))
    rows = _listed(effects)
    would = sent.enforced_by(asked)
    return StepEffects(
        step=step,
        rows=rows,
        more=len(effects) - len(rows),
        new=[each for each in effects if each.state == "new"],
        clients=len(effects),
        refused=would.refused,
        percent=100 * would.refused / max(would.requests, 1),
        later=list(_later(plan, rollout, step, sent, limit)),
    )


def _effect(
    client: str,
    rollout: Rollout,
    asked: Rollout,
    totals: Mapping[str, ClientTotals],
    endpoints: list[str],
) -> ClientEffect:
    before, after = (enforcement_of(each, client, endpoints) for each in (rollout, asked))
    state = "in" if before.now else "new" if after.now else "later"
    found = totals.get(client)
    return ClientEffect(
        client=client,
        enters_at=Decimal(0) if after.pilot else after.enters_at,
        place=_PLACES.get(after.status, "") or ("always in" if after.pilot else ""),
        state=state,
        requests=found.requests if found else 0,
        refused=found.refused if found else 0,
        spelling=found.spelling if found else "",
    )


def _listed(effects: Sequence[ClientEffect]) -> list[ClientEffect]:
    """Return at most LISTED clients in their order: those that enter, then those hurt most."""
    ranks = {"new": 0, "in": 1, "later": 2}
    chosen = sorted(effects, key=lambda each: (ranks[each.state], -each.refused))[:LISTED]
    return [each for each in effects if each in chosen]


def _later(
    plan: RolloutPlan, rollout: Rollout, step: PlanStep, sent: SentTraffic, limit: float
) -> Iterator[StepEffect]:
    for each in plan.steps:
        if each.rank < step.rank:
            continue
        asked = each.applied_to(rollout)
        would = sent.enforced_by(asked)
        share = would.refused / max(would.requests, 1)
        yield StepEffect(
            name=each.name,
            clients=would.clients,
            refused=would.refused,
            percent=100 * share,
            acts=share >= limit,
            url="" if each == step else step_link(asked),
        )
