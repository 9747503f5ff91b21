"""The steps of the rollout: the recorded plan, where the rollout stands in it, and the next step.

`rollout_plan` has the rules. The plan is a row of an append-only table; the newest one counts, and
without one DEFAULT_PLAN. Serving processes do not need it, so a new plan is not a new version of
the rollout. `take_next` is the one function that takes a step: the page and the command call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

import structlog
from django.db import connection, transaction
from django.db.models import Min

from normalization import rollout_store
from normalization.models import OutcomeTally, RolloutChange, RolloutPlanChange
from normalization.rollout import Mode, Rollout
from normalization.rollout_plan import (
    DEFAULT_PLAN,
    PlanStep,
    RolloutPlan,
    StepRun,
    StepVerdict,
    judge_step,
    rank_of,
)
from normalization.rollout_store import ChangeRefused, ChangeResult, Snapshot
from stagenorm.locks import ROLLOUT_CHANGE

log = structlog.get_logger(__name__)

CHANGES_READ: Final = 200

# A row has at least one request, so this many rows are enough to reach the least number.
RUN: Final = """
SELECT extract(epoch FROM clock_timestamp() - %(since)s)::float, coalesce(sum(requests), 0)::bigint
FROM (
    SELECT requests FROM normalization_outcometally
    WHERE minute >= date_trunc('minute', %(since)s) AND mode = %(mode)s
    LIMIT %(rows)s
) AS counted
"""


@dataclass(frozen=True, slots=True)
class StepStanding:
    """Where the rollout stands in its plan.

    `current` is the step that it has reached and `run` how long that has run; both are None before
    the first step. `next` is None at the end. `verdict`: whether `current` has run long enough.
    """

    plan: RolloutPlan
    rollout: Rollout
    current: PlanStep | None
    run: StepRun | None
    next: PlanStep | None
    verdict: StepVerdict | None

    @property
    def held(self) -> StepVerdict | None:
        """The verdict that holds the next step, None if the step has run long enough."""
        held = self.next is not None and self.verdict is not None and not self.verdict.passes
        return self.verdict if held else None


def plan() -> RolloutPlan:
    """Return the plan in force; raises `django.db.Error`."""
    newest = plan_change()
    return RolloutPlan.from_wire(newest.steps) if newest is not None else DEFAULT_PLAN


def plan_change() -> RolloutPlanChange | None:
    """Return the newest recorded plan, None while the default is in force."""
    return RolloutPlanChange.objects.first()


def change_plan(to: RolloutPlan, *, actor: str, source: str, reason: str) -> bool:
    """Record a new plan; return whether it differs from the one in force.

    Raises `ChangeRefused` for an empty reason, and `django.db.Error`.
    """
    if not reason.strip():
        raise ChangeRefused("A change of the plan needs a reason, which the history shows.")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLOUT_CHANGE])
        if to == plan():
            return False
        RolloutPlanChange.objects.create(
            steps=to.to_wire(), actor=actor[:150], source=source, reason=reason.strip()[:500]
        )
    log.info("stage_rollout_plan_changed", actor=actor, source=source, steps=len(to.steps))
    return True


def standing(snapshot: Snapshot) -> StepStanding:
    """Return where `snapshot` stands in the plan; raises `django.db.Error`."""
    planned, rollout = plan(), snapshot.rollout
    current = planned.current(rollout)
    run = _run(rollout, current) if current is not None else None
    return StepStanding(
        plan=planned,
        rollout=rollout,
        current=current,
        run=run,
        next=planned.next(rollout),
        verdict=judge_step(current, run) if current is not None and run is not None else None,
    )


def take_next(
    *,
    actor: str,
    source: str,
    reason: str = "",
    expected_version: int | None = None,
    gate_overrides: Mapping[str, str] | None = None,
) -> ChangeResult:
    """Take the next step of the plan.

    The step in force holds it until it has run for its least time and least requests. That is a
    gate like the others, `step_proven`, which `gate_overrides` may skip with a reason.

    Raises `ChangeRefused` at the last step, and as `rollout_store.change` does.
    """
    snapshot = rollout_store.newest()
    found = standing(snapshot)
    if found.next is None:
        raise ChangeRefused("The plan is at its last step: every client is enforced.")
    return rollout_store.change(
        found.next.applied_to,
        actor=actor,
        source=source,
        reason=reason or f"Next step of the plan: {found.next.name}",
        expected_version=snapshot.version if expected_version is None else expected_version,
        gate_overrides=gate_overrides,
        verdicts=[found.verdict] if found.verdict is not None else [],
    )


def entered_at(rollout: Rollout) -> datetime | None:
    """Return when the rollout came to the step that it stands at.

    Without a recorded change that is the time of the first counted request in this mode.
    """
    rank, since = rank_of(rollout), None
    for change in RolloutChange.objects.order_by("-id")[:CHANGES_READ]:
        if _rank(change) != rank:
            return since
        since = change.created_at
    if since is None:
        tallies = OutcomeTally.objects.filter(mode=rollout.mode.value)
        since = tallies.aggregate(first=Min("minute"))["first"]
    return since


def _run(rollout: Rollout, step: PlanStep) -> StepRun:
    since = entered_at(rollout)
    if since is None:
        return StepRun(None, 0.0, 0)
    values = {"since": since, "mode": rollout.mode.value, "rows": max(step.least_requests, 1)}
    with connection.cursor() as cursor:
        cursor.execute(RUN, values)
        seconds, requests = cursor.fetchone()
    return StepRun(since, max(float(seconds), 0.0), int(requests))


def _rank(change: RolloutChange) -> Decimal:
    return rank_of(Rollout(Mode(change.mode), change.enforce_percent))
