"""One function for each change of a run's state; commands, admin and runner call these.

An operator begins, pauses, resumes and cancels. A process claims a run, works on it, and ends it.
`claim` is the only way to the right to write; it asks the gate `backup_valid` for every apply run.
`guards` has the reasons to refuse.
"""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from ops.backfill import lease as leases
from ops.backfill.columns import StageColumn
from ops.backfill.guards import (
    RunRefused,
    only_one,
    refuse_if_held,
    refuse_if_moved,
    refuse_unless_undoable,
    refuse_without_backup,
    unfinished,
)
from ops.backfill.lease import Lease
from ops.backfill.models import (
    LEASE_SECONDS,
    BackfillCheckpoint,
    BackfillRun,
    NormalizationLog,
    RunKind,
    RunOptions,
)
from ops.backfill.plan import BackfillPlan
from ops.backfill.states import RunState, refuse_unless_possible

log = structlog.get_logger(__name__)


# -- By an operator


def begin(
    plan: BackfillPlan, columns: Iterable[StageColumn], options: RunOptions, actor: str
) -> BackfillRun:
    """Record a planned run over `columns`. Raises RunRefused, naming an unfinished run."""
    run = _planned(options, actor, kind=RunKind.APPLY, alias_version=plan.alias_version)
    run.plan_hash, run.plan = plan.hash, plan.to_json()
    with only_one():
        run.save()
        for column in columns:
            BackfillCheckpoint.objects.create(
                run=run, table_name=column.table, column_name=column.column
            )
        _announce(run, "stage_backfill_planned")
    return run


def begin_undo(run_id: int, options: RunOptions, actor: str) -> BackfillRun:
    """Record a planned undo of `run_id`, which a process has to carry out.

    Raises RunRefused when the run cannot be undone: see `guards.refuse_unless_undoable`.
    """
    with only_one():
        run = _locked(run_id)
        refuse_unless_undoable(run)
        version = run.alias_version
        undo = _planned(options, actor, kind=RunKind.UNDO, undoes=run, alias_version=version)
        undo.save()
        for done in run.checkpoints.filter(changed__gt=0):
            _begin_undo_of(done, undo)
        _announce(undo, "stage_backfill_undo_planned")
    return undo


def pause(run_id: int, actor: str, reason: str = "paused by an operator") -> BackfillRun:
    """Stop the run before its next batch. Its process, if there is one, waits for `resume`."""
    return _steer(run_id, RunState.PAUSED, actor, reason)


def resume(run_id: int, actor: str, reason: str = "resumed by an operator") -> BackfillRun:
    """Let the waiting process of a paused run continue. Raises RunRefused without one."""
    with transaction.atomic():
        run = _locked(run_id)
        refuse_unless_possible(RunState(run.state), RunState.RUNNING)
        if not leases.is_alive(run):
            raise RunRefused(
                f"No process waits on run {run.pk}: "
                "resume it with `manage.py normalize_stages --apply --resume`."
            )
        return _moved(run, RunState.RUNNING, actor, reason)


def cancel(run_id: int, actor: str, reason: str = "cancelled by an operator") -> BackfillRun:
    """End the run before its next batch. Its writes stay, are logged, and can be undone."""
    return _steer(run_id, RunState.CANCELLED, actor, reason)


def discard_unfinished(actor: str) -> None:
    """Cancel the unfinished run, if there is one. Raises RunRefused while a process holds it."""
    with transaction.atomic():
        left = unfinished()
        if left is None:
            return
        run = _locked(left.pk)
        refuse_if_held(run)
        _moved(run, RunState.CANCELLED, actor, "restarted")


# -- By a process that works on the run


def start(
    plan: BackfillPlan, columns: Iterable[StageColumn], options: RunOptions, actor: str
) -> Lease:
    """Begin a run and claim it, in one transaction: a refused claim leaves no planned run behind.

    Raises as `begin` and `claim` do.
    """
    with only_one():
        run = begin(plan, columns, options, actor)
        return claim(run.pk, actor)


def claim_unfinished(actor: str, options: RunOptions | None = None) -> Lease:
    """Claim the unfinished run. Raises RunRefused when there is none, else as `claim` does."""
    left = unfinished()
    if left is None:
        raise RunRefused("There is no unfinished run: begin one with --apply.")
    refuse_if_moved(left)
    return claim(left.pk, actor, options)


def claim(run_id: int, actor: str, options: RunOptions | None = None) -> Lease:
    """Give this process the run: a planned, paused or failed one, or one whose holder is gone.

    `options` replace the recorded ones. Raises GateClosed for an apply run without a valid backup,
    and RunRefused while another process holds the run.
    """
    if BackfillRun.objects.filter(pk=run_id, kind=RunKind.APPLY).exists():
        refuse_without_backup()
    with transaction.atomic():
        run = _locked(run_id)
        refuse_if_held(run)
        if run.state == RunState.RUNNING:
            note = f"taken over from {run.lease_holder}, whose process is gone"
            _note(run, RunState.RUNNING, actor, note)
        else:
            _move(run, RunState.RUNNING, actor, "claimed by a process")
        if options:
            run.batch_size, run.options = options.batch_size, options.to_json()
        lease = _leased(run, actor)
        _announce(run, "stage_backfill_taken_up")
    return lease


def reconnected(lease: Lease) -> None:
    """Record which connection serves the holder now. Raises LeaseLost."""
    lease.renew()
    BackfillRun.objects.filter(pk=lease.run_id, lease_token=lease.token).update(
        lease_backend=leases.backend()
    )


def suspend(lease: Lease, actor: str, reason: str) -> None:
    """Pause the run and release the lease, so that any process may claim the run."""
    _end(lease, RunState.PAUSED, actor, reason)


def fail(lease: Lease, actor: str, error: str) -> None:
    """End the run as failed with the `error` of a batch."""

    def keep(run: BackfillRun) -> None:
        run.error = error

    _end(lease, RunState.FAILED, actor, error[:300], keep)


def complete(lease: Lease, actor: str, unknown: list[dict[str, Any]]) -> None:
    """End the run as completed; `unknown` values stay as they are. Marks an undone run as such."""

    def keep(run: BackfillRun) -> None:
        run.unknown = unknown
        if run.undoes_id:
            original = _locked(run.undoes_id)
            _move(original, RunState.UNDONE, actor, f"undone by run {run.pk}")
            original.save()

    _end(lease, RunState.COMPLETED, actor, "done", keep)


def release(lease: Lease) -> None:
    """Release the lease of a run that an operator ended."""
    BackfillRun.objects.filter(pk=lease.run_id, lease_token=lease.token).update(
        lease_token=None, waiting_for=""
    )


# -- What these functions share


def _locked(run_id: int) -> BackfillRun:
    """Return the run, its row locked until the transaction ends. Raises RunRefused without one.

    Every batch locks this row until its commit, so the caller acts between two batches.
    """
    run = BackfillRun.objects.select_for_update().filter(pk=run_id).first()
    if run is None:
        raise RunRefused(f"There is no run {run_id}.")
    return run


def _steer(run_id: int, target: RunState, actor: str, reason: str) -> BackfillRun:
    with transaction.atomic():
        return _moved(_locked(run_id), target, actor, reason)


def _end(
    lease: Lease,
    target: RunState,
    actor: str,
    reason: str,
    keep: Callable[[BackfillRun], None] = lambda run: None,
) -> None:
    with transaction.atomic():
        lease.fence()
        run = _locked(lease.run_id)
        keep(run)
        run.lease_token, run.waiting_for = None, ""
        _moved(run, target, actor, reason)


def _moved(run: BackfillRun, target: RunState, actor: str, reason: str) -> BackfillRun:
    _move(run, target, actor, reason)
    run.save()
    _announce(run, f"stage_backfill_{target}")
    return run


def _move(run: BackfillRun, target: RunState, actor: str, reason: str) -> None:
    """Change the state of a locked run, without saving it. Raises TransitionRefused."""
    refuse_unless_possible(RunState(run.state), target)
    run.state = target
    if target in (RunState.COMPLETED, RunState.CANCELLED):
        run.finished_at = timezone.now()
    _note(run, target, actor, reason)


def _note(run: BackfillRun, state: RunState, actor: str, reason: str) -> None:
    at = timezone.now().isoformat()
    entry = {"at": at, "state": state.value, "actor": actor, "reason": reason}
    run.history = [*run.history, entry]


def _announce(run: BackfillRun, event: str) -> None:
    """Log `event` once the transaction is committed."""
    fields = {"run": run.pk, "kind": str(run.kind), "state": str(run.state)}
    actor = run.history[-1]["actor"]
    transaction.on_commit(lambda: log.info(event, actor=actor, **fields))


def _planned(options: RunOptions, actor: str, **fields: Any) -> BackfillRun:
    run = BackfillRun(
        state=RunState.PLANNED,
        strategy=options.strategy,
        actor=actor,
        options=options.to_json(),
        batch_size=options.batch_size,
        **fields,
    )
    _note(run, RunState.PLANNED, actor, "planned")
    return run


def _leased(run: BackfillRun, actor: str) -> Lease:
    run.lease_token = uuid.uuid4()
    run.lease_holder = leases.holder(actor)
    run.lease_backend = leases.backend()
    run.started_at = run.started_at or timezone.now()
    run.error = ""
    run.save()
    seconds = run.options.get("lease_seconds", LEASE_SECONDS)
    lease = Lease(run.pk, run.lease_token, seconds)
    lease.renew()
    return lease


def _begin_undo_of(done: BackfillCheckpoint, undo: BackfillRun) -> None:
    entries = NormalizationLog.objects.filter(
        run_id=done.run_id, table_name=done.table_name, column_name=done.column_name
    )
    BackfillCheckpoint.objects.create(
        run=undo,
        table_name=done.table_name,
        column_name=done.column_name,
        undo_batch=entries.aggregate(last=Max("batch"))["last"],
        total=done.changed,
    )
