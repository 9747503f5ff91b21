"""A run from its first column to its last, and how it ends in this process.

Below: `passes` (one column), `batches` (one transaction), `sql` (its statements).
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db import Error

from normalization.stages import SpellingTable
from ops.backfill import columns, control
from ops.backfill.columns import StageColumn
from ops.backfill.lease import Lease, LeaseLost, Steered
from ops.backfill.models import BackfillRun, RunKind
from ops.backfill.passes import normalize_column, undo_column
from ops.backfill.retry import BatchFailed, ConnectionLost
from ops.backfill.session import EventListener, Interrupts, RunSession, StopRequested
from ops.backfill.states import RunState
from ops.backfill.survey import fresh_aliases


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended in this process: the run as recorded, and `trouble`, "" when completed."""

    run: BackfillRun
    trouble: str = ""


def carry_out(
    lease: Lease, *, actor: str, tell: EventListener, interrupts: Interrupts
) -> RunResult:
    """Work on the run until it is completed, stopped or failed; records and returns the outcome."""
    try:
        trouble = _Runner(RunSession(lease, tell, interrupts), actor).work()
    except ConnectionLost as error:
        # Nothing can be recorded. The lease ends with the connection, so the run can be resumed.
        run = BackfillRun(pk=lease.run_id, state=RunState.RUNNING)
        trouble = f"{error} All committed batches are safe. Resume the run with --apply --resume."
        return RunResult(run, trouble)
    return RunResult(BackfillRun.objects.get(pk=lease.run_id), trouble)


class _Runner:
    def __init__(self, session: RunSession, actor: str) -> None:
        self.session, self.actor = session, actor
        self.run, self.lease = session.run, session.lease
        self.aliases = self._aliases()

    def _aliases(self) -> SpellingTable:
        """Return the aliases in force, and record their version: it may be newer than the plan's."""
        table = fresh_aliases()
        if self.run.kind == RunKind.APPLY and table.version != self.run.alias_version:
            self.session.tell("aliases", planned=self.run.alias_version, now=table.version)
            BackfillRun.objects.filter(pk=self.run.pk).update(alias_version=table.version)
        return table

    def work(self) -> str:
        """Return why the run is not completed; "" when it is."""
        try:
            self._until_not_paused()
        except StopRequested as error:
            return self._suspend(str(error))
        except Steered:
            control.release(self.lease)
            return (
                f"Run {self.run.pk} was cancelled. Its writes stay; "
                f"--undo {self.run.pk} restores the rows."
            )
        except LeaseLost as error:
            return str(error)
        except (BatchFailed, Error) as error:
            return self._fail(str(error).strip())
        return ""

    def _until_not_paused(self) -> None:
        while True:
            try:
                return self._all_columns()
            except Steered as steered:
                if steered.state is not RunState.PAUSED:
                    raise
                self.session.wait_while_paused()

    def _all_columns(self) -> None:
        with self.session.transaction.begun() if self.session.transaction else nullcontext():
            unknown = [found for column in self._columns() for found in self._column(column)]
        self.session.persist(lambda: control.complete(self.lease, self.actor, unknown))

    def _columns(self) -> list[StageColumn]:
        look_up = columns.written_column if self.run.kind == RunKind.UNDO else columns.named
        checkpoints = self.run.checkpoints.order_by("id")
        return [look_up(each.table_name, each.column_name) for each in checkpoints]

    def _column(self, column: StageColumn) -> list[dict[str, Any]]:
        """Work on one column; returns the unknown values that stay."""
        if self.run.kind == RunKind.UNDO:
            undo_column(self.session, column)
            return []
        return normalize_column(self.session, column, self.aliases)

    def _suspend(self, signal: str) -> str:
        try:
            control.suspend(self.lease, self.actor, signal)
        except Steered:  # an operator has paused it already
            control.release(self.lease)
        except LeaseLost as lost:
            return str(lost)
        kept = "nothing was written" if self.session.transaction else "all batches so far are kept"
        return f"Run {self.run.pk} is paused ({signal}): {kept}. Resume it with --apply --resume."

    def _fail(self, error: str) -> str:
        try:
            control.fail(self.lease, self.actor, error)
        except Steered:  # an operator paused or cancelled it meanwhile
            control.release(self.lease)
        except LeaseLost as lost:
            return f"{error} {lost}"
        return f"{error} The checkpoint is kept; fix the cause and resume with --apply --resume."
