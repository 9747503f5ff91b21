"""The guard: takes enforcement back by itself where it hurts clients, without Prometheus.

Once a second, on the `ticker`'s thread of each serving process:

1. The guard reads the version in force. A newer one than the process serves is loaded at once, so
   a change reaches every process within about a second also without Redis.
2. It shares what the process counted (`guard_counts`) through one unlogged table.
3. If rejects came in lately it judges the counts of all processes by `guard_rule`, and records the
   change through `rollout_store.change`, as everybody else does.

The guard needs the database alone, which has to answer anyway before a change is recorded. It may
never enforce more. Counts belong to an epoch, the id of the newest change that enforces more:
rejects from before a repair never take a good step back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import structlog
from django.db import Error as StoreError
from django.db import connection
from django.db.models.functions import Now

from normalization import conf, metrics, rollout_store
from normalization.guard_counts import GuardBuffer, GuardKey, RequestHistory
from normalization.guard_rule import (
    HELD_OUT_SECONDS,
    SLOT_SECONDS,
    WINDOWS_SECONDS,
    GuardAction,
    GuardScope,
    SlotCount,
    hurt_clients,
    judge,
    taken_back,
)
from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout, enforces_more, with_mode

log = structlog.get_logger(__name__)

SOURCE: Final = "guard"
TICK_SECONDS: Final = 1.0
JUDGED_TICKS: Final = 3
"""Rejects of the last three ticks are judged: others may have shared theirs a tick later."""
EVERYBODY: Final = ""
"""The client of a row that counts the requests of all clients."""
CHANGES_READ: Final = 200

# The clock of the database dates every row, so the hosts need not agree on the time.
SLOT: Final = f"floor(extract(epoch FROM statement_timestamp()) / {SLOT_SECONDS})::bigint"
SLOTS_KEPT: Final = max(WINDOWS_SECONDS) // SLOT_SECONDS

NEWEST: Final = "SELECT coalesce(max(id), 0) FROM normalization_rolloutchange"

SUSPECTS: Final = f"""
SELECT DISTINCT endpoint, client FROM normalization_guardcount
WHERE epoch = %(epoch)s AND rejects > 0 AND slot > {SLOT} - {SLOTS_KEPT}
"""  # noqa: S608 (constants of this module)

# Sorted, so that two processes lock the rows in one order and cannot deadlock.
SHARE: Final = f"""
INSERT INTO normalization_guardcount AS kept (epoch, endpoint, client, slot, requests, rejects)
SELECT %(epoch)s, endpoint, client, {SLOT} - back, requests, rejects
FROM unnest(%(endpoints)s::text[], %(clients)s::text[], %(backs)s::int[],
            %(requests)s::bigint[], %(rejects)s::bigint[])
     AS given (endpoint, client, back, requests, rejects)
ORDER BY endpoint, client, back DESC
ON CONFLICT (epoch, endpoint, client, slot)
DO UPDATE SET requests = kept.requests + excluded.requests,
              rejects = kept.rejects + excluded.rejects
"""  # noqa: S608 (constants of this module)

COUNTS: Final = f"""
SELECT endpoint, client, {SLOT_SECONDS} * ({SLOT} - slot), requests, rejects
FROM normalization_guardcount
WHERE epoch = %(epoch)s AND slot > {SLOT} - {SLOTS_KEPT} AND slot <= {SLOT}
"""  # noqa: S608 (constants of this module)

FORGET: Final = f"""
DELETE FROM normalization_guardcount WHERE epoch < %(epoch)s OR slot < {SLOT} - {SLOTS_KEPT}
"""  # noqa: S608 (constants of this module)

ENFORCED_CLIENTS: Final = """
SELECT count(DISTINCT client) FROM normalization_outcometally
WHERE minute > statement_timestamp() - interval '1 hour' AND mode = 'enforce'
"""

SharedRow = tuple[str, str, int, int, int]
"""endpoint, client, slots back from now, requests, rejects"""


@dataclass(slots=True)
class _Known:
    """What the thread remembers between ticks."""

    version: int = -1
    epoch: int = 0
    suspects: frozenset[GuardKey] = frozenset()
    ticks_since_reject: int = JUDGED_TICKS
    told: GuardAction | None = None


class Guard:
    """The guard of one process. `record` counts each enforced request; the ticker calls `tick`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.buffer = GuardBuffer()
        self.history = RequestHistory(clock)
        self._known = _Known()
        self._begun = False
        self._ticked_at: float | None = None
        self._confirmed_at = float("-inf")

    def seconds_since_tick(self) -> float | None:
        """Return the age of the last tick that protected; None before the first."""
        return None if self._ticked_at is None else self._clock() - self._ticked_at

    def seconds_since_confirmed(self) -> float:
        """Return the time since the process last served the newest version in the database."""
        return self._clock() - self._confirmed_at

    def record(self, version: int, endpoint: str, client: str, *, rejected: bool) -> None:
        """Count one request that was enforced; `version` is the rollout's that decided it."""
        self.buffer.record(version, endpoint, client[:100], rejected=rejected)

    def forget(self) -> None:
        """Begin anew, as in a child after a fork: the lock may be held, the thread is gone."""
        self.buffer, self.history = GuardBuffer(), RequestHistory(self._clock)
        self._known = _Known()
        self._begun = False
        self._ticked_at, self._confirmed_at = None, float("-inf")

    def tick(self) -> None:
        """Share, judge and act once. Raises `django.db.Error`; the counts are then kept."""
        if not self._begun:  # a guard that never succeeds is silent from now on
            self._begun = True
            metrics.GUARD_TICK.set(time.time())
        self._renew_if_changed()
        if conf.guard().mode != "off":
            self._protect()
            self._ticked_at = self._clock()
        metrics.GUARD_TICK.set(time.time())

    def _protect(self) -> None:
        snapshot = rollout_store.current()
        if snapshot.rollout.mode is not Mode.ENFORCE:
            self.buffer.forget()
            self._known.suspects = frozenset()
            metrics.CLIENTS_HURT.set(0)
            return
        epoch = self._epoch(snapshot.version)
        taken = self.buffer.take(epoch)
        try:
            self._share(epoch, taken)
        except StoreError:
            self.buffer.put_back(epoch, taken)
            raise
        rejected = any(rejects for _, rejects in taken.values())
        self._known.ticks_since_reject = 0 if rejected else self._known.ticks_since_reject + 1
        if self._known.ticks_since_reject < JUDGED_TICKS:
            self._judge(epoch, snapshot)
        else:
            metrics.CLIENTS_HURT.set(0)

    def _renew_if_changed(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(NEWEST)
            (version,) = cursor.fetchone()
        known = rollout_store.store.known()
        if known is None or known.version != version:
            rollout_store.store.renew(compare=True)
            known = rollout_store.store.known()
        if known is not None and known.version == version:
            self._confirmed_at = self._clock()

    def _epoch(self, version: int) -> int:
        """Return the id of the newest change that enforces more, up to `version`."""
        if version != self._known.version:
            epoch = newest_enforcing_change(version)
            if epoch != self._known.epoch:
                self.history.forget()
                self._known = _Known(epoch=epoch)
            self._known.version = version
        return self._known.epoch

    def _share(self, epoch: int, taken: dict[GuardKey, tuple[int, int]]) -> None:
        rows = list(_totals(taken))
        suspects = self._known.suspects | {key for key, (_, rejects) in taken.items() if rejects}
        with connection.cursor() as cursor:
            cursor.execute(SUSPECTS, {"epoch": epoch})
            suspects |= frozenset(cursor.fetchall())
            for key in suspects - self._known.suspects:
                rows += [(*key, back, requests, 0) for back, requests in self.history.placed(key)]
            rows += [(*key, 0, *taken[key]) for key in suspects if key in taken]
            if rows:
                cursor.execute(SHARE, {"epoch": epoch, **_arrays(rows)})
        self._known.suspects = suspects
        for key, (requests, _) in taken.items():
            self.history.add(key, requests)

    def _judge(self, epoch: int, snapshot: rollout_store.Snapshot) -> None:
        wanted = conf.guard()
        counts = list(_enforced(_counts(epoch), snapshot.rollout))
        metrics.CLIENTS_HURT.set(len(hurt_clients(counts, wanted.limits)))
        action = judge(
            counts,
            enforced_clients=_enforced_clients(),
            held_out=_held_out_lately(),
            pinned=wanted.pinned,
            limits=wanted.limits,
        )
        if action is None:
            self._known.told = None
            return
        if wanted.mode == "notify":
            self._notify(action)
            return
        self._act(action, snapshot.version)
        self._forget(epoch)

    def _act(self, action: GuardAction, version: int) -> None:
        """Record the change, unless another process or a person was first; then judge again."""
        try:
            result = rollout_store.change(
                lambda rollout: _never_more(rollout, taken_back(rollout, action)),
                actor=SOURCE,
                source=SOURCE,
                reason=sentence(action),
                expected_version=version,
                evidence=evidence_of(action),
            )
        except rollout_store.VersionConflict:
            return
        if result.changed:
            metrics.GUARD_ACTED.labels(what=action.scope.value).inc()
            log.warning(
                "stage_guard_acted",
                what=action.scope.value,
                version=result.version,
                page=f"{conf.public_url()}/admin/ops/incidents/{result.version}/",
            )

    def _notify(self, action: GuardAction) -> None:
        if self._known.told is None:
            metrics.GUARD_ACTED.labels(what=f"notify_{action.scope.value}").inc()
            log.warning("stage_guard_would_act", what=action.scope.value, why=sentence(action))
        self._known.told = action

    def _forget(self, epoch: int) -> None:
        self.history.forget_idle()
        with connection.cursor() as cursor:
            cursor.execute(FORGET, {"epoch": epoch})


def newest_enforcing_change(version: int) -> int:
    """Return the id of the newest change up to `version` that enforces more; else the oldest."""
    changes = list(RolloutChange.objects.filter(pk__lte=version).order_by("-id")[:CHANGES_READ])
    for newer, older in pairwise(changes):
        if enforces_more(older.rollout(), newer.rollout()):
            return newer.pk
    return changes[-1].pk if changes else 0


def rejects_above_limit() -> str:
    """Return the rejects of the last five minutes that are above the limit, "" without any.

    The gate `cooldown` asks before more is enforced, in any process. Raises `django.db.Error`.
    """
    newest = rollout_store.newest()
    counts = [each for each in _counts(newest_enforcing_change(newest.version)) if each.age < 300]
    if not any(each.rejects for each in counts):
        return ""
    enforced = with_mode(newest.rollout, Mode.ENFORCE)
    action = judge(
        _enforced(counts, enforced),
        enforced_clients=_enforced_clients(),
        limits=conf.guard().limits,
    )
    return _figures(action) if action is not None else ""


def sentence(action: GuardAction) -> str:
    """Return the reason that the history shows."""
    figures = _figures(action)
    if action.scope is GuardScope.CLIENT:
        return f"The guard holds out {action.clients[0]}: {figures}."
    if action.scope is GuardScope.ENDPOINT:
        return f"The guard caps {action.endpoint} at warn: {figures}."
    if action.clients:
        names = ", ".join(action.clients[:5])
        return f"The guard goes back to warn: {len(action.clients)} clients are hurt ({names})."
    return f"The guard goes back to warn: {figures}."


def _figures(action: GuardAction) -> str:
    return (
        f"{action.rejects:,} of {action.requests:,} requests in {action.window} s were refused "
        f"({100 * action.share:.1f} %)"
    )


def evidence_of(action: GuardAction) -> dict[str, Any]:
    """Return what is recorded with the change."""
    limits = conf.guard().limits
    return {
        "guard": action.scope.value,
        "window_seconds": action.window,
        "requests": action.requests,
        "rejects": action.rejects,
        "share_percent": round(100 * action.share, 2),
        "limit_percent": round(100 * limits.share, 2),
        "clients": list(action.clients),
        "endpoint": action.endpoint,
        "rejects_by_client": dict(action.by_client),
    }


def _never_more(before: Rollout, after: Rollout) -> Rollout:
    if enforces_more(before, after):
        raise AssertionError("The guard must never enforce more.")
    return after


def _totals(taken: dict[GuardKey, tuple[int, int]]) -> Iterable[SharedRow]:
    """One row an endpoint with the requests of all clients."""
    totals: dict[str, int] = {}
    for (endpoint, _), (requests, _rejects) in taken.items():
        totals[endpoint] = totals.get(endpoint, 0) + requests
    for endpoint, requests in totals.items():
        yield endpoint, EVERYBODY, 0, requests, 0


def _arrays(rows: list[SharedRow]) -> dict[str, list[Any]]:
    names = ("endpoints", "clients", "backs", "requests", "rejects")
    return {
        name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)
    }


def _counts(epoch: int) -> list[SlotCount]:
    with connection.cursor() as cursor:
        cursor.execute(COUNTS, {"epoch": epoch})
        rows = cursor.fetchall()
    return [
        SlotCount(endpoint, client or None, float(age), int(requests), int(rejects))
        for endpoint, client, age, requests, rejects in rows
    ]


def _enforced(counts: Iterable[SlotCount], rollout: Rollout) -> Iterable[SlotCount]:
    """Leave out what is not enforced any more: it is taken back already."""
    for count in counts:
        if count.client is None:
            if rollout.overrides.get(count.endpoint, Mode.ENFORCE) is Mode.ENFORCE:
                yield count
        elif rollout.mode_for(count.endpoint, count.client) is Mode.ENFORCE:
            yield count


def _enforced_clients() -> int:
    with connection.cursor() as cursor:
        cursor.execute(ENFORCED_CLIENTS)
        return int(cursor.fetchone()[0])


def _held_out_lately() -> frozenset[str]:
    since = Now() - timedelta(seconds=HELD_OUT_SECONDS)
    changes = RolloutChange.objects.filter(source=SOURCE, created_at__gt=since)
    held_out: set[str] = set()
    for evidence in changes.values_list("evidence", flat=True):
        if evidence.get("guard") == GuardScope.CLIENT:
            held_out.update(evidence.get("clients", ()))
    return frozenset(held_out)


guard: Final = Guard()
record: Final = guard.record
forget: Final = guard.forget
os.register_at_fork(after_in_child=guard.forget)
