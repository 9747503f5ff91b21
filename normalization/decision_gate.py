"""Asks the gate before decisions that would refuse accepted requests.

Where the rollout enforces, a decision that is retired, changed or undone can turn a client's
accepted requests into refusals within seconds. Such a change asks the gate `would_refuse`, as
more enforcement does. `decisions.apply`, `retire` and `undo` all call `ask`; the pages call
`examine` to show the verdict beforehand. The setting `STAGE_DECISION_GATEKEEPER` names the gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from normalization import conf, rollout_store
from normalization.decision_file import DecisionRow
from normalization.decision_plan import DecisionPlan, table_of
from normalization.decision_warnings import DecisionVerdict
from normalization.models import StageDecision
from normalization.rollout import Mode
from normalization.rollout_store import ChangeRefused, GateRefused
from normalization.stages import Stage
from stagenorm.locks import ROLLOUT_CHANGE

HELD: Final = "These decisions would refuse requests that are accepted now:"


class DecisionRefused(Exception):
    """The decisions cannot be changed so; the message gives the reason and the remedy."""


class DecisionHeld(DecisionRefused):
    """The change would refuse accepted requests. `held` has the verdicts of the gates."""

    def __init__(self, message: str, held: Sequence[Any]) -> None:
        super().__init__(message)
        self.held = held


@dataclass(frozen=True, slots=True)
class DecisionShift:
    """What a change does to the decisions in force.

    `gone` are the folded spellings whose decisions go out of force, `added` the rows that come
    into force. A changed decision is in both.
    """

    gone: frozenset[str]
    added: tuple[DecisionRow, ...] = ()


def shift_of(plan: DecisionPlan) -> DecisionShift:
    """Return what applying the plan does."""
    replaced = {change.before.key for change in plan.changed}
    return DecisionShift(
        frozenset(replaced | {row.key for row in plan.retired}), tuple(plan.written)
    )


def in_force() -> list[DecisionRow]:
    """Return the decisions in force, sorted by key, open ones included."""
    found = StageDecision.objects.filter(superseded_at__isnull=True).values_list(
        "spelling", "verdict", "stage", "kind", "note", "reason"
    )
    return sorted((row_of(*values) for values in found.order_by()), key=lambda row: row.key)


def row_of(
    spelling: str, verdict: str, stage: str, kind: str, note: str, reason: str
) -> DecisionRow:
    """Return a stored decision as a row."""
    found = Stage(stage) if stage else None
    return DecisionRow(spelling, DecisionVerdict(verdict), found, kind, note, reason)


def examine(shift: DecisionShift) -> list[Any]:
    """Return the verdicts of the gate on a change.

    The list is empty where no gate is set, where nothing is enforced, and for a change that
    refuses nothing that is accepted now.
    """
    gatekeeper = conf.decision_gatekeeper()
    rollout = rollout_store.newest().rollout
    if gatekeeper is None or rollout.mode is not Mode.ENFORCE or not shift.gone:
        return []
    before = in_force()
    kept = [row for row in before if row.key not in shift.gone]
    verdicts: list[Any] = gatekeeper(
        rollout, table_of(before, 0), table_of([*kept, *shift.added], 0)
    )
    return verdicts


def ask(shift: DecisionShift, overrides: Mapping[str, str]) -> dict[str, Any]:
    """Return what to record of the gate with the change.

    Runs in the transaction of the change. `overrides` ({gate: reason}) names gates that may hold
    the change all the same. Raises `DecisionHeld` if a gate holds it, and `DecisionRefused` for
    an override of a gate that does not exist or without a reason.
    """
    # A change of the rollout waits: neither may slip past what the other was judged by.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ROLLOUT_CHANGE])
    verdicts = examine(shift)
    if not verdicts:
        return {}
    try:
        return rollout_store.settle_gates(verdicts, overrides, HELD)
    except GateRefused as refusal:
        raise DecisionHeld(str(refusal), refusal.held) from refusal
    except ChangeRefused as refusal:
        raise DecisionRefused(str(refusal)) from refusal
