"""Changes that a link proposes: the rollout page's form comes filled in, and only its own button changes anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from django.urls import reverse

from normalization.rollout import Rollout


@dataclass(frozen=True, slots=True)
class Link:
    """A proposal for one client: what it is called, and the form with it."""

    word: str
    url: str


def proposed(now: Rollout, asked: Mapping[str, str]) -> Rollout | None:
    """Return the rollout that the parameters of an address ask for, None if they ask for nothing that is not so."""
    for name, change in _CHANGES.items():
        client = asked.get(name, "")
        # The form has a name a line, without white space at the ends: another would come back as something else.
        if client and client.isprintable() and client == client.strip():
            to = change(now, client)
            return to if to != now else None
    return None


def links(now: Rollout, client: str) -> list[Link]:
    """Return the proposals that would change something for `client`."""
    words = {
        "pilot": "Make it a pilot",
        "holdout": "Make it a holdout",
        "neither": _leave(now, client),
    }
    return [
        Link(word, f"{reverse('ops-rollout')}?{urlencode({name: client})}#change")
        for name, word in words.items()
        if proposed(now, {name: client}) is not None
    ]


def _leave(now: Rollout, client: str) -> str:
    return "Take it out of the pilots" if client in now.pilots else "Take it out of the holdouts"


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
