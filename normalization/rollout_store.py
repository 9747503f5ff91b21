"""The store of the rollout: the database is authoritative, Redis has a copy, processes a snapshot.

Every request calls `current()`, which does no I/O while the snapshot is fresh. `change()` is the
only function that changes the rollout; admin, command line, API and webhook all call it.
`versioned_store` describes how a snapshot is renewed, `listener` how a change spreads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, cast

import structlog
from django.db import connection, transaction

from normalization import conf, instances, known_clients, metrics
from normalization.listener import listener
from normalization.models import RolloutChange
from normalization.redis_link import link
from normalization.rollout import TRANSITIONS, Mode, Rollout, asks_gates, with_mode
from normalization.versioned_store import Reach, Versioned, VersionedKind, VersionedStore
from stagenorm.locks import ROLLOUT_CHANGE

log = structlog.get_logger(__name__)


BY_PEOPLE: Final = ("admin", "command", "api")
"""Sources of changes whose names were typed. The guard's come from requests."""

Target = Rollout | Mode | Callable[[Rollout], Rollout]
_after_load: list[Callable[[], None]] = []


class ChangeRefused(Exception):
    """The change is refused; the message has the reason and the remedy."""


class VersionConflict(ChangeRefused):
    """The rollout has changed since the version that the caller expects."""


class GateRefused(ChangeRefused):
    """A change enforces more, and gates do not pass. `held` has the verdicts of those gates."""

    def __init__(self, message: str, held: Sequence[Any]) -> None:
        super().__init__(message)
        self.held = held


class Spread(StrEnum):
    """How far a change has spread. It is recorded in each case."""

    SPREAD = "spread to every instance"
    NOT_YET = (
        "recorded, not yet spread: Redis did not take it; each instance reads it within the TTL"
    )
    AT_TTL = "recorded; Redis allows no announcement, so each instance reads it within the TTL"
    BY_DATABASE = "recorded; without Redis each instance reads it within the TTL"
    AT_COMMIT = "recorded and spread when the transaction around it commits"
    UNCHANGED = "nothing changed"


class Snapshot(Versioned[Rollout]):
    """The rollout in this process. `version` is 0 before the first recorded change."""

    __slots__ = ()

    @property
    def rollout(self) -> Rollout:
        """The value."""
        return self.value


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """The result of `change()`: the version in force, and how far it has spread."""

    version: int
    rollout: Rollout
    previous: Rollout
    changed: bool
    spread: Spread = Spread.UNCHANGED


def current() -> Snapshot:
    """Return the rollout in force, at most `STAGE_MODE_TTL_SECONDS` old.

    Never raises, and does no I/O while the snapshot is fresh.
    """
    return _snapshot()


def newest() -> Snapshot:
    """Read the rollout from the database; raises `django.db.Error`.

    For commands and pages. Requests use `current()`.
    """
    return _as_snapshot(store.newest())


def change(
    to: Target,
    *,
    actor: str,
    source: str,
    reason: str,
    expected_version: int | None = None,
    evidence: Mapping[str, Any] | None = None,
    gate_overrides: Mapping[str, str] | None = None,
    verdicts: Sequence[Any] = (),
) -> ChangeResult:
    """Record a new rollout and put it in force.

    `to` is a `Rollout`, a `Mode` (all else stays) or a function of the rollout in force. A change
    to the rollout in force writes nothing. More enforcement needs each gate to pass.
    `gate_overrides` ({gate: reason}) names gates that may hold the change all the same; the
    overrides are recorded with all verdicts. `verdicts` are those of the caller's own gates, which
    hold the change as well.

    Inside an outer transaction the change takes effect at its commit. A failing Redis only changes
    the result's `spread`.

    Raises `VersionConflict` if `expected_version` is not the version in force, `GateRefused` if a
    gate does not pass, `ChangeRefused` for a transition that is not possible, an empty reason or a
    misspelt client, and `django.db.Error` if the change cannot be recorded.
    """
    if not reason.strip():
        raise ChangeRefused("A change of the rollout needs a reason, which the history shows.")
    with transaction.atomic():
        _lock_changes()
        before = newest()
        if expected_version is not None and expected_version != before.version:
            raise VersionConflict(
                f"The rollout is at version {before.version}, not {expected_version}: "
                "look at it again, then decide."
            )
        new = _resolve(to, before.rollout)
        if source in BY_PEOPLE:
            _refuse_misspelt(before.rollout, new)
        asked = _ask_gates(before, new, gate_overrides or {}, verdicts)
        result = _record(before, new, actor, source, reason.strip(), {**(evidence or {}), **asked})
    if not result.changed:
        return result
    reached = [Spread.AT_COMMIT]
    # Runs immediately unless there is an outer transaction, which may still fail.
    transaction.on_commit(lambda: reached.append(_spread(result, actor=actor, source=source)))
    return replace(result, spread=reached[-1])


def since(version: int) -> RolloutChange | None:
    """Return the recorded change to `version`, None for version 0; raises `django.db.Error`."""
    return RolloutChange.objects.filter(pk=version).first()


def after_load(act: Callable[[], None]) -> None:
    """Call `act` whenever this process has loaded the rollout: after any fork, and cheaply."""
    _after_load.append(act)


def show() -> None:
    """Renew the snapshot if it has expired, and export its mode, version and age.

    The ticker calls this once a second, so that the metrics are right without a request.
    """
    snapshot = current()
    metrics.show_mode(snapshot.rollout.mode, snapshot.version, snapshot.age)


def forget() -> None:
    """Drop the snapshot and the background thread, as in a process that has just started."""
    listener.stop()
    link.forget()
    store.forget()


def _lock_changes() -> None:
    # One writer at a time, so that versions commit in ascending order.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ROLLOUT_CHANGE])


def _resolve(to: Target, rollout: Rollout) -> Rollout:
    if isinstance(to, Mode):
        return with_mode(rollout, to)
    return to if isinstance(to, Rollout) else to(rollout)


def _refuse_misspelt(before: Rollout, new: Rollout) -> None:
    """Refuse a new pilot or holdout that no client is called, if one is called much like it."""
    added = (new.pilots - before.pilots) | (new.holdouts - before.holdouts)
    wrong = known_clients.misspelt(added - before.pilots - before.holdouts)
    if wrong:
        lines = [
            f"No client is called {name}. Did you mean {client}?" for name, client in wrong.items()
        ]
        raise ChangeRefused(" ".join(lines))


def _ask_gates(
    before: Snapshot, new: Rollout, overrides: Mapping[str, str], verdicts: Sequence[Any]
) -> dict[str, Any]:
    """Return what to record of the gates; raise `GateRefused` for those that hold the change."""
    examine = conf.gatekeeper()
    if examine is None or not asks_gates(before.rollout, new):
        return {}
    every = [*verdicts, *examine(before, new)]
    return settle_gates(every, overrides, "More enforcement is refused:")


def settle_gates(
    verdicts: Sequence[Any], overrides: Mapping[str, str], heading: str
) -> dict[str, Any]:
    """Return what to record of the gates with a change.

    Raises `GateRefused` with `heading` if a gate holds the change and is not overridden, and
    `ChangeRefused` for an override of another gate or without a reason.
    """
    _refuse_unknown_gates(overrides, [verdict.gate for verdict in verdicts])
    held = [verdict for verdict in verdicts if verdict.outcome != "pass"]
    refused = [each for each in held if not (each.overridable and overrides.get(each.gate))]
    if refused:
        lines = [_refusal_line(each, overrides) for each in refused]
        raise GateRefused("\n".join([heading, *lines]), refused)
    overridden = {each.gate: overrides[each.gate].strip()[:500] for each in held}
    recorded = {"overrides": overridden} if overridden else {}
    return {"gates": [verdict.to_wire() for verdict in verdicts], **recorded}


def _refuse_unknown_gates(overrides: Mapping[str, str], gates: Sequence[str]) -> None:
    if unknown := sorted(set(overrides) - set(gates)):
        names = ", ".join(gates)
        raise ChangeRefused(f"There is no gate {', '.join(unknown)}. The gates are {names}.")
    if empty := sorted(gate for gate, reason in overrides.items() if not reason.strip()):
        raise ChangeRefused(f"Give a reason for overriding {', '.join(empty)}.")


def _refusal_line(verdict: Any, overrides: Mapping[str, str]) -> str:
    line = f"{verdict.gate}: {verdict.sentence}"
    if verdict.gate in overrides:
        return f"{line} It cannot be overridden."
    return f"{line} → {verdict.remedy}" if verdict.remedy else line


def _record(
    before: Snapshot,
    new: Rollout,
    actor: str,
    source: str,
    reason: str,
    evidence: Mapping[str, Any],
) -> ChangeResult:
    transition = TRANSITIONS[before.rollout.mode, new.mode]
    if not transition.allowed:
        raise ChangeRefused(
            f"{before.rollout.mode} → {new.mode} is not possible: {transition.reason}."
        )
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


def _spread(result: ChangeResult, *, actor: str, source: str) -> Spread:
    reached = _SPREAD[store.recorded(result.rollout, result.version)]
    if not conf.redis_configured():
        reached = Spread.BY_DATABASE
    log.info(
        "stage_mode_changed",
        version=result.version,
        mode=result.rollout.mode,
        previous_mode=result.previous.mode,
        actor=actor,
        source=source,
        spread=reached.name.lower(),
    )
    return reached


_SPREAD: Final = {
    Reach.EVERYWHERE: Spread.SPREAD,
    Reach.COPY: Spread.AT_TTL,
    Reach.DATABASE: Spread.NOT_YET,
}


def _read() -> tuple[Rollout, int]:
    row = RolloutChange.objects.order_by("-id").first()
    return (row.rollout(), row.pk) if row is not None else (Rollout(conf.default_mode()), 0)


def _loaded(loaded: Versioned[Rollout]) -> None:
    metrics.show_mode(loaded.value.mode, loaded.version, loaded.age)
    listener.ensure_running()
    for act in _after_load:
        act()


def _announce() -> None:
    if (known := store.known()) is not None:
        instances.announce(known.version, known.value.mode, known.age)


def _as_snapshot(versioned: Versioned[Rollout]) -> Snapshot:
    return cast(Snapshot, versioned)  # see `holder` below


store: Final = VersionedStore(
    VersionedKind(
        name="mode",
        read=_read,
        default=lambda: Rollout(conf.default_mode()),
        to_wire=Rollout.to_wire,
        from_wire=lambda wire, _version: Rollout.from_wire(wire),
        loaded=_loaded,
        holder=Snapshot,
    )
)
_snapshot: Final = cast(Callable[[], Snapshot], store.current)
listener.watch("mode", store)
listener.after_renewal(_announce)
