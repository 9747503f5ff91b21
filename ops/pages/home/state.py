"""The state of the platform beside the line: spellings, clients, servers, backup, runs, way back.

Each row is read by itself. A row that cannot be read still links to its page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.urls import reverse
from django.utils.timesince import timesince

from normalization import instances, rollout_store
from ops.alerts.way_back import read_way_back
from ops.backfill.lease import is_alive
from ops.backfill.models import BackfillRun
from ops.backfill.states import PROCESS_GONE, RunState, state_in_words
from ops.backups import history
from ops.gates.rules import GateFacts, GateOutcome, backup_valid, best_backup
from ops.pages.clients.counts import clients_refused
from ops.pages.panels import softly
from ops.pages.periods import DAY
from ops.pages.spellings.goal import LIMIT_PERCENT
from ops.pages.spellings.models import SpellingCount

_VERDICT_TONES: Final = {
    GateOutcome.PASS: "good",
    GateOutcome.FAIL: "bad",
    GateOutcome.INCONCLUSIVE: "unsure",
}
_CLASSES: Final = {"good": "ok", "bad": "bad", "unsure": "look", "plain": "none"}
_ICONS: Final = {"good": "ok", "bad": "no", "unsure": "alert", "plain": "dot"}
SECONDS: Final = 2.0  # the start page omits a part that takes longer


@dataclass(frozen=True, slots=True)
class StateRow:
    """One fact about the platform: `word` and a `detail`.

    `tone` (good, bad, unsure, plain) is its colour and its icon.
    """

    label: str
    word: str
    detail: str
    tone: str
    url: str

    @property
    def css(self) -> str:
        """The class of the row in the style sheet."""
        return _CLASSES[self.tone]

    @property
    def icon(self) -> str:
        """The name of the icon, which repeats the colour as a shape."""
        return _ICONS[self.tone]


Look = Callable[[datetime], StateRow]


def state(now: datetime) -> list[StateRow]:
    """Return every row."""
    return [_row(label, look, url(), now) for label, look, url in _LOOKS]


def _row(label: str, look: Look, url: str, now: datetime) -> StateRow:
    found = softly(label, lambda: look(now), SECONDS)
    return found or StateRow(label, "not known", "This part is slow right now.", "unsure", url)


def _spellings(now: datetime) -> StateRow:
    counted = SpellingCount.objects.first()
    if counted is None:
        return StateRow("Spellings", "not counted", "open the page to count", "plain", _inbox())
    undecided, rows = counted.shares.get("", (0, 0))
    every = sum(rows for _, rows in counted.shares.values())
    if not undecided:
        return StateRow("Spellings", "all decided", "nothing to decide", "good", _inbox())
    share = 100 * rows / every if every else 0
    tone = "unsure" if share >= LIMIT_PERCENT else "good"
    return StateRow(
        "Spellings", f"{undecided:,} undecided", f"{share:.1f} % of stored rows", tone, _inbox()
    )


def _clients(now: datetime) -> StateRow:
    every, refusable = clients_refused(DAY, now)
    if not every:
        return StateRow("Clients", "none", "no request in 24 hours", "plain", _clients_page())
    tone = "unsure" if refusable else "good"
    detail = "would be refused (last 24 hours)"
    return StateRow("Clients", f"{refusable:,} of {every:,}", detail, tone, _clients_page())


def _backup(now: datetime) -> StateRow:
    found = tuple(history.gate_backups(read_files=False))
    verdict = backup_valid(GateFacts(now, 0, 0.0, backups=found))
    best = best_backup(found)
    word = "none"
    if best is not None and best.valid is not False:
        word = f"{timesince(best.snapshot_at, now, depth=1)} old"
    passes = verdict.outcome is GateOutcome.PASS
    detail = "fresh enough for the gate" if passes else verdict.sentence
    tone = _VERDICT_TONES[verdict.outcome]
    return StateRow("Newest valid backup", word, detail, tone, _backups())


def newest_run() -> tuple[BackfillRun, str] | None:
    """Return the newest run over the stored rows and its state in words, None before the first."""
    run = BackfillRun.objects.defer("plan", "unknown", "history").order_by("-pk").first()
    return None if run is None else (run, state_in_words(run.state, alive=is_alive(run)))


def _backfill(now: datetime) -> StateRow:
    found = newest_run()
    if found is None:
        return StateRow(
            "Backfill", "no run yet", "the stored rows were never normalized", "plain", _runs()
        )
    run, words = found
    detail = f"{run.kind} run {run.pk}, {timesince(run.created_at, now, depth=1)} ago"
    return StateRow("Backfill", words, detail, _BACKFILL_TONES.get(words, "plain"), _runs())


def _heartbeat(now: datetime) -> StateRow:
    way_back = read_way_back()
    last = way_back.last_heartbeat_at
    word = f"{timesince(last, now, depth=1)} ago" if last else "never"
    tone = _VERDICT_TONES[way_back.verdict.outcome]
    return StateRow(
        "Last heartbeat", word, f"the way back is {way_back.word}", tone, _heartbeats()
    )


def _servers(now: datetime) -> StateRow:
    snapshot = rollout_store.newest()
    change = rollout_store.since(snapshot.version)
    age = (now - change.created_at).total_seconds() if change else float("inf")
    found = instances.convergence(snapshot.version, age)
    count = len(found.instances)
    word = "1 server" if count == 1 else f"{count:,} servers" if count else "none reports"
    tone = "good" if found.converged and count else "plain" if found.converged else "unsure"
    why = f"{found.why[:1].upper()}{found.why[1:]}."
    return StateRow("Servers", word, why, tone, _servers_part())


def _servers_part() -> str:
    return f"{reverse('ops-rollout')}#instances"


def _inbox() -> str:
    return reverse("ops-spellings")


def _clients_page() -> str:
    return f"{reverse('ops-clients')}?window=24h"


def _backups() -> str:
    return reverse("admin:ops_backup_changelist")


def _runs() -> str:
    return reverse("admin:ops_backfillrun_changelist")


def _heartbeats() -> str:
    return reverse("admin:ops_heartbeat_changelist")


_BACKFILL_TONES: Final = {
    PROCESS_GONE: "unsure",
    RunState.FAILED.value: "bad",
    RunState.PAUSED.value: "unsure",
    RunState.COMPLETED.value: "good",
}

_LOOKS: Final[tuple[tuple[str, Look, Callable[[], str]], ...]] = (
    ("Spellings", _spellings, _inbox),
    ("Clients", _clients, _clients_page),
    ("Newest valid backup", _backup, _backups),
    ("Backfill", _backfill, _runs),
    ("Last heartbeat", _heartbeat, _heartbeats),
    ("Servers", _servers, _servers_part),
)
