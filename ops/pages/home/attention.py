"""What needs the operator now, most urgent first.

A way back comes first, then a run that stopped, the backup, the way back that is not proven, the
clocks, and servers that disagree. Nothing is listed while all is well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.urls import reverse

from normalization import instances
from normalization.checks import CLOCK_LIMIT_SECONDS
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout
from ops.backfill.states import PROCESS_GONE, RunState
from ops.backups.models import Backup
from ops.gates.rules import GateOutcome
from ops.pages.home.state import newest_run
from ops.pages.home.steps import day_or_time, taken_back
from ops.pages.incidents.record import of_change
from ops.pages.panels import GatePanel
from ops.pages.rollout.changes import effects

SETTLED: Final = timedelta(seconds=10)  # servers read a change within 5 s
NAMES_LISTED: Final = 3
_STOPPED: Final = {
    PROCESS_GONE: ("has stopped", "Its process is gone. What it wrote stays; it can be resumed."),
    RunState.FAILED.value: ("has failed", "What it wrote stays. Fix the cause, then resume it."),
    RunState.PAUSED.value: ("is paused", "What it wrote stays. It waits until it is resumed."),
}
_BY: Final = {"alert": "the alert", "guard": "the guard"}


@dataclass(frozen=True, slots=True)
class Attention:
    """One matter: what happened, what it means, and the page that helps."""

    tone: str
    icon: str
    title: str
    text: str
    action: str
    url: str


def way_back(
    rollout: Rollout, history: Sequence[RolloutChange], now: datetime
) -> Iterator[Attention]:
    """Yield what alert or guard took back, until a person changes the rollout."""
    change = taken_back(history)
    if change is None:
        return
    url = of_change(change)
    at = day_or_time(change.created_at, now)
    if change.previous_mode == Mode.ENFORCE.value and rollout.mode is not Mode.ENFORCE:
        title = f"Enforcement was taken back automatically by {_BY[change.source]}, {at}"
        text = f"{change.reason} Every client is only warned; nothing has been refused since."
        yield Attention("bad", "undo", title, text, "See what happened", url)
        return
    before = history[1].rollout() if len(history) > 1 else rollout
    differences = " ".join(effects(before, rollout, [], []).differences)
    title = f"The guard protected clients, {at}"
    yield Attention("bad", "undo", title, f"{differences} {change.reason}", "See why", url)


def stopped_run() -> Iterator[Attention]:
    """Yield the newest run if it is unfinished and nothing works on it."""
    found = newest_run()
    if found is None:
        return
    run, words = found
    if words in _STOPPED:
        what, text = _STOPPED[words]
        url = reverse("admin:ops_backfillrun_change", args=[run.pk])
        title = f"Run {run.pk} over the stored rows {what}"
        yield Attention("warn", "alert", title, text, f"Open run {run.pk}", url)


def stale_backup(rollout: Rollout, panel: GatePanel) -> Iterator[Attention]:
    """Yield that no backup is fresh and valid, once there was one or once enforcement needs it."""
    row = panel.row("backup_valid")
    needed = rollout.mode is Mode.ENFORCE or Backup.objects.exists()
    if not row.passes and needed:
        yield Attention(
            "warn",
            "alert",
            "No fresh, tested backup",
            row.verdict.sentence,
            "Open backups",
            row.url,
        )


def unproven_way_back(rollout: Rollout, panel: GatePanel) -> Iterator[Attention]:
    """Yield that the way back is not proven, once it was or once enforcement needs it."""
    row, found = panel.row("way_back_proven"), panel.way_back
    if row.passes or (rollout.mode is not Mode.ENFORCE and found.last_heartbeat_at is None):
        return
    title = f"The way back is {found.word}"
    urgent = rollout.mode is Mode.ENFORCE and found.verdict.outcome is GateOutcome.FAIL
    tone, icon = ("bad", "no") if urgent else ("warn", "alert")
    yield Attention(tone, icon, title, row.verdict.sentence, "Open heartbeats", row.url)


def clocks() -> Iterator[Attention]:
    """Yield the servers whose clock is not the database's."""
    off = [each for each in instances.serving() if abs(each.skew) > CLOCK_LIMIT_SECONDS]
    if not off:
        return
    count = "1 server is" if len(off) == 1 else f"{len(off)} servers are"
    listed = ", ".join(f"{each.name} by {each.skew:+.0f} s" for each in off[:NAMES_LISTED])
    more = f" and {len(off) - NAMES_LISTED} more" if len(off) > NAMES_LISTED else ""
    text = f"{listed}{more}. A signed alert is refused where the clock is off: set the clock."
    url = f"{reverse('ops-rollout')}#instances"
    yield Attention("warn", "alert", f"{count} off the clock", text, "See the servers", url)


def servers(
    panel: GatePanel, history: Sequence[RolloutChange], now: datetime
) -> Iterator[Attention]:
    """Yield that servers do not agree on the rollout, once a change had time to reach them."""
    row = panel.row("instances_converged")
    settled = not history or now - history[0].created_at > SETTLED
    if settled and row.verdict.outcome is GateOutcome.FAIL:
        yield Attention(
            "warn",
            "alert",
            "Servers do not agree",
            row.verdict.sentence,
            "See the servers",
            row.url,
        )
