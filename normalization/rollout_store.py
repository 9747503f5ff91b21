"""Where the rollout is kept: the database is the truth, each process holds a snapshot of it.

`current()` is called by every request and does no I/O while the snapshot is fresh. `change()` is the one function
that changes the mode; admin, command line, API and webhook all call it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from django.db import Error as StoreError
from django.db import connection, transaction

from normalization import conf, metrics
from normalization.models import RolloutChange
from normalization.rollout import TRANSITIONS, Mode, Rollout, enforces_more, with_mode
from normalization.snapshots import ProcessSnapshot

log = structlog.get_logger(__name__)

# One writer at a time, so that versions commit in the order of their numbers. The number is arbitrary but fixed.
CHANGE_LOCK: Final = 0x57A6_E000_0001

Target = Rollout | Mode | Callable[[Rollout], Rollout]


class ChangeRefused(Exception):
    """The change cannot be made; the message says why and what to do."""


class VersionConflict(ChangeRefused):
    """Somebody else changed the rollout since the version that the caller had seen."""


class GateRefused(ChangeRefused):
    """More enforcement, and not every gate passes; one line for each that does not, with the command that mends it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rollout as this process knows it. `version` 0 means that nothing was ever recorded."""

    rollout: Rollout
    version: int
    source: str
    loaded_at: float

    @property
    def age(self) -> float:
        """Seconds since it was loaded."""
        return time.monotonic() - self.loaded_at


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """What `change()` did: the version now in force and whether a row was written."""

    version: int
    rollout: Rollout
    previous: Rollout
    changed: bool


def current() -> Snapshot:
    """Return the rollout in force, at most `STAGE_MODE_TTL_SECONDS` old; never raises and does no I/O while fresh."""
    return _snapshot.get()


def newest() -> Snapshot:
    """Read the rollout from the database now; raises `django.db.Error`. For people and commands, not for requests."""
    return _read_database()


def change(
    to: Target,
    *,
    actor: str,
    source: str,
    reason: str,
    expected_version: int | None = None,
    evidence: Mapping[str, Any] | None = None,
    override_reason: str = "",
) -> ChangeResult:
    """Record a new rollout and make it the one in force.

    `to` is a whole `Rollout`, a `Mode` (everything else kept) or a function of the rollout in force. A change to what
    already holds writes nothing. Raises `VersionConflict` if `expected_version` is not the version in force,
    `ChangeRefused` for a transition that does not exist or an empty reason, `django.db.Error` if it cannot be recorded.
    More enforcement needs every gate to pass, or an `override_reason`, which is recorded with all verdicts;
    `GateRefused` otherwise. Inside an outer transaction the change takes effect when that commits.
    """
    if not reason.strip():
        raise ChangeRefused("A change of the rollout needs a reason: it is what the next person will read.")
    with transaction.atomic():
        _lock_changes()
        before = _read_database()
        if expected_version is not None and expected_version != before.version:
            raise VersionConflict(
                f"The rollout is at version {before.version}, no longer {expected_version}: look at it again, then decide."
            )
        new = _resolve(to, before.rollout)
        asked = _ask_gates(before, new, override_reason.strip())
        result = _record(before, new, actor, source, reason.strip(), {**(evidence or {}), **asked})
    if result.changed:
        transaction.on_commit(lambda: _spread(result, actor=actor, source=source))
    return result


def forget() -> None:
    """Drop this process's snapshot as if it had just started; the next `current()` reads anew."""
    _snapshot.forget()


def _lock_changes() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHANGE_LOCK])


def _resolve(to: Target, rollout: Rollout) -> Rollout:
    if isinstance(to, Mode):
        return with_mode(rollout, to)
    return to if isinstance(to, Rollout) else to(rollout)


def _ask_gates(before: Snapshot, new: Rollout, override_reason: str) -> dict[str, Any]:
    """Return what to record of the gates; raise `GateRefused` if one holds the change and nobody overrides it."""
    examine = conf.gatekeeper()
    possible = TRANSITIONS[before.rollout.mode, new.mode].allowed
    if examine is None or not possible or not enforces_more(before.rollout, new):
        return {}
    verdicts = examine(before, new)
    held = [verdict for verdict in verdicts if verdict.outcome != "pass"]
    if held and not override_reason:
        lines = [f"{each.gate}: {each.sentence}" + (f" → {each.mend}" if each.mend else "") for each in held]
        raise GateRefused("\n".join(["More enforcement is refused:", *lines]))
    overridden = {"override_reason": override_reason} if held else {}
    return {"gates": [verdict.to_wire() for verdict in verdicts], **overridden}


def _record(
    before: Snapshot, new: Rollout, actor: str, source: str, reason: str, evidence: Mapping[str, Any]
) -> ChangeResult:
    transition = TRANSITIONS[before.rollout.mode, new.mode]
    if not transition.allowed:
        raise ChangeRefused(f"{before.rollout.mode} → {new.mode} is not possible: {transition.reason}.")
    if new == before.rollout:
        return ChangeResult(before.version, new, before.rollout, changed=False)
    wire = new.to_wire()
    row = RolloutChange(
        **{**wire, "enforce_at": new.enforce_at},
        previous_mode=before.rollout.mode,
        actor=actor[:150],
        source=source,
        reason=reason[:500],
        evidence=dict(evidence),
    )
    row.save()
    return ChangeResult(row.pk, new, before.rollout, changed=True)


def _spread(result: ChangeResult, *, actor: str, source: str) -> None:
    _snapshot.invalidate()
    metrics.MODE_CHANGES.labels(to=result.rollout.mode, source=source).inc()
    log.info(
        "stage_mode_changed",
        version=result.version,
        mode=result.rollout.mode,
        previous_mode=result.previous.mode,
        actor=actor,
        source=source,
    )


def _read_database() -> Snapshot:
    row = RolloutChange.objects.order_by("-id").first()
    if row is None:
        return Snapshot(Rollout(conf.default_mode()), 0, "default", time.monotonic())
    return Snapshot(row.rollout(), row.pk, "database", time.monotonic())


def _load(previous: Snapshot | None) -> Snapshot:
    """Database, else last-known, else the default: a request is never refused because the mode cannot be read."""
    started = time.perf_counter()
    try:
        loaded = _read_database()
    except StoreError as error:
        metrics.MODE_STORE_ERRORS.labels(store="database", reason=type(error).__name__).inc()
        log.warning("stage_mode_store_failed", store="database", error=type(error).__name__)
        if previous is not None:
            loaded = replace(previous, source="last-known")
        else:
            loaded = Snapshot(Rollout(conf.default_mode()), 0, "default", time.monotonic())
    finally:
        metrics.MODE_STORE_SECONDS.labels(store="database").observe(time.perf_counter() - started)
    if previous is not None and loaded.version < previous.version:
        loaded = previous
    metrics.show_mode(loaded.rollout.mode, loaded.version)
    return loaded


_snapshot: ProcessSnapshot[Snapshot] = ProcessSnapshot(_load, conf.ttl_seconds)
