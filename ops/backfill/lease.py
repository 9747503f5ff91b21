"""The lease: which process works on a run, and how it proves that on every write.

Note on fencing: the holder's token is checked by a row lock inside the transaction that writes (`fence`). A process
that slept while another took the run over still has its old token, finds no row, and writes nothing.
"""

import os
import socket
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from ops.backfill import sql as statements
from ops.backfill.models import BackfillRun
from ops.backfill.states import State

LEASE_SECONDS = 30.0


class LeaseLost(RuntimeError):
    """Another process has taken the run over; this one must write nothing more."""


class Steered(RuntimeError):
    """An operator paused or cancelled the run; `state` says which."""

    def __init__(self, state: State) -> None:
        super().__init__(f"The run is {state}.")
        self.state = state


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a run, as of `token`."""

    run_id: int
    token: uuid.UUID
    seconds: float = LEASE_SECONDS

    def fence(self) -> int:
        """Inside the writing transaction: lock the run and return the number of its last batch.

        Raises LeaseLost, or Steered when an operator has paused or cancelled the run.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.FENCE, self._parameters())
            row = cursor.fetchone()
        if row is None:
            raise self._why()
        return int(row[0])

    def renew(self, waiting_for: str = "", using: BaseDatabaseWrapper | None = None) -> State:
        """Show a sign of life, and why the run waits; returns its state. Raises LeaseLost.

        `using`: a connection outside the transaction that this process has open.
        """
        with (using or connection).cursor() as cursor:
            cursor.execute(
                statements.RENEW, {**self._parameters(), "waiting_for": waiting_for[:300]}
            )
            row = cursor.fetchone()
        if row is None:
            raise self._lost()
        return State(row[0])

    def _parameters(self) -> dict[str, Any]:
        return {"run": self.run_id, "token": self.token}

    def _why(self) -> Exception:
        run = BackfillRun.objects.filter(pk=self.run_id, lease_token=self.token).first()
        return Steered(State(run.state)) if run else self._lost()

    def _lost(self) -> LeaseLost:
        run = BackfillRun.objects.filter(pk=self.run_id).first()
        if run and not run.lease_token and run.state == State.CANCELLED:
            return LeaseLost(f"Run {self.run_id} was cancelled while this process was away.")
        holder = run.lease_holder if run else "nobody"
        return LeaseLost(
            f"Run {self.run_id} was taken over by {holder}: this process has written nothing since."
        )


def lives(run: BackfillRun) -> bool:
    """Whether some process still holds the run, as the database sees it."""
    seconds = run.options.get("lease_seconds", LEASE_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(statements.LEASE_LIVES, {"run": run.pk, "lease_seconds": seconds})
        row = cursor.fetchone()
    return bool(row and row[0])


def holder(actor: str) -> str:
    """This process as it is shown to others."""
    return f"{actor} on {socket.gethostname()}, process {os.getpid()}"[:300]


def backend() -> int:
    """The server process that serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
