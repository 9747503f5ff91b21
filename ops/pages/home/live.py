"""`/admin/ops/now/`: the state of the rollout in one small answer, which open pages ask for.

A page compares it with the state that it was made from, and offers the newer one. It reads small
tables only, so that many open tabs cost little.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.db import Error as StoreError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from normalization import rollout_store
from normalization.models import DecisionBatch, RolloutChange
from normalization.rollout import Mode, Rollout
from ops import clock
from ops.pages.console import mode_in_words, newest_decisions
from ops.pages.home.attention import matters
from ops.pages.home.steps import day_or_time
from ops.pages.panels import ask_quick_gates, softly
from ops.pages.rollout.changes import effects

SECONDS: Final = 1.0
CHANGES_READ: Final = 2


@require_safe
def now_view(request: HttpRequest) -> HttpResponse:
    """Answer with the versions, the mode, how much needs the operator, and the newest change.

    403 without the session of a member of staff: a page that polls must not follow a redirect.
    """
    if not (request.user.is_active and request.user.is_staff):
        return _answer({"detail": "Sign in as a member of staff."}, 403)
    try:
        return _answer(_now(), 200)
    except StoreError:
        return _answer({"detail": "The database does not answer."}, 503)


def _now() -> dict[str, Any]:
    snapshot, now = rollout_store.newest(), clock.database_now()
    changes = list(RolloutChange.objects.order_by("-id")[:CHANGES_READ])
    panel = softly("quick checks", lambda: ask_quick_gates(snapshot.version), SECONDS)
    needs = list(matters(snapshot.rollout, changes, panel, now, SECONDS))
    return {
        "version": snapshot.version,
        "decisions": newest_decisions(),
        "mode": snapshot.rollout.mode.value,
        "word": mode_in_words(snapshot.rollout),
        "attention": len(needs),
        "what": _what(snapshot.rollout, changes, now),
    }


def _what(rollout: Rollout, changes: Sequence[RolloutChange], now: datetime) -> str:
    """Return the newest change of rollout or decisions in one sentence."""
    batch = DecisionBatch.objects.first()
    if batch is not None and (not changes or batch.created_at > changes[0].created_at):
        return f"{batch.author} changed decisions at {day_or_time(batch.created_at, now)}."
    if not changes:
        return ""
    newest = changes[0]
    before = changes[1].rollout() if len(changes) > 1 else Rollout(Mode(newest.previous_mode))
    words = mode_in_words(before), mode_in_words(rollout)
    what = f"{words[0]} → {words[1]}."
    if words[0] == words[1]:
        what = " ".join(effects(before, rollout, [], []).differences)
    return f"{newest.actor} changed the rollout at {day_or_time(newest.created_at, now)}: {what}"


def _answer(members: dict[str, Any], status: int) -> HttpResponse:
    return JsonResponse(members, status=status, headers={"Cache-Control": "no-store"})
