"""Asks the gates on behalf of a step that needs them. `STAGE_GATEKEEPER` names `examine`."""

from __future__ import annotations

import structlog

from normalization.rollout import Rollout
from normalization.rollout_store import Snapshot
from ops.gates import facts
from ops.gates import rules as gates
from ops.gates.rules import GateOutcome, GateVerdict

log = structlog.get_logger(__name__)


def examine(before: Snapshot, new: Rollout) -> list[GateVerdict]:
    """Answer for a change from `before` to a stricter `new`, inside that change's transaction: one verdict a gate."""
    verdicts = gates.examine(facts.collect(before.version))
    held = [verdict.gate for verdict in verdicts if verdict.outcome is not GateOutcome.PASS]
    log.info("stage_gates_examined", version=before.version, to=str(new.mode), held=held)
    return verdicts
