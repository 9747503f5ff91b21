"""One function for each change of a run's state. Command line, admin and runner all come here."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Max, Sum
from django.utils import timezone

from ops.backfill import lease as leases
from ops.backfill.columns import StageColumn, named, unknown_to, written_column
from ops.backfill.constraint import constrained
from ops.backfill.lease import Lease
from ops.backfill.models import BackfillCheckpoint, BackfillRun, Kind, NormalizationLog, Strategy
from ops.backfill.pace import LARGEST
from ops.backfill.plan import Plan
from ops.backfill.states import UNFINISHED, State, TransitionRefused, refuse_unless_possible

log = structlog.get_logger(__name__)


class RunRefused(RuntimeError):
    """The run cannot be begun, taken up or undone now; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run: first batch size in rows, back-off (milliseconds, or a share of the batch's time), lease."""

    strategy: Strategy = Strategy.BATCHED
    batch_size: int = 5000
    max_batch_size: int = LARGEST
    backoff_ms: int = 100
    backoff_share: float | None = None
    max_lag_seconds: float = 10.0
    lease_seconds: float = leases.LEASE_SECONDS

    def to_json(self) -> dict[str, Any]:
        """What the run keeps."""
        return {
            "max_batch_size": self.max_batch_size,
            "backoff_ms": self.backoff_ms,
            "backoff_share": self.backoff_share,
            "max_lag_seconds": self.max_lag_seconds,
            "lease_seconds": self.lease_seconds,
        }


def begin(plan: Plan, columns: Iterable[StageColumn], options: Options, actor: str) -> BackfillRun:
    """Record a planned run over `columns`. Raises RunRefused, naming the unfinished one and its holder."""
    run = BackfillRun(
        kind=Kind.APPLY,
        alias_version=plan.alias_version,
        plan_hash=plan.hash,
        plan=plan.to_json(),
        **_common(options, actor),
    )
    with _only_one():
        run.save()
        for column in columns:
            BackfillCheckpoint.objects.create(run=run, table_name=column.table, column_name=column.column)
    _announce(run, "stage_backfill_planned")
    return run


def begin_undo(run_id: int, options: Options, actor: str) -> BackfillRun:
    """Record a planned undo of `run_id`; a process has still to carry it out.

    Raises RunRefused for a run that is not over, is itself an undo, is not the last one that wrote, or whose columns
    are gone, or have a constraint that would refuse what they held before.
    """
    with _only_one():
        run = _locked(run_id)
        _refuse_undo(run)
        undo = BackfillRun(
            kind=Kind.UNDO, undoes=run, alias_version=run.alias_version, plan_hash="", **_common(options, actor)
        )
        undo.save()
        for done in run.checkpoints.filter(changed__gt=0):
            _begin_undo_of(done, undo)
    _announce(undo, "stage_backfill_undo_planned")
    return undo


def claim(run_id: int, actor: str, options: Options | None = None) -> Lease:
    """Take the run up in this process: from planned, paused or failed, or from a holder that is gone.

    `options` replace the recorded ones. Raises RunRefused naming the holder while that one lives.
    """
    with transaction.atomic():
        run = _locked(run_id)
        if leases.lives(run):
            raise RunRefused(_held(run))
        if run.state != State.RUNNING:
            _move(run, State.RUNNING, actor, "taken up")
        else:
            _note(run, State.RUNNING, actor, f"taken over from {run.lease_holder}, who is gone")
        if options:
            run.batch_size, run.options = options.batch_size, options.to_json()
        run.lease_token = uuid.uuid4()
        run.lease_holder = leases.holder(actor)
        run.lease_backend = leases.backend()
        run.started_at = run.started_at or timezone.now()
        run.error = ""
        run.save()
        lease = Lease(run.pk, run.lease_token, run.options.get("lease_seconds", leases.LEASE_SECONDS))
        lease.renew()
    _announce(run, "stage_backfill_taken_up")
    return lease


def refuse_if_moved(run: BackfillRun) -> None:
    """Raise RunRefused when an unfinished run was begun by a release that kept stages in other columns."""
    look_up = written_column if run.kind == Kind.UNDO else named
    if names := unknown_to(look_up, _places(run.checkpoints.all())):
        raise RunRefused(
            f"Run {run.pk} was begun by another release: {', '.join(names)} holds no stages in this one. "
            f"End it with --cancel {run.pk} and begin anew with --apply."
        )


def reconnected(lease: Lease) -> None:
    """Tell the database which connection serves the holder now. Raises LeaseLost."""
    lease.renew()
    BackfillRun.objects.filter(pk=lease.run_id, lease_token=lease.token).update(lease_backend=leases.backend())


def pause(run_id: int, actor: str, reason: str = "paused by an operator") -> BackfillRun:
    """Stop before the next batch. The run's process, if there is one, stays and waits for `resume`."""
    return _steer(run_id, State.PAUSED, actor, reason)


def resume(run_id: int, actor: str, reason: str = "resumed by an operator") -> BackfillRun:
    """Let a paused run's waiting process go on. Raises RunRefused when none waits: a process has to take it up."""
    with transaction.atomic():
        run = _locked(run_id)
        refuse_unless_possible(State(run.state), State.RUNNING)
        if not leases.lives(run):
            raise RunRefused(
                f"No process waits on run {run.pk}: take it up with `manage.py normalize_stages --apply --resume`."
            )
        _move(run, State.RUNNING, actor, reason)
        run.save()
    _announce(run, "stage_backfill_running")
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
            original = _locked(run.undoes_id)
            _move(original, State.UNDONE, actor, f"undone by run {run.pk}")
            original.save()

    _end(lease, State.COMPLETED, actor, "done", note)


def release(lease: Lease) -> None:
    """Give back the lease of a run that an operator ended."""
    BackfillRun.objects.filter(pk=lease.run_id, lease_token=lease.token).update(lease_token=None, waiting_for="")


def written(run: BackfillRun) -> list[tuple[str, str, int]]:
    """(before, after, rows) of everything that the run wrote, the most frequent first."""
    pairs = NormalizationLog.objects.filter(run=run).order_by().values_list("before", "after")
    return [(before, after, rows) for before, after, rows in pairs.annotate(sum=Sum("rows")).order_by("-sum", "before")]


def unfinished() -> BackfillRun | None:
    """The run that is not over, if there is one."""
    return BackfillRun.objects.filter(state__in=UNFINISHED).first()


def _steer(run_id: int, target: State, actor: str, reason: str) -> BackfillRun:
    # The run's row is locked by every batch until its commit, so this comes between two batches.
    with transaction.atomic():
        run = _locked(run_id)
        _move(run, target, actor, reason)
        run.save()
    _announce(run, f"stage_backfill_{target}")
    return run


def _end(lease: Lease, target: State, actor: str, reason: str, note: Callable[[BackfillRun], None]) -> None:
    with transaction.atomic():
        lease.fence()
        run = _locked(lease.run_id)
        _move(run, target, actor, reason)
        note(run)
        run.lease_token, run.waiting_for = None, ""
        run.save()
    _announce(run, f"stage_backfill_{target}")


def _move(run: BackfillRun, target: State, actor: str, reason: str) -> None:
    refuse_unless_possible(State(run.state), target)
    run.state = target
    if target in (State.COMPLETED, State.CANCELLED):
        run.finished_at = timezone.now()
    _note(run, target, actor, reason)


def _note(run: BackfillRun, state: State, actor: str, reason: str) -> None:
    entry = {"at": timezone.now().isoformat(), "state": state.value, "actor": actor, "reason": reason}
    run.history = [*run.history, entry]


def _locked(run_id: int) -> BackfillRun:
    run = BackfillRun.objects.select_for_update().filter(pk=run_id).first()
    if run is None:
        raise RunRefused(f"There is no run {run_id}.")
    return run


def _common(options: Options, actor: str) -> dict[str, Any]:
    now = timezone.now().isoformat()
    return {
        "state": State.PLANNED,
        "strategy": options.strategy,
        "actor": actor,
        "options": options.to_json(),
        "batch_size": options.batch_size,
        "history": [{"at": now, "state": State.PLANNED.value, "actor": actor, "reason": "planned"}],
    }


@contextmanager
def _only_one() -> Iterator[None]:
    """A transaction that makes a run; the database refuses a second unfinished one, which is named here."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "stage_one_active_run" not in str(error):
            raise
        other = unfinished()
        raise RunRefused(_held(other) if other else "Another run ended just now: try again.") from error


def _held(run: BackfillRun) -> str:
    who = f"held by {run.lease_holder}" if run.lease_token and leases.lives(run) else "held by nobody now"
    return (
        f"Run {run.pk} ({run.kind}, {run.state}) is not over, {who}. "
        f"Take it up with --resume, or end it with --cancel {run.pk}, or begin anew with --restart."
    )


def _refuse_undo(run: BackfillRun) -> None:
    if run.kind == Kind.UNDO:
        raise RunRefused(f"Run {run.pk} is itself an undo: begin a new run with --apply instead.")
    try:
        refuse_unless_possible(State(run.state), State.UNDONE)
    except TransitionRefused as error:
        raise RunRefused(f"Run {run.pk} cannot be undone. {error}") from error
    later = BackfillRun.objects.filter(pk__gt=run.pk, kind=Kind.APPLY).exclude(state=State.UNDONE)
    for other in later.annotate(wrote=Sum("checkpoints__changed")).filter(wrote__gt=0).order_by("-pk")[:1]:
        raise RunRefused(f"Run {other.pk} wrote after run {run.pk}: undo run {other.pk} first.")
    wrote = _places(run.checkpoints.filter(changed__gt=0))
    if gone := unknown_to(written_column, wrote):
        raise RunRefused(f"Run {run.pk} wrote {', '.join(gone)}, which this release does not have: restore a backup.")
    if names := constrained(wrote):
        raise RunRefused(f"{', '.join(names)} may hold canonical stages only: run --drop-constraint first.")


def _places(checkpoints: Iterable[BackfillCheckpoint]) -> list[tuple[str, str]]:
    return [(each.table_name, each.column_name) for each in checkpoints]


def _begin_undo_of(done: BackfillCheckpoint, undo: BackfillRun) -> None:
    last = NormalizationLog.objects.filter(
        run_id=done.run_id, table_name=done.table_name, column_name=done.column_name
    ).aggregate(last=Max("batch"))["last"]
    BackfillCheckpoint.objects.create(
        run=undo, table_name=done.table_name, column_name=done.column_name, undo_batch=last, total=done.changed
    )


def _announce(run: BackfillRun, event: str) -> None:
    log.info(event, run=run.pk, kind=run.kind, state=run.state, actor=(run.history or [{}])[-1].get("actor"))
