"""A change of the rollout before it is made: its effects in sentences, and proposals for a client.

A proposal is a link that fills in the form of the rollout page. Only the form's own button changes
the rollout. Pure, apart from the addresses of links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

from normalization.rollout import TRANSITIONS, Mode, Rollout, RolloutInvalid, asks_gates
from ops.pages.panels import GatePanel

NAMES_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class ChangeEffects:
    """The differences between two rollouts, and the clients that are treated otherwise.

    `asks_gates`: whether the change needs the gates.
    """

    differences: list[str]
    clients: list[str]
    asks_gates: bool


@dataclass(frozen=True, slots=True)
class ProposalLink:
    """A proposal for one client: its text, and the address of the form with it filled in."""

    word: str
    url: str


# -- Effects ------------------------------------------------------------------


def effects(
    old: Rollout, new: Rollout, clients: Sequence[str], endpoints: Iterable[str]
) -> ChangeEffects:
    """Compare two rollouts for `clients`, which are those that sent stages lately."""
    return ChangeEffects(
        list(_differences(old, new)),
        list(_clients(old, new, clients, list(endpoints))),
        asks_gates(old, new),
    )


def checks_sentence(asked: bool, gates_are_on: bool, panel: GatePanel | None) -> str:
    """Return whether the gates hold a change. `panel` is None if they could not be read."""
    if not asked:
        return "Nothing more is enforced: no check is needed."
    if not gates_are_on:
        return "More is enforced without any check: STAGE_GATES is 0."
    if panel is None:
        return "More is enforced: every check has to pass."
    if panel.held_gates:
        held = ", ".join(panel.held_gates)
        return f"More is enforced: every check has to pass. These do not pass now: {held}."
    return "More is enforced: every check has to pass, and now all do."


def _differences(old: Rollout, new: Rollout) -> Iterator[str]:
    if new.mode is not old.mode:
        yield f"Mode {old.mode} → {new.mode}: {TRANSITIONS[old.mode, new.mode].reason}."
    if new.enforce_percent != old.enforce_percent:
        later = "" if new.mode is Mode.ENFORCE else ", which takes effect with enforce"
        before, after = percent_text(old.enforce_percent), percent_text(new.enforce_percent)
        yield f"Share {before} % → {after} %{later}."
    yield from _names_moved("pilots", old.pilots, new.pilots)
    yield from _names_moved("holdouts", old.holdouts, new.holdouts)
    for name in sorted(old.overrides.keys() | new.overrides.keys()):
        cap, new_cap = old.overrides.get(name), new.overrides.get(name)
        if cap is not new_cap:
            yield f"{name}: {cap or 'as the mode'} → {new_cap or 'as the mode'}."
    if new.enforce_at != old.enforce_at:
        if new.enforce_at:
            yield f"Announced: {new.enforce_at:%-d %b %Y %H:%M} UTC."
        else:
            yield "The announced date is withdrawn."


def _names_moved(role: str, old: frozenset[str], new: frozenset[str]) -> Iterator[str]:
    if new - old:
        yield f"New {role}: {_names(new - old)}."
    if old - new:
        yield f"No longer {role}: {_names(old - new)}."


def _clients(
    old: Rollout, new: Rollout, clients: Sequence[str], endpoints: list[str]
) -> Iterator[str]:
    if not clients:
        yield "No client sent a stage in the last 24 hours."
        return
    before = {client for client in clients if _enforced(old, client, endpoints)}
    after = {client for client in clients if _enforced(new, client, endpoints)}
    every = len(clients)
    yield f"Enforced: {len(before)} → {len(after)} of the {every} clients of the last 24 hours."
    if after - before:
        yield f"Newly enforced: {_names(after - before)}."
    if before - after:
        yield f"No longer enforced: {_names(before - after)}."


def _enforced(rollout: Rollout, client: str, endpoints: list[str]) -> bool:
    return any(rollout.mode_for(endpoint, client) is Mode.ENFORCE for endpoint in endpoints)


def _names(names: Iterable[str]) -> str:
    return first_names(names, NAMES_LISTED)


def first_names(names: Iterable[str], listed: int) -> str:
    """Return the first `listed` names in order, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - listed
    return ", ".join(ordered[:listed]) + (f" and {more} more" if more > 0 else "")


def percent_text(percent: Decimal) -> str:
    """Return a share in percent without needless zeros, as 12.5."""
    return f"{percent.normalize():f}"


# -- Proposals ----------------------------------------------------------------


def proposed(now: Rollout, asked: Mapping[str, str]) -> Rollout | None:
    """Return the rollout that the query parameters propose, or None if it does not differ.

    The form has one name a line, stripped. A name that would not survive that is ignored, and so
    is a step that does not exist.
    """
    if asked.get("step"):
        to = _step(now, asked["step"])
        return to if to != now else None
    for name, change in _CHANGES.items():
        client = asked.get(name, "")
        if client and client.isprintable() and client == client.strip():
            to = change(now, client)
            return to if to != now else None
    return None


def step_link(to: Rollout) -> str:
    """Return the address of the form with the step of `to` filled in."""
    step = percent_text(to.enforce_percent) if to.mode is Mode.ENFORCE else to.mode.value
    return f"{reverse('ops-rollout')}?{urlencode({'step': step})}#change"


def _step(now: Rollout, step: str) -> Rollout:
    """Return `now` in the mode `step`, or enforced for that share in percent."""
    if step in (Mode.OFF, Mode.WARN):
        return replace(now, mode=Mode(step))
    try:
        return replace(now, mode=Mode.ENFORCE, enforce_percent=Decimal(step))
    except (RolloutInvalid, ArithmeticError):
        return now


def proposal_links(now: Rollout, client: str) -> list[ProposalLink]:
    """Return the proposals that would change how `client` is treated."""
    role = "pilots" if client in now.pilots else "holdouts"
    words = {
        "pilot": "Make it a pilot",
        "holdout": "Make it a holdout",
        "neither": f"Remove it from the {role}",
    }
    return [
        ProposalLink(word, f"{reverse('ops-rollout')}?{urlencode({name: client})}#change")
        for name, word in words.items()
        if proposed(now, {name: client}) is not None
    ]


def _pilot(now: Rollout, client: str) -> Rollout:
    return replace(now, pilots=now.pilots | {client}, holdouts=now.holdouts - {client})


def _holdout(now: Rollout, client: str) -> Rollout:
    return replace(now, pilots=now.pilots - {client}, holdouts=now.holdouts | {client})


def _neither(now: Rollout, client: str) -> Rollout:
    return replace(now, pilots=now.pilots - {client}, holdouts=now.holdouts - {client})


_CHANGES: Final[Mapping[str, Callable[[Rollout, str], Rollout]]] = {
    "pilot": _pilot,
    "holdout": _holdout,
    "neither": _neither,
}
