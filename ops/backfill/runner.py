"""A run from the first column to the last, and how it ends in this process.

Below: `passes` (one column), `walk` (one pass over its keys), `batches` (one transaction).
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import Error

from normalization.stages import SpellingTable
from ops.backfill import columns, control
from ops.backfill.columns import StageColumn
from ops.backfill.events import Tell
from ops.backfill.interrupts import Interrupts
from ops.backfill.lease import Lease, LeaseLost, Steered
from ops.backfill.models import BackfillRun, Kind
from ops.backfill.passes import normalize_column, undo_column
from ops.backfill.plan import fresh_aliases
from ops.backfill.retry import BatchFailed, ConnectionLost
from ops.backfill.session import Session, Stopped
from ops.backfill.states import State


@dataclass(frozen=True, slots=True)
class Finish:
    """How a run ended in this process: the run as recorded, and `trouble`, "" when it is completed."""

    run: BackfillRun
    trouble: str = ""


def carry_out(lease: Lease, *, actor: str, tell: Tell, interrupts: Interrupts) -> Finish:
    """Work on the run until it is completed, stopped, or fails; whatever happens is recorded on it and returned."""
    try:
        trouble = _Runner(Session(lease, tell, interrupts), actor).work()
    except ConnectionLost as error:
        # Nothing can be recorded. The lease ends with the connection, so that the run can be taken up at once.
        run = BackfillRun(pk=lease.run_id, state=State.RUNNING)
        return Finish(
            run, f"{error} Everything up to the last batch stands; go on with --apply --resume."
        )
    return Finish(BackfillRun.objects.get(pk=lease.run_id), trouble)


class _Runner:
    def __init__(self, session: Session, actor: str) -> None:
        self.session, self.actor = session, actor
        self.run, self.lease = session.run, session.lease
        self.aliases = self._aliases()

    def _aliases(self) -> SpellingTable:
        """The aliases in force now. They may have changed since the run was planned: the run says what it used."""
        table = fresh_aliases()
        if self.run.kind == Kind.APPLY and table.version != self.run.alias_version:
            self.session.tell("aliases", planned=self.run.alias_version, now=table.version)
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
                    if steered.state is not State.PAUSED:
                        raise
                    self.session.wait_while_paused()
        except Stopped as error:
            return self._suspend(str(error))
        except Steered:
            control.release(self.lease)
            return f"Run {self.run.pk} was cancelled. What it wrote stays; --undo {self.run.pk} gives it back."
        except LeaseLost as error:
            return str(error)
        except (BatchFailed, Error) as error:
            return self._fail(str(error).strip())

    def _all_columns(self) -> None:
        with self.session.transaction.begun() if self.session.transaction else nullcontext():
            unknown = [found for column in self._columns() for found in self._column(column)]
        self.session.persist(lambda: control.complete(self.lease, self.actor, unknown))

    def _columns(self) -> list[StageColumn]:
        look_up = columns.written_column if self.run.kind == Kind.UNDO else columns.named
        return [
            look_up(each.table_name, each.column_name)
            for each in self.run.checkpoints.order_by("id")
        ]

    def _column(self, column: StageColumn) -> list[dict[str, Any]]:
        """Returns the unknown values that stay."""
        if self.run.kind == Kind.UNDO:
            undo_column(self.session, column)
            return []
        return normalize_column(self.session, column, self.aliases)

    def _suspend(self, signal: str) -> str:
        try:
            control.suspend(self.lease, self.actor, signal)
        except Steered:  # an operator had paused it already
            control.release(self.lease)
        except LeaseLost as lost:
            return str(lost)
        kept = "nothing was written" if self.session.transaction else "everything so far stands"
        return f"Run {self.run.pk} is paused ({signal}): {kept}. Go on with --apply --resume."

    def _fail(self, error: str) -> str:
        try:
            control.fail(self.lease, self.actor, error)
        except Steered:  # an operator paused or cancelled it meanwhile
            control.release(self.lease)
        except LeaseLost as lost:
            return f"{error} {lost}"
        return f"{error} The checkpoint stands; mend the cause and go on with --apply --resume."
