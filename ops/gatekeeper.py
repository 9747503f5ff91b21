"""Asks the gates on behalf of a step that needs them. `STAGE_GATEKEEPER` names `examine`."""

from __future__ import annotations

import structlog

from normalization.rollout import Rollout
from normalization.rollout_store import Snapshot
from ops import facts, gates
from ops.gates import Outcome, Verdict

log = structlog.get_logger(__name__)


def examine(before: Snapshot, new: Rollout) -> list[Verdict]:
    """Answer for a change from `before` to a stricter `new`, inside that change's transaction: one verdict a gate."""
    verdicts = gates.examine(facts.collect(before.version))
    held = [verdict.gate for verdict in verdicts if verdict.outcome is not Outcome.PASS]
    log.info("stage_gates_examined", version=before.version, to=str(new.mode), held=held)
    return verdicts


def backup_verdict() -> Verdict:
    """Answer for a step that rewrites stored rows: this one gate cannot be overridden there."""
    now = facts.database_now()
    return gates.backup_valid(gates.Facts(now, 0, 0.0, backups=tuple(facts.backup_facts())))
