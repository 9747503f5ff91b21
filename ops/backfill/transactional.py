"""The strategy `transactional`: all batches in one transaction, which shows its lease at the end.

Signs of life go out by a second connection, for nothing inside the transaction can be seen from outside. Its answer
says when an operator wants the run paused or cancelled: then everything is rolled back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from ops.backfill.lease import Lease, Steered
from ops.backfill.models import BackfillRun
from ops.backfill.states import State


class OneTransaction:
    """`batch`: the number of the last batch in it. `open`: whether it has begun and not ended."""

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
                self.batch = BackfillRun.objects.values_list("batch", flat=True).get(
                    pk=self.lease.run_id
                )
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
        if (
            state := self.lease.renew(f"batch {batch} of one transaction", using=self._outside)
        ) is not State.RUNNING:
            raise Steered(state)
