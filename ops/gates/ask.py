"""Asks the gates before a change that enforces more.

The setting `STAGE_GATEKEEPER` names `examine`; `rollout_store.change` calls it.
"""

from __future__ import annotations

import structlog

from normalization.rollout import Rollout
from normalization.rollout_store import Snapshot
from ops.gates import facts
from ops.gates import rules as gates
from ops.gates.rules import GateOutcome, GateVerdict

log = structlog.get_logger(__name__)


def examine(before: Snapshot, new: Rollout) -> list[GateVerdict]:
    """Return one verdict for each gate on a change from `before` to the stricter `new`.

    Runs inside the transaction of that change.
    """
    verdicts = gates.examine(facts.collect(before.version))
    held = [verdict.gate for verdict in verdicts if verdict.outcome is not GateOutcome.PASS]
    log.info("stage_gates_examined", version=before.version, to=str(new.mode), held=held)
    return verdicts
