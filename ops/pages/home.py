"""What an operator asks first, at any hour: mode, gates, clients, backup, backfill, the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.urls import reverse
from django.utils.timesince import timesince

from normalization import rollout_store
from normalization.rollout import Mode
from ops.alerts.models import read_way_back
from ops.backfill.lease import is_alive
from ops.backfill.models import BackfillRun
from ops.backfill.states import RunState, state_in_words
from ops.backups import history
from ops.gates.rules import GateFacts, GateOutcome, backup_valid, best_backup
from ops.pages.clients.counts import who_would_be_refused
from ops.pages.panels import ask_gates, softly
from ops.pages.periods import PERIODS

_VERDICT_TONES: Final = {
    GateOutcome.PASS: "good",
    GateOutcome.FAIL: "bad",
    GateOutcome.INCONCLUSIVE: "unsure",
}
SECONDS: Final = 2.0  # the first page is quick or does without


@dataclass(frozen=True, slots=True)
class Tile:
    """One answer: `tone` is good, bad, unsure or plain, or the mode; `word` says the same without colour."""

    label: str
    word: str
    detail: str
    tone: str
    url: str


Look = Callable[[datetime], Tile]


def tiles(now: datetime) -> list[Tile]:
    """Return every answer; one that cannot be had says so and leads to its page all the same."""
    return [
        softly(label, lambda look=look: look(now), SECONDS)  # type: ignore[misc]
        or Tile(label, "not known", "It could not be read.", "unsure", url())
        for label, look, url in _LOOKS
    ]


def _mode(now: datetime) -> Tile:
    snapshot = rollout_store.newest()
    change = rollout_store.since(snapshot.version)
    share = (
        f"{snapshot.rollout.enforce_percent.normalize():f} %, "
        if snapshot.rollout.mode is Mode.ENFORCE
        else ""
    )
    since = f"for {timesince(change.created_at, now, depth=1)}" if change else "by default"
    return Tile(
        "Mode",
        str(snapshot.rollout.mode),
        f"{share}{since}",
        f"mode-{snapshot.rollout.mode}",
        _rollout(),
    )


def _gates(now: datetime) -> Tile:
    gates = ask_gates(rollout_store.newest().version)
    held = gates.held
    word = f"{gates.passing} of {len(gates.every)} pass"
    detail = f"held by {', '.join(held)}" if held else "more may be enforced"
    return Tile("Gates", word, detail, "unsure" if held else "good", f"{_rollout()}#gates")


def _clients(now: datetime) -> Tile:
    every, refusable = who_would_be_refused(PERIODS["24h"], now)
    if not every:
        return Tile("Clients", "none", "no request in 24 hours", "plain", _clients_page())
    word = f"{refusable:,} of {every:,}"
    detail = (
        "sent unknown stages in 24 hours" if refusable else "sent an unknown stage in 24 hours"
    )
    return Tile("Clients", word, detail, "unsure" if refusable else "good", _clients_page())


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


def _clients_page() -> str:
    return f"{reverse('ops-clients')}?window=24h"


def _backups() -> str:
    return reverse("admin:ops_backup_changelist")


def _runs() -> str:
    return reverse("admin:ops_backfillrun_changelist")


def _heartbeats() -> str:
    return reverse("admin:ops_heartbeat_changelist")


# A running run whose process is gone is not among these states.
_BACKFILL_TONES: Final = {
    RunState.FAILED.value: "bad",
    RunState.PAUSED.value: "unsure",
    RunState.COMPLETED.value: "good",
}

_LOOKS: Final[tuple[tuple[str, Look, Callable[[], str]], ...]] = (
    ("Mode", _mode, _rollout),
    ("Gates", _gates, _rollout),
    ("Clients", _clients, _clients_page),
    ("Newest valid backup", _backup, _backups),
    ("Backfill", _backfill, _runs),
    ("Last heartbeat", _heartbeat, _heartbeats),
)
