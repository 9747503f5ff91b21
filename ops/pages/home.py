"""Tiles of the admin's start page: mode, checks, spellings, clients, backups, runs, way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.urls import reverse
from django.utils.timesince import timesince

from normalization import rollout_store
from normalization.rollout import Mode
from ops.alerts.way_back import read_way_back
from ops.backfill.lease import is_alive
from ops.backfill.models import BackfillRun
from ops.backfill.states import PROCESS_GONE, RunState, state_in_words
from ops.backups import history
from ops.gates.rules import GateFacts, GateOutcome, backup_valid, best_backup
from ops.pages.clients.counts import clients_refused
from ops.pages.panels import ask_gates, softly
from ops.pages.periods import DAY
from ops.pages.rollout.changes import percent_text
from ops.pages.spellings.goal import LIMIT_PERCENT
from ops.pages.spellings.models import SpellingCount

_VERDICT_TONES: Final = {
    GateOutcome.PASS: "good",
    GateOutcome.FAIL: "bad",
    GateOutcome.INCONCLUSIVE: "unsure",
}
SECONDS: Final = 2.0  # the start page omits a tile that takes longer


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile. `tone` (good, bad, unsure, plain or the mode) is its colour; `word` names it."""

    label: str
    word: str
    detail: str
    tone: str
    url: str


Look = Callable[[datetime], Tile]


def tiles(now: datetime) -> list[Tile]:
    """Return every tile. A tile that cannot be read still links to its page."""
    return [_tile(label, look, url(), now) for label, look, url in _LOOKS]


def _tile(label: str, look: Look, url: str, now: datetime) -> Tile:
    found = softly(label, lambda: look(now), SECONDS)
    return found or Tile(label, "not known", "This part is slow right now.", "unsure", url)


def _mode(now: datetime) -> Tile:
    snapshot = rollout_store.newest()
    rollout = snapshot.rollout
    change = rollout_store.since(snapshot.version)
    detail = f"for {timesince(change.created_at, now, depth=1)}" if change else "by default"
    if rollout.mode is Mode.ENFORCE:
        detail = f"{percent_text(rollout.enforce_percent)} %, {detail}"
    return Tile("Mode", str(rollout.mode), detail, f"mode-{rollout.mode}", _rollout())


def _gates(now: datetime) -> Tile:
    gates = ask_gates(rollout_store.newest().version)
    tone = "unsure" if gates.held else "good"
    return Tile("Checks", gates.summary, gates.sentence, tone, f"{_rollout()}#gates")


def _spellings(now: datetime) -> Tile:
    counted = SpellingCount.objects.first()
    if counted is None:
        return Tile("Spellings", "not counted", "open the page to count", "plain", _inbox())
    undecided, rows = counted.shares.get("", (0, 0))
    every = sum(rows for _, rows in counted.shares.values())
    if not undecided:
        return Tile("Spellings", "all decided", "nothing to decide", "good", _inbox())
    share = 100 * rows / every if every else 0
    tone = "unsure" if share >= LIMIT_PERCENT else "good"
    return Tile(
        "Spellings", f"{undecided:,} undecided", f"{share:.1f} % of stored rows", tone, _inbox()
    )


def _clients(now: datetime) -> Tile:
    every, refusable = clients_refused(DAY, now)
    if not every:
        return Tile("Clients", "none", "no request in 24 hours", "plain", _clients_page())
    tone = "unsure" if refusable else "good"
    detail = "would be refused (last 24 hours)"
    return Tile("Clients", f"{refusable:,} of {every:,}", detail, tone, _clients_page())


def _backup(now: datetime) -> Tile:
    found = tuple(history.gate_backups(read_files=False))
    verdict = backup_valid(GateFacts(now, 0, 0.0, backups=found))
    best = best_backup(found)
    word = "none"
    if best is not None and best.valid is not False:
        word = f"{timesince(best.snapshot_at, now, depth=1)} old"
    passes = verdict.outcome is GateOutcome.PASS
    detail = "fresh enough for the gate" if passes else verdict.sentence
    tone = _VERDICT_TONES[verdict.outcome]
    return Tile("Newest valid backup", word, detail, tone, _backups())


def _backfill(now: datetime) -> Tile:
    run = BackfillRun.objects.defer("plan", "unknown", "history").order_by("-pk").first()
    if run is None:
        return Tile(
            "Backfill", "no run yet", "the stored rows were never normalized", "plain", _runs()
        )
    state = state_in_words(run.state, alive=is_alive(run))
    detail = f"{run.kind} run {run.pk}, {timesince(run.created_at, now, depth=1)} ago"
    return Tile("Backfill", state, detail, _BACKFILL_TONES.get(state, "plain"), _runs())


def _heartbeat(now: datetime) -> Tile:
    way_back = read_way_back()
    last = way_back.last_heartbeat_at
    word = f"{timesince(last, now, depth=1)} ago" if last else "never"
    tone = _VERDICT_TONES[way_back.verdict.outcome]
    return Tile("Last heartbeat", word, f"the way back is {way_back.word}", tone, _heartbeats())


def _rollout() -> str:
    return reverse("ops-rollout")


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
    ("Mode", _mode, _rollout),
    ("Checks", _gates, _rollout),
    ("Spellings", _spellings, _inbox),
    ("Clients", _clients, _clients_page),
    ("Newest valid backup", _backup, _backups),
    ("Backfill", _backfill, _runs),
    ("Last heartbeat", _heartbeat, _heartbeats),
)
