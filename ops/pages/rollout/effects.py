"""What a change of the rollout would do, in sentences for whoever is about to make it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from normalization.rollout import TRANSITIONS, Mode, Rollout, asks_gates

NAMES_LISTED = 5


@dataclass(frozen=True, slots=True)
class Effects:
    """The differences, the clients whose requests would be treated otherwise, and whether the gates are asked."""

    differences: list[str]
    clients: list[str]
    asks_gates: bool


def effects(
    old: Rollout, new: Rollout, clients: Sequence[str], endpoints: Iterable[str]
) -> Effects:
    """Compare two rollouts; `clients` are those that sent stages lately."""
    return Effects(
        list(_differences(old, new)),
        list(_clients(old, new, clients, list(endpoints))),
        asks_gates(old, new),
    )


def _differences(old: Rollout, new: Rollout) -> Iterator[str]:
    if new.mode is not old.mode:
        yield f"Mode {old.mode} → {new.mode}: {TRANSITIONS[old.mode, new.mode].reason}."
    if new.enforce_percent != old.enforce_percent:
        yield f"Share {old.enforce_percent.normalize():f} % → {new.enforce_percent.normalize():f} %{_at_rest(new)}."
    for what, before, after in (
        ("pilots", old.pilots, new.pilots),
        ("holdouts", old.holdouts, new.holdouts),
    ):
        if after - before:
            yield f"New {what}: {_names(after - before)}."
        if before - after:
            yield f"No longer {what}: {_names(before - after)}."
    for name in sorted(old.overrides.keys() | new.overrides.keys()):
        cap_before, cap_after = old.overrides.get(name), new.overrides.get(name)
        if cap_before is not cap_after:
            yield f"{name}: {cap_before or 'as the mode'} → {cap_after or 'as the mode'}."
    if new.enforce_at != old.enforce_at:
        yield (
            f"Announced: {new.enforce_at:%Y-%m-%d %H:%M} UTC."
            if new.enforce_at
            else "No date is announced any more."
        )


def _at_rest(new: Rollout) -> str:
    return "" if new.mode is Mode.ENFORCE else ", which takes effect with enforce"


def _clients(
    old: Rollout, new: Rollout, clients: Sequence[str], endpoints: list[str]
) -> Iterator[str]:
    before = {client for client in clients if _enforced(old, client, endpoints)}
    after = {client for client in clients if _enforced(new, client, endpoints)}
    if not clients:
        yield "No client sent a stage in the last 24 hours."
        return
    yield f"Enforced: {len(before)} → {len(after)} of the {len(clients)} clients of the last 24 hours."
    if after - before:
        yield f"Enforced from then on: {_names(after - before)}."
    if before - after:
        yield f"No longer enforced: {_names(before - after)}."


def _enforced(rollout: Rollout, client: str, endpoints: list[str]) -> bool:
    return any(rollout.mode_for(endpoint, client) is Mode.ENFORCE for endpoint in endpoints)


def _names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - NAMES_LISTED
    return ", ".join(ordered[:NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")
