"""The latest changes of the rollout, of decisions and of stored rows, for the start page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from django.db.models import Count
from django.urls import reverse

from normalization.models import DecisionBatch, RolloutChange, StageDecision
from normalization.rollout import Mode
from ops.backfill.models import BackfillRun
from ops.gates.facts import AUTOMATIC
from ops.pages.console import MODE_WORDS, mode_in_words
from ops.pages.incidents.record import of_change
from ops.pages.rollout.changes import effects

LISTED: Final = 4
_DECIDED: Final = {"apply": "decided", "retire": "retired", "undo": "taken back"}


@dataclass(frozen=True, slots=True)
class LatestChange:
    """One change: what, when, by whom, and the address of its page."""

    what: str
    at: datetime
    by: str
    url: str


def latest(history: Sequence[RolloutChange]) -> list[LatestChange]:
    """Return the newest changes of every kind, newest first. `history`: newest change first."""
    found = [*_rollout(history), *_decisions(), *_runs()]
    return sorted(found, key=lambda change: change.at, reverse=True)[:LISTED]


def _rollout(history: Sequence[RolloutChange]) -> Iterator[LatestChange]:
    url = f"{reverse('ops-rollout')}#history"
    for change, before in pairwise(history[: LISTED + 1]):
        old, new = before.rollout(), change.rollout()
        words = mode_in_words(old), mode_in_words(new)
        differences = effects(old, new, [], []).differences
        what = f"{words[0]} → {words[1]}" if words[0] != words[1] else " ".join(differences)
        page = of_change(change) if change.source in AUTOMATIC else url
        yield LatestChange(what or "No difference", change.created_at, change.actor, page)
    if 0 < len(history) <= LISTED:
        first = history[-1]
        began = MODE_WORDS[Mode(first.previous_mode)]
        what = f"{began} → {mode_in_words(first.rollout())}"
        yield LatestChange(what, first.created_at, first.actor, url)


def _decisions() -> Iterator[LatestChange]:
    batches = list(DecisionBatch.objects.all()[:LISTED])
    decided, superseded = _sizes("batch", batches), _sizes("superseded_by", batches)
    for batch in batches:
        size = decided.get(batch.pk) or superseded.get(batch.pk, 0)
        spellings = "1 spelling" if size == 1 else f"{size:,} spellings"
        what = f"{spellings} {_DECIDED[batch.action]}"
        yield LatestChange(what, batch.created_at, batch.author, reverse("ops-spellings-history"))


def _sizes(column: str, batches: Sequence[DecisionBatch]) -> dict[int, int]:
    """Return how many decisions have each batch in `column`."""
    decisions = StageDecision.objects.filter(**{f"{column}__in": batches}).order_by()
    return dict(decisions.values_list(column).annotate(Count("pk")))


def _runs() -> Iterator[LatestChange]:
    runs = BackfillRun.objects.only("pk", "kind", "state", "actor", "created_at")
    for run in runs.order_by("-pk")[:LISTED]:
        url = reverse("admin:ops_backfillrun_change", args=[run.pk])
        what = f"Run {run.pk} over the stored rows: {run.state}"
        yield LatestChange(what, run.created_at, run.actor, url)
