"""The step after the one in force: its effect, what holds it, and the link that prepares it.

Nothing is changed here. The link opens the rollout page at this step. The operator reads there
what it does to each client, and gives a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

from normalization import conf
from normalization.rollout import Mode, Rollout
from normalization.rollout_plan import PlanStep
from ops.gates.traffic_rule import RefusedClient
from ops.pages.panels import GatePanel, GateRow
from ops.pages.rollout.changes import effects, percent_text

WARN_EFFECT: Final = (
    "Answers begin to tell clients which of their spellings are outdated or unknown. "
    "Nothing is refused. You can go back at any time."
)


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A client of which the step would refuse requests, with the address of its page."""

    title: str
    note: str
    url: str


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """The step as the page shows it.

    `held`: the checks that hold it; `not_asked`: those that do not pass where none is asked;
    `passing`: those that pass. `unasked`: why none is asked, "" otherwise. `known`: whether the
    checks could be read.
    """

    title: str
    sentences: Sequence[str]
    action: str
    url: str
    refused: Sequence[RefusedRow] = ()
    held: Sequence[GateRow] = ()
    not_asked: Sequence[GateRow] = ()
    passing: Sequence[GateRow] = ()
    unasked: str = ""
    known: bool = True

    @property
    def ready(self) -> bool:
        """Whether nothing holds the step."""
        return self.known and not self.held


def next_step(
    rollout: Rollout, step: PlanStep | None, panel: GatePanel | None, clients: Sequence[str]
) -> RolloutStep | None:
    """Return the next `step` of the plan as the page shows it, None at the end.

    `panel`: the checks of the step, None if they could not be read; `clients`: those of 24 hours.
    """
    if step is None:
        return None
    asked = step.applied_to(rollout)
    if asked.mode is Mode.WARN:
        return RolloutStep(
            "Warn clients",
            [WARN_EFFECT],
            "Review and warn",
            _address(),
            unasked="Only more enforcement needs checks.",
        )
    share = f"{percent_text(asked.enforce_percent)} %"
    gates = conf.gatekeeper() is not None
    found = effects(rollout, asked, clients, conf.stage_endpoints())
    rows = panel.rows if panel is not None else []
    failing = [row for row in rows if not row.passes]
    return RolloutStep(
        title=_title(asked.enforce_percent),
        sentences=found.clients,
        action=f"Look at {share}" if gates and failing else f"Review and enforce {share}",
        url=_address(),
        refused=[_refused(each) for each in panel.traffic.refused_clients] if panel else [],
        held=failing if gates else [],
        not_asked=[] if gates else failing,
        passing=[row for row in rows if row.passes],
        unasked="" if gates else "STAGE_GATES is 0: here a change needs no check.",
        known=panel is not None,
    )


def _address() -> str:
    return f"{reverse('ops-rollout')}#next"


def _title(percent: Decimal) -> str:
    if percent == 100:
        return "Enforce for every client"
    return f"Enforce for {percent_text(percent)} % of the clients"


def _refused(sent: RefusedClient) -> RefusedRow:
    return RefusedRow(
        f"Would refuse {sent.refused:,} requests a day of {sent.client}",
        f"Of {sent.requests:,} that it sent in 24 hours, judged by today's decisions.",
        f"{reverse('ops-client')}?{urlencode({'name': sent.client})}",
    )
