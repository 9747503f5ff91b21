"""A run from the first batch to the last: passes over each column until nothing is left that could be normalized.

Note on passes: one pass walks the keys of a column from the first row to change to the last. Meanwhile clients insert
behind the cursor, write other spellings, and hold rows that the pass goes by. So after each pass the column is
surveyed again, and what is left makes the next pass, mostly of a few rows. A column is finished when a survey finds
nothing but canonical and unknown values: a run ends with a verification.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

from django.db import Error, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from normalization.stages import AliasTable
from ops.backfill import attempts, columns, control, statements
from ops.backfill.attempts import BatchFailed, ConnectionLost
from ops.backfill.batches import Outcome, apply_batch, undo_batch
from ops.backfill.columns import StageColumn
from ops.backfill.interrupts import Interrupts
from ops.backfill.lease import Lease, LeaseLost, Steered
from ops.backfill.models import BackfillCheckpoint, BackfillRun, Kind, Strategy
from ops.backfill.pace import Pace
from ops.backfill.plan import ColumnPlan, fresh_aliases, make_plan, unknown_json
from ops.backfill.states import State
from ops.backfill.survey import Mapping
from ops.backfill.throttle import Throttle

MOST_PASSES = 6
WAITING_PASSES = 3
"""From this pass on, rows that clients hold are waited for."""
LOOK_AGAIN_SECONDS = 1.0


class Tell(Protocol):
    """Where a run's events go: `tell("batch", table=..., ...)`."""

    def __call__(self, event: str, /, **fields: Any) -> None: ...


class Stopped(RuntimeError):
    """This process was asked to end (SIGINT, SIGTERM)."""


@dataclass(frozen=True, slots=True)
class Finish:
    """How a run ended in this process: the run as recorded, and `trouble`, "" when it is completed."""

    run: BackfillRun
    trouble: str = ""


def carry_out(lease: Lease, *, actor: str, tell: Tell, interrupts: Interrupts) -> Finish:
    """Work on the run until it is completed, stopped, or fails; whatever happens is recorded on it and returned."""
    try:
        trouble = _Runner(lease, actor, tell, interrupts).work()
    except ConnectionLost as error:
        # Nothing can be recorded. The lease ends with the connection, so that the run can be taken up at once.
        run = BackfillRun(pk=lease.run_id, state=State.RUNNING)
        return Finish(run, f"{error} Everything up to the last batch stands; go on with --apply --resume.")
    return Finish(BackfillRun.objects.get(pk=lease.run_id), trouble)


class _Runner:
    def __init__(self, lease: Lease, actor: str, tell: Tell, interrupts: Interrupts) -> None:
        self.lease, self.actor, self.tell, self.interrupts = lease, actor, tell, interrupts
        self.run = BackfillRun.objects.get(pk=lease.run_id)
        options = self.run.options
        self.pace = Pace(
            self.run.batch_size, options["backoff_ms"], options["backoff_share"], options["max_batch_size"]
        )
        self.throttle = Throttle(options["max_lag_seconds"])
        self.aliases = self._aliases()
        self.transaction = _OneTransaction(lease) if self.run.strategy == Strategy.TRANSACTIONAL else None

    def _aliases(self) -> AliasTable:
        """The aliases in force now. They may have changed since the run was planned: the run says what it used."""
        table = fresh_aliases()
        if self.run.kind == Kind.APPLY and table.version != self.run.alias_version:
            self.tell("aliases", run=self.run.pk, planned=self.run.alias_version, now=table.version)
            BackfillRun.objects.filter(pk=self.run.pk).update(alias_version=table.version)
        return table

    def work(self) -> str:
        """Returns what stands in the way of completion, "" for nothing."""
        try:
            while True:
                try:
                    self._all_columns()
                    return ""
                except Steered as steered:
                    self._heed(steered)
        except Stopped as error:
            return self._give_back(str(error))
        except Steered:
            control.release(self.lease)
            return f"Run {self.run.pk} was cancelled. What it wrote stays; --undo {self.run.pk} gives it back."
        except LeaseLost as error:
            return str(error)
        except (BatchFailed, Error) as error:
            return self._fail(str(error).strip())

    def _all_columns(self) -> None:
        if self.transaction is None:
            unknown = [found for column in self._columns() for found in self._column(column)]
        else:
            with self.transaction.begun():
                unknown = [found for column in self._columns() for found in self._column(column)]
        self._persist(lambda: control.complete(self.lease, self.actor, unknown))

    def _columns(self) -> list[StageColumn]:
        look_up = columns.written_column if self.run.kind == Kind.UNDO else columns.named
        return [look_up(each.table_name, each.column_name) for each in self.run.checkpoints.order_by("id")]

    def _column(self, column: StageColumn) -> list[dict[str, Any]]:
        """Every pass that the column needs; returns its unknown values."""
        if self.run.kind == Kind.UNDO:
            self._batches(column, lambda: undo_batch(self.lease, column, self.run.undoes_id or 0, self.pace.size))
            self._checkpoint(column).update(finished=True)
            return []
        mapping = Mapping(self.aliases)
        while True:
            at = self._persist(self._checkpoint(column).get)
            if at.until is None:
                planned = self._persist(partial(self._survey, column))
                if not planned.to_change:
                    self._persist(partial(self._finish_column, column, planned))
                    where = {"table": column.table, "column": column.column}
                    return [where | each for each in unknown_json(planned.unknown)]
                mapping = Mapping(self.aliases, planned.mapping())
                at = self._persist(partial(self._begin_pass, column, planned))
            self._batches(column, partial(self._apply, column, mapping, waits=at.passes >= WAITING_PASSES))
            self._persist(partial(self._end_pass, column))

    def _survey(self, column: StageColumn) -> ColumnPlan:
        return make_plan([column], self.aliases, sample=False).columns[0]

    def _apply(self, column: StageColumn, mapping: Mapping, *, waits: bool) -> Outcome:
        if self.transaction is None:
            return apply_batch(self.lease, column, mapping, self.pace.size, waits=waits)
        done = apply_batch(
            self.lease, column, mapping, self.pace.size, waits=True, fenced=False, number=self.transaction.batch
        )
        self.transaction.moved(done.number)
        return done

    def _batches(self, column: StageColumn, take: Callable[[], Outcome]) -> None:
        def one() -> Outcome:
            self._wait_for_others(column)
            return take()

        while True:
            try:
                done = self._persist(one)
            except Error as error:
                if self._narrows(error):
                    continue
                raise BatchFailed(f"{self._where(column)}: {attempts.first_line(error)}.") from error
            size = self.pace.size
            self.pace.note(done.seconds, done.contended)
            self.tell(
                "batch",
                run=self.run.pk,
                batch=done.number,
                table=column.table,
                column=column.column,
                after=done.first,
                last=done.last,
                scanned=done.scanned,
                changed=done.changed,
                skipped=done.skipped,
                seconds=round(done.seconds, 4),
                size=size,
                next_size=self.pace.size,
                contended=done.contended,
            )
            if done.finished:
                return
            self._rest(self.pace.rest(done.seconds))

    def _narrows(self, error: Error) -> bool:
        """Whether to try again with fewer rows: what can be written is, and the message names the row that cannot."""
        if self.pace.size == 1 or attempts.passing(error):
            return False
        self.pace.size = max(1, self.pace.size // 10)
        self.tell("narrowing", run=self.run.pk, error=attempts.first_line(error), next_size=self.pace.size)
        return True

    def _rest(self, seconds: float) -> None:
        if self.transaction is None:
            self.interrupts.wait(seconds)
        if self.interrupts.wish:
            raise Stopped(self.interrupts.wish)

    def _wait_for_others(self, column: StageColumn) -> None:
        # A transaction that holds rows must not wait for anybody.
        while self.transaction is None and (reason := self.throttle.reason(column)):
            state = self.lease.renew(reason)
            self.tell("waiting", run=self.run.pk, table=column.table, reason=reason)
            if state is not State.RUNNING:
                raise Steered(state)
            self._rest(LOOK_AGAIN_SECONDS)

    def _heed(self, steered: Steered) -> None:
        """Wait while paused; raise on when the run is over."""
        if steered.state is not State.PAUSED:
            raise steered
        self.tell("waiting", run=self.run.pk, table="", reason="paused by an operator")
        while (state := self._persist(lambda: self.lease.renew("paused by an operator"))) is State.PAUSED:
            self.interrupts.wait(min(LOOK_AGAIN_SECONDS, self.lease.seconds / 3))
            if self.interrupts.wish:
                raise Stopped(self.interrupts.wish)
        if state is not State.RUNNING:
            raise Steered(state)
        self.tell("resumed", run=self.run.pk)

    def _fail(self, error: str) -> str:
        try:
            control.fail(self.lease, self.actor, error)
        except Steered:  # an operator paused or cancelled it meanwhile
            control.release(self.lease)
        except LeaseLost as lost:
            return f"{error} {lost}"
        return f"{error} The checkpoint stands; mend the cause and go on with --apply --resume."

    def _give_back(self, signal: str) -> str:
        try:
            control.suspend(self.lease, self.actor, signal)
        except Steered:  # an operator had paused it already
            control.release(self.lease)
        except LeaseLost as lost:
            return str(lost)
        kept = "nothing was written" if self.transaction else "everything so far stands"
        return f"Run {self.run.pk} is paused ({signal}): {kept}. Go on with --apply --resume."

    def _persist(self, take: Callable[[], Any]) -> Any:
        def retry(error: Error, reason: str, seconds: float) -> None:
            if attempts.timed_out(error):
                self.pace.shrink()
            self.tell("retry", run=self.run.pk, reason=reason, error=attempts.first_line(error), seconds=seconds)
            self.interrupts.wait(seconds)
            if self.interrupts.wish:
                raise Stopped(self.interrupts.wish)

        return attempts.persist(
            take,
            before_retry=retry,
            reconnect=lambda: control.reconnected(self.lease),
            # Inside one transaction a lost connection takes everything along.
            may_reconnect=not (self.transaction and self.transaction.open),
        )

    def _checkpoint(self, column: StageColumn) -> Any:
        return BackfillCheckpoint.objects.filter(run_id=self.run.pk, table_name=column.table, column_name=column.column)

    def _begin_pass(self, column: StageColumn, planned: ColumnPlan) -> BackfillCheckpoint:
        with transaction.atomic(), connection.cursor() as cursor:
            self._fence()
            at: BackfillCheckpoint = self._checkpoint(column).get()
            if at.passes >= MOST_PASSES:
                raise BatchFailed(
                    f"{planned.to_change} rows of {column} still hold other spellings after {at.passes} passes: "
                    "clients keep them locked, or keep writing them."
                )
            bounds = {"after": (planned.first or 0) - 1, "until": planned.last}
            cursor.execute(column.sql(statements.ROWS_OF_PASS), bounds)
            at.cursor, at.until, at.passes = bounds["after"], bounds["until"], at.passes + 1
            at.total = at.scanned + cursor.fetchone()[0]
            at.unknown = planned.unknown_rows
            at.save()
        self.tell(
            "pass",
            run=self.run.pk,
            table=column.table,
            column=column.column,
            number=at.passes,
            scanned=at.scanned,
            total=at.total,
            to_change=planned.to_change,
        )
        return at

    def _end_pass(self, column: StageColumn) -> None:
        with transaction.atomic():
            self._fence()
            self._checkpoint(column).update(until=None)

    def _finish_column(self, column: StageColumn, planned: ColumnPlan) -> None:
        with transaction.atomic():
            self._fence()
            self._checkpoint(column).update(finished=True, unknown=planned.unknown_rows)

    def _fence(self) -> None:
        if self.transaction is None:
            self.lease.fence()

    def _where(self, column: StageColumn) -> str:
        """The rows of the batch that comes next, for an error message."""
        at = self._checkpoint(column).get()
        if at.until is None:
            return f"{column}, batch {at.undo_batch} of run {self.run.undoes_id}, after row {at.cursor}"
        page = {"after": at.cursor, "until": at.until, "size": self.pace.size}
        with connection.cursor() as cursor:
            cursor.execute(column.sql(statements.PAGE_END), page)
            end, _ = cursor.fetchone()
        return f"{column}, rows {at.cursor + 1} to {end}"


class _OneTransaction:
    """The strategy `transactional`: all batches in one transaction, which shows its lease at the end.

    Signs of life go out by a second connection, for nothing inside the transaction can be seen from outside. Its
    answer says when an operator wants the run paused or cancelled: then everything is rolled back.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.batch = 0
        self.open = False
        self._outside: BaseDatabaseWrapper = connection.copy("backfill_lease")

    @contextmanager
    def begun(self) -> Iterator[None]:
        """The transaction; committed at the end of the block if the lease still stands."""
        try:
            with transaction.atomic():
                self.open = True
                self.batch = BackfillRun.objects.values_list("batch", flat=True).get(pk=self.lease.run_id)
                started = monotonic()
                yield
                self.lease.fence()
                BackfillRun.objects.filter(pk=self.lease.run_id).update(
                    batch=self.batch, working_seconds=monotonic() - started
                )
        finally:
            self.open = False
            self._outside.close()

    def moved(self, batch: int) -> None:
        """A batch is done: show a sign of life. Raises Steered or LeaseLost."""
        self.batch = batch
        if (state := self.lease.renew(f"batch {batch} of one transaction", using=self._outside)) is not State.RUNNING:
            raise Steered(state)
