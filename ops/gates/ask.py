"""Asks the gates before a change that refuses more.

The setting `STAGE_GATEKEEPER` names `examine`; `rollout_store.change` calls it. The setting
`STAGE_DECISION_GATEKEEPER` names `examine_decisions`; `decision_gate` calls it.
"""

from __future__ import annotations

import structlog

from normalization.rollout import Rollout
from normalization.rollout_store import Snapshot
from normalization.stages import SpellingTable
from ops import clock
from ops.gates import facts
from ops.gates import rules as gates
from ops.gates.rules import GateOutcome, GateVerdict
from ops.gates.traffic import enforced_traffic

log = structlog.get_logger(__name__)


def examine(before: Snapshot, new: Rollout) -> list[GateVerdict]:
    """Return one verdict for each gate on a change from `before` to the stricter `new`.

    Runs inside the transaction of that change.
    """
    verdicts = gates.examine(facts.collect(before.version, new))
    held = [verdict.gate for verdict in verdicts if verdict.outcome is not GateOutcome.PASS]
    log.info("stage_gates_examined", version=before.version, to=str(new.mode), held=held)
    return verdicts


def examine_decisions(
    rollout: Rollout, before: SpellingTable, after: SpellingTable
) -> list[GateVerdict]:
    """Return the verdict of the gate `would_refuse` on a change of the decisions in enforce.

    The list is empty if `after` refuses no more of the requests of 24 hours than `before`. Runs
    inside the transaction of that change.
    """
    now = clock.database_now()
    becomes = enforced_traffic(rollout, now, after)
    if becomes.refused <= enforced_traffic(rollout, now, before).refused:
        return []
    known = facts.of_traffic(becomes, now)
    verdicts = gates.examine(known, (gates.would_refuse,))
    held = [verdict.gate for verdict in verdicts if verdict.outcome is not GateOutcome.PASS]
    log.info("stage_gates_examined_for_decisions", held=held)
    return verdicts
