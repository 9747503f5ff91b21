"""The lease: which process works on a run, and how the process proves it on every write.

Note on fencing: `fence` checks the holder's token by a row lock inside the writing transaction. A
process that slept while another one took the run over still has its old token. It finds no row and
writes nothing.
"""

import os
import socket
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from ops.backfill import sql as statements
from ops.backfill.models import LEASE_SECONDS, BackfillRun
from ops.backfill.states import RunState
from stagenorm.sessions import require_session


class LeaseLost(RuntimeError):
    """Another process has taken the run over; this one must not write any more."""


class Steered(RuntimeError):
    """An operator paused or cancelled the run; `state` is the new state."""

    def __init__(self, state: RunState) -> None:
        super().__init__(f"The run is {state}.")
        self.state = state


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a run, identified by `token`; it expires after `seconds`."""

    run_id: int
    token: uuid.UUID
    seconds: float = LEASE_SECONDS

    def fence(self) -> int:
        """Lock the run inside the writing transaction; returns the number of its last batch.

        Raises LeaseLost, or Steered when an operator has paused or cancelled the run.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.FENCE, self._parameters())
            row = cursor.fetchone()
        if row is None:
            raise self._reason()
        return int(row[0])

    def renew(self, waiting_for: str = "", using: BaseDatabaseWrapper | None = None) -> RunState:
        """Send a heartbeat with the reason for a wait; returns the state. Raises LeaseLost.

        `using`: a connection outside the transaction that this process has open.
        """
        with (using or connection).cursor() as cursor:
            cursor.execute(
                statements.RENEW, {**self._parameters(), "waiting_for": waiting_for[:300]}
            )
            row = cursor.fetchone()
        if row is None:
            raise self._lost()
        return RunState(row[0])

    def _parameters(self) -> dict[str, Any]:
        return {"run": self.run_id, "token": self.token}

    def _reason(self) -> Exception:
        run = BackfillRun.objects.filter(pk=self.run_id, lease_token=self.token).first()
        return Steered(RunState(run.state)) if run else self._lost()

    def _lost(self) -> LeaseLost:
        run = BackfillRun.objects.filter(pk=self.run_id).first()
        if run and not run.lease_token and run.state == RunState.CANCELLED:
            return LeaseLost(f"Run {self.run_id} was cancelled while this process was away.")
        holder = run.lease_holder if run else "an unknown process"
        return LeaseLost(
            f"Run {self.run_id} was taken over by {holder}. "
            "This process has written nothing since."
        )


def is_alive(run: BackfillRun) -> bool:
    """Return whether a process holds the run now, by the database's clock.

    The run list, the run page, the home page, `normalize_stages` and the metrics all ask this
    function.
    """
    if run.state not in (RunState.RUNNING, RunState.PAUSED):
        return False
    with connection.cursor() as cursor:
        cursor.execute(statements.LEASE, {"run": run.pk})
        row = cursor.fetchone()
    if row is None:
        return False
    age, connected = row
    seconds = run.options.get("lease_seconds", LEASE_SECONDS)
    return lease_holds(age, seconds, connected=connected)


def lease_holds(age: float | None, seconds: float, *, connected: bool) -> bool:
    """Return whether a lease of `seconds` holds with a heartbeat `age` seconds old.

    A killed process loses its database connection at once. A stopped one (SIGSTOP, a frozen
    machine) keeps the connection and loses the lease with time. `age` is None without a holder.
    """
    return age is not None and age < seconds and connected


def holder(actor: str) -> str:
    """Return this process as others see it."""
    return f"{actor} on {socket.gethostname()}, process {os.getpid()}"[:300]


def backend() -> int:
    """Return the process id of the server process that serves this connection.

    The lease ends with the session. Raises `PooledSession` behind a pooler, which keeps it.
    """
    with connection.cursor() as cursor:
        require_session(cursor.connection)
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])
