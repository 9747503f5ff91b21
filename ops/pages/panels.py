"""What the operator's pages show beside the form. Each part is read by itself: one that fails takes no page down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import structlog
from django.db import connection, transaction
from django.urls import reverse

from ops.gates import facts
from ops.gates import rules as gates
from ops.gates.rules import GateOutcome, GateVerdict

log = structlog.get_logger(__name__)

PAGE_SECONDS: Final = 5.0  # a part of the rollout page that takes longer is left out
COMMAND: Final = "manage.py "

T = TypeVar("T")


def softly(part: str, read: Callable[[], T], seconds: float = PAGE_SECONDS) -> T | None:
    """Return what `read` returns, or None, logged, if it fails or one of its statements takes longer than `seconds`.

    Whatever fails: the page is where an operator takes enforcement back, so it comes up without the part.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [f"{seconds * 1000:.0f}"]
                )
            return read()
    except Exception:
        log.exception("stage_console_part_missing", part=part)
        return None


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate as the page shows it: `command` or `advice` mends it, `url` leads to where its facts are."""

    verdict: GateVerdict
    command: str
    advice: str
    url: str
    place: str

    @property
    def passes(self) -> bool:
        """Whether it lets more enforcement through."""
        return self.verdict.outcome is GateOutcome.PASS


@dataclass(frozen=True, slots=True)
class Gates:
    """Every gate, and the moment when the automatic way back last proved itself, from the same facts."""

    every: list[Gate]
    last_heartbeat_at: datetime | None

    @property
    def held(self) -> list[str]:
        """The names of those that would hold more enforcement."""
        return [gate.verdict.gate for gate in self.every if not gate.passes]

    @property
    def passing(self) -> int:
        """How many let it through."""
        return len(self.every) - len(self.held)

    @property
    def way_back(self) -> GateVerdict:
        """Whether the automatic way back is open: pass is open, fail closed, inconclusive not proven."""
        return next(
            gate.verdict
            for gate in self.every
            if gate.verdict.gate == gates.alert_path_alive.__name__
        )


def ask_gates(version: int) -> Gates:
    """Ask every gate as `manage.py rollout_status` does."""
    found = facts.collect(version, read_files=False)
    return Gates([_gate(verdict) for verdict in gates.examine(found)], found.last_heartbeat_at)


def _gate(verdict: GateVerdict) -> Gate:
    is_command = verdict.remedy.startswith(COMMAND)
    url, place = _places().get(verdict.gate, ("", ""))
    return Gate(
        verdict, verdict.remedy * is_command, verdict.remedy * (not is_command), url, place
    )


def _places() -> dict[str, tuple[str, str]]:
    page = reverse("ops-rollout")
    return {
        "backup_valid": (reverse("admin:ops_backup_changelist"), "Backups"),
        "stored_stages_clean": (reverse("admin:ops_backfillrun_changelist"), "Backfill runs"),
        "unknown_rate": (f"{page}#unknown", "Unknown spellings"),
        "alert_path_alive": (reverse("admin:ops_heartbeat_changelist"), "Heartbeats"),
        "instances_converged": (f"{page}#instances", "Instances"),
        "cooldown": (reverse("admin:ops_webhookdelivery_changelist"), "Webhook deliveries"),
    }
