"""This process at work on a run: its lease and connection, the pace it keeps, and the wishes that reach it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.db import Error
from django.db.models import QuerySet

from ops.backfill import control
from ops.backfill import retry as attempts
from ops.backfill.columns import StageColumn
from ops.backfill.events import Tell
from ops.backfill.interrupts import Interrupts
from ops.backfill.lease import Lease, Steered
from ops.backfill.models import BackfillCheckpoint, BackfillRun, Strategy
from ops.backfill.pacing import Pace
from ops.backfill.states import State
from ops.backfill.throttle import Throttle
from ops.backfill.transactional import OneTransaction

T = TypeVar("T")

LOOK_AGAIN_SECONDS = 1.0


class Stopped(RuntimeError):
    """This process was asked to end (SIGINT, SIGTERM)."""


class Session:
    """`run` as it was when this process took it up; `transaction` when all of it is to be one (`transactional`)."""

    def __init__(self, lease: Lease, tell: Tell, interrupts: Interrupts) -> None:
        self.lease, self.interrupts = lease, interrupts
        self.run = BackfillRun.objects.get(pk=lease.run_id)
        self.tell: Tell = partial(tell, run=lease.run_id)
        options = self.run.options
        self.pace = Pace(
            self.run.batch_size,
            options["backoff_ms"],
            options["backoff_share"],
            options["max_batch_size"],
        )
        self.throttle = Throttle(options["max_lag_seconds"])
        self.transaction = (
            OneTransaction(lease) if self.run.strategy == Strategy.TRANSACTIONAL else None
        )

    def persist(self, take: Callable[[], T]) -> T:
        """`take()`, and again after errors that pass; see `attempts`. Raises Stopped when asked to end meanwhile."""
        return attempts.persist(
            take,
            before_retry=self._before_retry,
            reconnect=lambda: control.reconnected(self.lease),
            # Inside one transaction a lost connection takes everything along.
            may_reconnect=not (self.transaction and self.transaction.open),
        )

    def fence(self) -> None:
        """Inside a writing transaction: prove the lease, unless a larger transaction does so at its end."""
        if self.transaction is None:
            self.lease.fence()

    def checkpoint(self, column: StageColumn) -> QuerySet[BackfillCheckpoint]:
        """The run's one checkpoint of `column`."""
        return BackfillCheckpoint.objects.filter(
            run=self.run, table_name=column.table, column_name=column.column
        )

    def rest(self, seconds: float) -> None:
        """Wait between two batches, but not inside one transaction, which holds rows. Raises Stopped."""
        self._wait(0 if self.transaction else seconds)

    def wait_for_others(self, column: StageColumn) -> None:
        """Wait, and say why, while a replica lags or somebody waits long for the table. Raises Steered or Stopped."""
        # A transaction that holds rows must not wait for anybody.
        while self.transaction is None and (reason := self.throttle.reason(column)):
            state = self.lease.renew(reason)
            self.tell("waiting", table=column.table, reason=reason)
            if state is not State.RUNNING:
                raise Steered(state)
            self._wait(LOOK_AGAIN_SECONDS)

    def wait_while_paused(self) -> None:
        """Wait until an operator resumes the run. Raises Steered when it is ended instead, or Stopped."""
        reason = "paused by an operator"
        self.tell("waiting", table="", reason=reason)
        while (state := self.persist(lambda: self.lease.renew(reason))) is State.PAUSED:
            self._wait(min(LOOK_AGAIN_SECONDS, self.lease.seconds / 3))
        if state is not State.RUNNING:
            raise Steered(state)
        self.tell("resumed")

    def _before_retry(self, error: Error, reason: str, seconds: float) -> None:
        if attempts.timed_out(error):
            self.pace.shrink()
        self.tell("retry", reason=reason, error=attempts.first_line(error), seconds=seconds)
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        self.interrupts.wait(seconds)
        if self.interrupts.wish:
            raise Stopped(self.interrupts.wish)
