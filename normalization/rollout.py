"""The rollout as a value: the mode for each client and endpoint, and the possible changes.

This module is pure: it uses no clock, settings or database. `rollout_store` stores the value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

BUCKETS: Final = 10_000
SALT: Final = "stage-validation"


class Mode(StrEnum):
    """How strictly stages are checked: observe, warn or refuse."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"

    @property
    def strictness(self) -> int:
        """0 for off, 1 for warn, 2 for enforce."""
        return _STRICTNESS[self]


_STRICTNESS: Final = {Mode.OFF: 0, Mode.WARN: 1, Mode.ENFORCE: 2}


@dataclass(frozen=True, slots=True)
class Transition:
    """Whether a change of mode is possible, and the reason."""

    allowed: bool
    reason: str


TRANSITIONS: Final[Mapping[tuple[Mode, Mode], Transition]] = {
    (Mode.OFF, Mode.OFF): Transition(
        True, "the share, pilots or dates may be prepared before clients see anything"
    ),
    (Mode.OFF, Mode.WARN): Transition(
        True, "clients learn of deprecated spellings; nothing is refused"
    ),
    (Mode.OFF, Mode.ENFORCE): Transition(
        False, "clients must be warned first: set warn, watch, then enforce"
    ),
    (Mode.WARN, Mode.OFF): Transition(True, "less is always possible"),
    (Mode.WARN, Mode.WARN): Transition(
        True, "the share, pilots or dates may change while warning"
    ),
    (Mode.WARN, Mode.ENFORCE): Transition(
        True, "the step that refuses requests; the gates guard it"
    ),
    (Mode.ENFORCE, Mode.OFF): Transition(True, "less is always possible"),
    (Mode.ENFORCE, Mode.WARN): Transition(True, "the way back, also taken by the alert webhook"),
    (Mode.ENFORCE, Mode.ENFORCE): Transition(
        True, "the share, pilots, holdouts or overrides change"
    ),
}


class RolloutInvalid(ValueError):
    """The rollout is not valid; the message is a sentence for the operator."""


@dataclass(frozen=True, slots=True)
class AppliedMode:
    """The mode that applies to one client at one endpoint, and the reason."""

    mode: Mode
    why: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """One immutable state of the rollout.

    `enforce_percent` (0 to 100, two decimals) is the share of clients that mode `enforce` applies
    to; the others are warned. `pilots` are enforced at any share, `holdouts` never. `overrides`
    limits single endpoints: an endpoint gets the milder of `mode` and its override, so a milder
    `mode` is milder everywhere. `enforce_at` (aware) is the announced date of enforcement, sent
    to clients as `Sunset`. It has no other effect.
    """

    mode: Mode
    enforce_percent: Decimal = Decimal(100)
    pilots: frozenset[str] = frozenset()
    holdouts: frozenset[str] = frozenset()
    overrides: Mapping[str, Mode] = field(default_factory=dict)
    enforce_at: datetime | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.enforce_percent <= 100 or self.enforce_percent != round(
            self.enforce_percent, 2
        ):
            raise RolloutInvalid(
                "enforce_percent must be between 0 and 100 with at most two decimals."
            )
        if both := sorted(self.pilots & self.holdouts):
            raise RolloutInvalid(
                f"{', '.join(both)}: a client cannot be pilot and holdout at once."
            )
        if self.enforce_at is not None and self.enforce_at.tzinfo is None:
            raise RolloutInvalid("enforce_at must carry a time zone.")

    def decide(self, endpoint: str, client: str) -> AppliedMode:
        """Return the mode that applies to `client` at `endpoint`, with the reason."""
        ceiling = self.overrides.get(endpoint, self.mode)
        if self.mode is not Mode.ENFORCE or ceiling is not Mode.ENFORCE:
            return _capped(self.mode, ceiling)
        if client in self.holdouts:
            return AppliedMode(Mode.WARN, "the client is a holdout: never enforced")
        if client in self.pilots:
            return AppliedMode(Mode.ENFORCE, "the client is a pilot: enforced at any share")
        mine, (limit, percent) = bucket(client), _share(self.enforce_percent)
        why = f"bucket {mine} of {BUCKETS}, share {percent} % is below {limit}"
        if mine < limit:
            return AppliedMode(Mode.ENFORCE, f"{why}: enforced")
        return AppliedMode(Mode.WARN, f"{why}: warned only")

    def mode_for(self, endpoint: str, client: str) -> Mode:
        """Return the mode that applies to `client` at `endpoint`."""
        if self.mode is not Mode.ENFORCE and not self.overrides:
            return self.mode
        return self.decide(endpoint, client).mode

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form. Lists are sorted, so that equal rollouts have equal text."""
        return {
            "mode": self.mode.value,
            "enforce_percent": f"{self.enforce_percent.normalize():f}",
            "pilots": sorted(self.pilots),
            "holdouts": sorted(self.holdouts),
            "overrides": {name: mode.value for name, mode in sorted(self.overrides.items())},
            "enforce_at": self.enforce_at.astimezone(UTC).isoformat() if self.enforce_at else None,
        }

    @classmethod
    def from_wire(cls, wire: object) -> Rollout:
        """Parse the JSON form strictly; raise `RolloutInvalid` on any difference."""
        if not isinstance(wire, Mapping) or set(wire) != {f.name for f in fields(cls)}:
            raise RolloutInvalid(
                "A rollout is an object with exactly the members that to_wire() writes."
            )
        try:
            return cls(
                mode=Mode(wire["mode"]),
                enforce_percent=Decimal(wire["enforce_percent"]),
                pilots=_names(wire["pilots"]),
                holdouts=_names(wire["holdouts"]),
                overrides={str(name): Mode(mode) for name, mode in wire["overrides"].items()},
                enforce_at=datetime.fromisoformat(wire["enforce_at"])
                if wire["enforce_at"] is not None
                else None,
            )
        except RolloutInvalid:
            raise
        except (ValueError, TypeError, AttributeError, InvalidOperation) as error:
            raise RolloutInvalid(f"Not a rollout: {error}") from error


@lru_cache(100)
def _share(percent: Decimal) -> tuple[int, str]:
    """Return the least bucket that is not enforced, and the share in words."""
    return int(percent * 100), f"{percent.normalize():f}"


@lru_cache(10_000)
def bucket(client: str) -> int:
    """Return the client's canary bucket, 0 to 9999.

    It is the first 8 bytes of sha256(salt + client), big-endian, modulo 10,000. A share of p
    percent enforces the buckets below 100 p, so a larger share only adds clients.
    """
    digest = hashlib.sha256((SALT + client).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def enters_at(client: str) -> Decimal:
    """Return the smallest share, in percent, at which the client is enforced: from 0.01 to 100."""
    return Decimal(bucket(client) + 1) / 100


def with_mode(rollout: Rollout, mode: Mode) -> Rollout:
    """Return the same rollout with another mode."""
    return replace(rollout, mode=mode)


def without_enforcement(rollout: Rollout) -> Rollout:
    """Return the way back: `warn` in place of `enforce`; other modes and all else stay."""
    return with_mode(rollout, Mode.WARN) if rollout.mode is Mode.ENFORCE else rollout


def asks_gates(old: Rollout, new: Rollout) -> bool:
    """Return whether the gates are asked: the change is possible and enforces more."""
    return TRANSITIONS[old.mode, new.mode].allowed and enforces_more(old, new)


def enforces_more(old: Rollout, new: Rollout) -> bool:
    """Return whether `new` can refuse a request that `old` lets through."""
    if new.mode is not Mode.ENFORCE:
        return False
    if old.mode is not Mode.ENFORCE or new.enforce_percent > old.enforce_percent:
        return True
    if new.pilots - old.pilots or old.holdouts - new.holdouts:
        return True
    return any(
        new.overrides.get(name, Mode.ENFORCE) is Mode.ENFORCE and mode is not Mode.ENFORCE
        for name, mode in old.overrides.items()
    )


def _capped(mode: Mode, ceiling: Mode) -> AppliedMode:
    if ceiling.strictness < mode.strictness:
        why = f"the endpoint is overridden to {ceiling}, below the mode {mode}"
        return AppliedMode(ceiling, why)
    return AppliedMode(mode, f"the mode is {mode} for every client")


def _names(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise RolloutInvalid("pilots and holdouts are lists of client names.")
    return frozenset(value)
