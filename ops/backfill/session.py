"""This process at work on a run: lease, connection, pace, signals, and pauses by an operator.

`RunSession` is what the passes work with. The strategy `transactional` adds `OneTransaction`.
"""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Protocol, TypeVar

from django.db import Error, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from ops.backfill import control, retry
from ops.backfill.columns import StageColumn
from ops.backfill.lease import Lease, Steered
from ops.backfill.models import BackfillCheckpoint, BackfillRun, RunStrategy
from ops.backfill.pacing import Pace, Throttle
from ops.backfill.states import RunState

T = TypeVar("T")

LOOK_AGAIN_SECONDS = 1.0


class EventListener(Protocol):
    """Receives a run's events: `listener("batch", table=..., ...)`.

    Events: `pass`, `batch`, `waiting`, `retry`, `narrowing`, `aliases`, `resumed`.
    """

    def __call__(self, event: str, /, **fields: Any) -> None: ...


class StopRequested(RuntimeError):
    """A signal (SIGINT, SIGTERM) asked this process to end."""


class Interrupts:
    """Turns SIGINT and SIGTERM into a request to stop after the current batch.

    `wish`: the signal's name, or None. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.wish: str | None = None
        self._woken, self._wake = os.pipe()

    def wait(self, seconds: float) -> None:
        """Sleep; a signal ends the sleep at once.

        A pipe carries the signal because a signal handler may safely write to it.
        """
        select.select([self._woken], [], [], max(0.0, seconds))

    @contextmanager
    def listening(self) -> Iterator["Interrupts"]:
        """Handle SIGINT and SIGTERM for the length of the block."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._received)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._woken)
        os.close(self._wake)

    def _received(self, number: int, frame: FrameType | None) -> None:
        self.wish = signal.Signals(number).name
        os.write(self._wake, b"!")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class OneTransaction:
    """The transaction of the strategy `transactional`, which checks the lease at its end.

    Heartbeats use a second connection: other sessions see nothing from inside the transaction.
    They return the run's state. When an operator has paused or cancelled the run, everything is
    rolled back. `batch`: the number of the last batch. `open`: whether the transaction is open.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.batch = 0
        self.open = False
        self._outside: BaseDatabaseWrapper = connection.copy("backfill_lease")

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Open the transaction; commit it at the end of the block if the lease still holds."""
        runs = BackfillRun.objects.filter(pk=self.lease.run_id)
        try:
            with transaction.atomic():
                self.open = True
                self.batch = runs.values_list("batch", flat=True).get()
                started = monotonic()
                yield
                self.lease.fence()
                runs.update(batch=self.batch, working_seconds=monotonic() - started)
        finally:
            self.open = False
            self._outside.close()

    def moved(self, batch: int) -> None:
        """Send a heartbeat after a batch. Raises Steered or LeaseLost."""
        self.batch = batch
        state = self.lease.renew(f"batch {batch} of one transaction", using=self._outside)
        if state is not RunState.RUNNING:
            raise Steered(state)


class RunSession:
    """The run as it was when this process claimed it, and everything that paces the work.

    `transaction` is set for the strategy `transactional` only.
    """

    def __init__(self, lease: Lease, tell: EventListener, interrupts: Interrupts) -> None:
        self.lease, self.interrupts = lease, interrupts
        self.run = BackfillRun.objects.get(pk=lease.run_id)
        self.tell: EventListener = partial(tell, run=lease.run_id)
        options = self.run.options
        self.pace = Pace(
            self.run.batch_size,
            options["backoff_ms"],
            options["backoff_share"],
            options["max_batch_size"],
        )
        self.throttle = Throttle(options["max_lag_seconds"])
        self.transaction: OneTransaction | None = None
        if self.run.strategy == RunStrategy.TRANSACTIONAL:
            self.transaction = OneTransaction(lease)

    def persist(self, call: Callable[[], T]) -> T:
        """Return `call()`; retries after transient errors, see `retry.persist`.

        Raises StopRequested when a signal comes while it waits.
        """
        return retry.persist(
            call,
            before_retry=self._before_retry,
            reconnect=lambda: control.reconnected(self.lease),
            # A lost connection ends an open transaction with all its writes.
            may_reconnect=not (self.transaction and self.transaction.open),
        )

    def fence(self) -> None:
        """Check the lease in a writing transaction; `OneTransaction` does that at its end."""
        if self.transaction is None:
            self.lease.fence()

    def checkpoint(self, column: StageColumn) -> QuerySet[BackfillCheckpoint]:
        """Return a query for the run's one checkpoint of `column`."""
        return BackfillCheckpoint.objects.filter(
            run=self.run, table_name=column.table, column_name=column.column
        )

    def rest(self, seconds: float) -> None:
        """Rest between two batches. Raises StopRequested.

        One transaction holds its rows until the end, so it does not rest.
        """
        self._wait(0 if self.transaction else seconds)

    def wait_for_others(self, column: StageColumn) -> None:
        """Wait while a replica lags or a session waits long for the table, and report the reason.

        Raises Steered or StopRequested. One transaction holds rows, so it does not wait.
        """
        while self.transaction is None and (reason := self.throttle.reason(column)):
            state = self.lease.renew(reason)
            self.tell("waiting", table=column.table, reason=reason)
            if state is not RunState.RUNNING:
                raise Steered(state)
            self._wait(LOOK_AGAIN_SECONDS)

    def wait_while_paused(self) -> None:
        """Wait until an operator resumes the run. Raises Steered when it is ended instead."""
        reason = "paused by an operator"
        self.tell("waiting", table="", reason=reason)
        while (state := self.persist(lambda: self.lease.renew(reason))) is RunState.PAUSED:
            self._wait(min(LOOK_AGAIN_SECONDS, self.lease.seconds / 3))
        if state is not RunState.RUNNING:
            raise Steered(state)
        self.tell("resumed")

    def _before_retry(self, error: Error, reason: str, seconds: float) -> None:
        if retry.timed_out(error):
            self.pace.shrink()
        self.tell("retry", reason=reason, error=retry.first_line(error), seconds=seconds)
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        self.interrupts.wait(seconds)
        if self.interrupts.wish:
            raise StopRequested(self.interrupts.wish)
