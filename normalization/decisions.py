"""Change the decisions: apply a plan, retire spellings, undo a batch.

The admin and the command `stage_decisions` call these functions. Each is one transaction, one
batch and one version, under one advisory lock. `decision_store` serves the result to requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from django.db import connection, transaction
from django.db.models import Max

from normalization import decision_gate, decision_store
from normalization.decision_file import CONFIRMED, DecisionRow, escape
from normalization.decision_gate import (
    DecisionHeld,
    DecisionRefused,
    DecisionShift,
    in_force,
    shift_of,
)
from normalization.decision_plan import LONGEST_TEXT, DecisionPlan, WarnedRow, make_plan
from normalization.decision_undo import plan_undo
from normalization.models import DecisionBatch, StageDecision
from normalization.stages import fold
from stagenorm.locks import DECISION_CHANGE

__all__ = [
    "ConfirmationNeeded",
    "DecisionHeld",
    "DecisionRefused",
    "DecisionResult",
    "StalePlan",
    "apply",
    "in_force",
    "plan",
    "retire",
    "undo",
    "version",
]

log = structlog.get_logger(__name__)

INSERTED_AT_ONCE: Final = 1_000
LISTED_CONFIRMATIONS: Final = 20

SUPERSEDE: Final = """
UPDATE normalization_stagedecision SET superseded_at = %s, superseded_by_id = %s
WHERE superseded_at IS NULL AND id = ANY(%s)
"""

# A restored decision keeps its author and its time: clients see the answer of before, unchanged.
RESTORE: Final = """
INSERT INTO normalization_stagedecision
       (spelling, key, verdict, stage, kind, note, reason, decided_by, created_at, batch_id,
        restores_id)
SELECT spelling, key, verdict, stage, kind, note, reason, decided_by, created_at, %s,
       coalesce(restores_id, id)
FROM normalization_stagedecision WHERE id = ANY(%s) ORDER BY id
"""


class StalePlan(DecisionRefused):
    """The decisions changed after the plan was made."""


class ConfirmationNeeded(DecisionRefused):
    """Rows have hard warnings that no one has confirmed. `rows` are those rows."""

    def __init__(self, rows: Sequence[WarnedRow]) -> None:
        self.rows = tuple(rows)
        lines = [f"{escape(each.row.spelling)!r}: {each.warnings[0].sentence}" for each in rows]
        more = len(lines) - LISTED_CONFIRMATIONS
        if more > 0:
            lines[LISTED_CONFIRMATIONS:] = [f"and {more} more"]
        super().__init__(
            "Confirm each of these decisions, or leave them out:\n" + "\n".join(lines)
        )


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """What a change did. `batch` is None, and nothing was written, if nothing had to change.

    `version` is the version in force afterwards; `decided` and `superseded` count decisions.
    """

    version: int
    batch: DecisionBatch | None
    decided: int = 0
    superseded: int = 0


def version() -> int:
    """Return the version of the decisions in the database: the id of the newest batch, or 0."""
    return DecisionBatch.objects.aggregate(newest=Max("id"))["newest"] or 0


def plan(rows: Iterable[DecisionRow], *, prune: bool = False) -> DecisionPlan:
    """Compare `rows` with the decisions in force; change nothing."""
    # The version first: if a batch commits in between, the plan is stale rather than wrong.
    now = version()
    return make_plan(rows, {row.key: row for row in in_force()}, now, prune=prune)


def apply(
    plan: DecisionPlan,
    *,
    author: str,
    source: DecisionBatch.Source,
    reason: str = "",
    confirmed: Collection[str] = (),
    file_digest: str = "",
    gate_overrides: Mapping[str, str] | None = None,
) -> DecisionResult:
    """Carry out a plan. `reason` is recorded where a row has no source of its own.

    `confirmed` holds the spellings whose hard warnings the operator has confirmed. Their reasons
    are recorded with the word "confirmed", so that an export can be applied elsewhere.

    A plan that changes nothing writes nothing. `gate_overrides` are as in `decision_gate.ask`.
    Raises `StalePlan` if the decisions have changed since, `ConfirmationNeeded` for hard warnings,
    `DecisionHeld` if a gate holds it, `DecisionRefused` for conflicts or a missing reason.
    """
    reason = reason.strip()
    _refuse_conflicts(plan)
    if unexplained := [row for row in plan.written if not (row.source.strip() or reason)]:
        raise DecisionRefused(
            f"The decision about {_listed(unexplained)} needs a reason. The list of decisions "
            "shows it."
        )
    if unconfirmed := plan.unconfirmed(confirmed):
        raise ConfirmationNeeded(unconfirmed)
    with _changing() as now:
        if plan.version != now:
            raise StalePlan(
                f"The decisions are at version {now}; the plan was made at version "
                f"{plan.version}. Nothing was written. Make a new plan."
            )
        if not plan.changes:
            return DecisionResult(now, None)
        shift = shift_of(plan)
        evidence = decision_gate.ask(shift, gate_overrides or {})
        batch = _record(
            DecisionBatch.Action.APPLY,
            source,
            author,
            reason,
            evidence,
            plan_hash=plan.hash,
            file_digest=file_digest,
        )
        superseded = _supersede(_ids(shift.gone), batch)
        _insert(plan, batch, reason)
    return _announced(batch, len(plan.written), superseded)


def retire(
    spellings: Collection[str],
    *,
    author: str,
    source: DecisionBatch.Source,
    reason: str,
    gate_overrides: Mapping[str, str] | None = None,
) -> DecisionResult:
    """Take decisions out of force; their spellings are undecided again.

    Raises `DecisionHeld` if a gate holds the change, and `DecisionRefused` if one of the
    spellings has no decision, or without a reason.
    """
    if not reason.strip():
        raise DecisionRefused("Retiring a decision needs a reason. The history shows it.")
    with _changing():
        ids = _ids([fold(spelling) for spelling in spellings])
        decided = set(StageDecision.objects.filter(id__in=ids).values_list("key", flat=True))
        if undecided := [each for each in spellings if fold(each) not in decided]:
            raise DecisionRefused(f"There is no decision about {_texts(undecided)} to retire.")
        shift = DecisionShift(frozenset(decided))
        evidence = decision_gate.ask(shift, gate_overrides or {})
        batch = _record(DecisionBatch.Action.RETIRE, source, author, reason.strip(), evidence)
        superseded = _supersede(ids, batch)
    return _announced(batch, 0, superseded)


def undo(
    number: int,
    *,
    author: str,
    source: DecisionBatch.Source,
    reason: str = "",
    gate_overrides: Mapping[str, str] | None = None,
) -> DecisionResult:
    """Take back what batch `number` did, where it still stands.

    Its decisions go out of force, and what it had replaced or retired comes back. Spellings that
    a later batch decided or retired stay as that batch left them. Raises `DecisionHeld` if a gate
    holds the change, and `DecisionRefused` if there is nothing to take back.
    """
    with _changing():
        undoing = plan_undo(number)
        evidence = decision_gate.ask(undoing.shift, gate_overrides or {})
        batch = _record(DecisionBatch.Action.UNDO, source, author, reason.strip(), evidence)
        superseded = _supersede([each.pk for each in undoing.gone], batch)
        restored = [each.pk for each in undoing.restored]
        with connection.cursor() as cursor:
            cursor.execute(RESTORE, [batch.pk, restored])
        DecisionBatch.objects.filter(pk=number).update(undone_by=batch)
    return _announced(batch, len(restored), superseded)


def _refuse_conflicts(plan: DecisionPlan) -> None:
    if plan.conflicts:
        first = plan.conflicts[0]
        more = len(plan.conflicts) - 1
        raise DecisionRefused(
            f"{first.row.spelling[:100]!r} cannot be decided: {first.why}."
            + (f" {more} more rows cannot be decided either." if more else "")
        )


@contextmanager
def _changing() -> Iterator[int]:
    """Open the transaction of one change; yield the version that it starts from.

    One writer at a time, so that versions commit in the order of their numbers.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [DECISION_CHANGE])
        yield version()


def _record(
    action: DecisionBatch.Action,
    source: DecisionBatch.Source,
    author: str,
    reason: str,
    evidence: dict[str, Any],
    *,
    plan_hash: str = "",
    file_digest: str = "",
) -> DecisionBatch:
    return DecisionBatch.objects.create(
        action=action,
        source=source,
        author=author[:150],
        reason=reason[:500],
        evidence=evidence,
        plan_hash=plan_hash,
        file_digest=file_digest,
    )


def _ids(keys: Collection[str]) -> list[int]:
    """Return the ids of the decisions in force about these folded spellings."""
    wanted = set(keys)
    if not wanted:
        return []
    found = StageDecision.objects.filter(superseded_at__isnull=True).values_list("id", "key")
    return [pk for pk, key in found.order_by() if key in wanted]


def _supersede(ids: Sequence[int], batch: DecisionBatch) -> int:
    with connection.cursor() as cursor:
        cursor.execute(SUPERSEDE, [batch.created_at, batch.pk, list(ids)])
        return int(cursor.rowcount)


def _insert(plan: DecisionPlan, batch: DecisionBatch, reason: str) -> None:
    confirmed = {
        each.row.key for each in plan.warned if each.is_hard and not each.row.is_confirmed
    }
    StageDecision.objects.bulk_create(
        [
            StageDecision(
                spelling=row.spelling,
                key=row.key,
                verdict=row.verdict,
                stage=row.stage or "",
                kind=row.kind,
                note=row.note,
                reason=_reason(row, reason, confirmed),
                decided_by=batch.author,
                batch=batch,
                created_at=batch.created_at,
            )
            for row in plan.written
        ],
        batch_size=INSERTED_AT_ONCE,
    )


def _reason(row: DecisionRow, reason: str, confirmed: Collection[str]) -> str:
    given = row.source.strip() or reason
    return (f"{CONFIRMED}: {given}" if row.key in confirmed else given)[:LONGEST_TEXT]


def _announced(batch: DecisionBatch, decided: int, superseded: int) -> DecisionResult:
    log.info(
        "stage_decisions_changed",
        version=batch.pk,
        action=batch.action,
        source=batch.source,
        author=batch.author,
        decided=decided,
        superseded=superseded,
    )
    # Runs at once unless there is an outer transaction, which may still fail.
    transaction.on_commit(decision_store.spread)
    return DecisionResult(batch.pk, batch, decided, superseded)


def _listed(rows: Sequence[DecisionRow]) -> str:
    return _texts([row.spelling for row in rows])


def _texts(spellings: Sequence[str]) -> str:
    more = len(spellings) - 3
    shown = ", ".join(repr(each[:100]) for each in spellings[:3])
    return shown + (f" and {more} more" if more > 0 else "")
