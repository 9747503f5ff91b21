"""One function for each change of a run's state. Command line, admin and runner all come here.

An operator (or a command for one) begins, pauses, resumes and cancels; a process claims a run, and ends it one way or
another. What both rest on: `ledger` (the run's row) and `refusals` (what must not be begun now).
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from ops.backfill import lease as leases
from ops.backfill import ledger
from ops.backfill.columns import StageColumn
from ops.backfill.guards import only_one, refuse_if_held, refuse_unless_undoable
from ops.backfill.lease import Lease
from ops.backfill.ledger import RunRefused, unfinished, written
from ops.backfill.models import BackfillCheckpoint, BackfillRun, Kind, NormalizationLog
from ops.backfill.options import Options
from ops.backfill.plan import Plan
from ops.backfill.states import State, refuse_unless_possible

__all__ = [
    "Options",
    "RunRefused",
    "begin",
    "begin_undo",
    "cancel",
    "claim",
    "complete",
    "fail",
    "pause",
    "reconnected",
    "release",
    "resume",
    "suspend",
    "unfinished",
    "written",
]


def begin(plan: Plan, columns: Iterable[StageColumn], options: Options, actor: str) -> BackfillRun:
    """Record a planned run over `columns`. Raises RunRefused, naming the unfinished one and its holder."""
    run = _planned(options, actor, kind=Kind.APPLY, alias_version=plan.alias_version)
    run.plan_hash, run.plan = plan.hash, plan.to_json()
    with only_one():
        run.save()
        for column in columns:
            BackfillCheckpoint.objects.create(
                run=run, table_name=column.table, column_name=column.column
            )
    ledger.announce(run, "stage_backfill_planned")
    return run


def begin_undo(run_id: int, options: Options, actor: str) -> BackfillRun:
    """Record a planned undo of `run_id`; a process has still to carry it out.

    Raises RunRefused for a run that is not over, is itself an undo, is not the last one that wrote, or whose columns
    are gone, or have a constraint that would refuse what they held before.
    """
    with only_one():
        run = ledger.locked(run_id)
        refuse_unless_undoable(run)
        undo = _planned(
            options, actor, kind=Kind.UNDO, undoes=run, alias_version=run.alias_version
        )
        undo.save()
        for done in run.checkpoints.filter(changed__gt=0):
            _begin_undo_of(done, undo)
    ledger.announce(undo, "stage_backfill_undo_planned")
    return undo


def claim(run_id: int, actor: str, options: Options | None = None) -> Lease:
    """Take the run up in this process: from planned, paused or failed, or from a holder that is gone.

    `options` replace the recorded ones. Raises RunRefused naming the holder while that one lives.
    """
    with transaction.atomic():
        run = ledger.locked(run_id)
        refuse_if_held(run)
        if run.state != State.RUNNING:
            ledger.move(run, State.RUNNING, actor, "taken up")
        else:
            ledger.note(
                run, State.RUNNING, actor, f"taken over from {run.lease_holder}, who is gone"
            )
        if options:
            run.batch_size, run.options = options.batch_size, options.to_json()
        run.lease_token = uuid.uuid4()
        run.lease_holder = leases.holder(actor)
        run.lease_backend = leases.backend()
        run.started_at = run.started_at or timezone.now()
        run.error = ""
        run.save()
        lease = Lease(
            run.pk, run.lease_token, run.options.get("lease_seconds", leases.LEASE_SECONDS)
        )
        lease.renew()
    ledger.announce(run, "stage_backfill_taken_up")
    return lease


def reconnected(lease: Lease) -> None:
    """Tell the database which connection serves the holder now. Raises LeaseLost."""
    lease.renew()
    BackfillRun.objects.filter(pk=lease.run_id, lease_token=lease.token).update(
        lease_backend=leases.backend()
    )


def pause(run_id: int, actor: str, reason: str = "paused by an operator") -> BackfillRun:
    """Stop before the next batch. The run's process, if there is one, stays and waits for `resume`."""
    return _steer(run_id, State.PAUSED, actor, reason)


def resume(run_id: int, actor: str, reason: str = "resumed by an operator") -> BackfillRun:
    """Let a paused run's waiting process go on. Raises RunRefused when none waits: a process has to take it up."""
    with transaction.atomic():
        run = ledger.locked(run_id)
        refuse_unless_possible(State(run.state), State.RUNNING)
        if not leases.lives(run):
            raise RunRefused(
                f"No process waits on run {run.pk}: take it up with `manage.py normalize_stages --apply --resume`."
            )
        ledger.move(run, State.RUNNING, actor, reason)
        run.save()
    ledger.announce(run, "stage_backfill_running")
    return run


def cancel(run_id: int, actor: str, reason: str = "cancelled by an operator") -> BackfillRun:
    """Stop before the next batch, for good. What was written stays, logged, and can be undone."""
    return _steer(run_id, State.CANCELLED, actor, reason)


def suspend(lease: Lease, actor: str, reason: str) -> None:
    """By the run's own process: pause and give the lease back, so that any process may take the run up."""
    _end(lease, State.PAUSED, actor, reason, lambda run: None)


def fail(lease: Lease, actor: str, error: str) -> None:
    """By the run's own process: a batch failed for good."""

    def note(run: BackfillRun) -> None:
        run.error = error

    _end(lease, State.FAILED, actor, error[:300], note)


def complete(lease: Lease, actor: str, unknown: list[dict[str, Any]]) -> None:
    """By the run's own process: all done; `unknown` values stay as they are. Ends an undone run's story too."""

    def note(run: BackfillRun) -> None:
        run.unknown = unknown
        if run.undoes_id:
            original = ledger.locked(run.undoes_id)
            ledger.move(original, State.UNDONE, actor, f"undone by run {run.pk}")
            original.save()

    _end(lease, State.COMPLETED, actor, "done", note)


def release(lease: Lease) -> None:
    """Give back the lease of a run that an operator ended."""
    BackfillRun.objects.filter(pk=lease.run_id, lease_token=lease.token).update(
        lease_token=None, waiting_for=""
    )


def _steer(run_id: int, target: State, actor: str, reason: str) -> BackfillRun:
    with transaction.atomic():
        run = ledger.locked(run_id)
        ledger.move(run, target, actor, reason)
        run.save()
    ledger.announce(run, f"stage_backfill_{target}")
    return run


def _end(
    lease: Lease, target: State, actor: str, reason: str, note: Callable[[BackfillRun], None]
) -> None:
    with transaction.atomic():
        lease.fence()
        run = ledger.locked(lease.run_id)
        ledger.move(run, target, actor, reason)
        note(run)
        run.lease_token, run.waiting_for = None, ""
        run.save()
    ledger.announce(run, f"stage_backfill_{target}")


def _planned(options: Options, actor: str, **fields: Any) -> BackfillRun:
    run = BackfillRun(
        state=State.PLANNED,
        strategy=options.strategy,
        actor=actor,
        options=options.to_json(),
        batch_size=options.batch_size,
        **fields,
    )
    ledger.note(run, State.PLANNED, actor, "planned")
    return run


def _begin_undo_of(done: BackfillCheckpoint, undo: BackfillRun) -> None:
    last = NormalizationLog.objects.filter(
        run_id=done.run_id, table_name=done.table_name, column_name=done.column_name
    ).aggregate(last=Max("batch"))["last"]
    BackfillCheckpoint.objects.create(
        run=undo,
        table_name=done.table_name,
        column_name=done.column_name,
        undo_batch=last,
        total=done.changed,
    )
