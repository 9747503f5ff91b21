"""Unknown spellings of the last days, the most frequent first, with a link to decide each.

`alias_offer` is shared with the page of one client.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never
from urllib.parse import urlencode

from django.db import connection
from django.urls import reverse

from normalization import decision_store
from normalization.observations import OTHER
from normalization.stages import Known, Outside, Unknown, normalize
from ops.admin_ui.characters import Visible, visible
from ops.pages.rollout.changes import first_names

DAYS: Final = 7
LISTED: Final = 20
NAMES_LISTED: Final = 3
CUT_AT: Final = 100  # observations cut longer texts, which are too long for a stage anyway

MOST_FREQUENT_UNKNOWN: Final = """
SELECT spelling, sum(count)::bigint AS times, max(last_seen),
       array_agg(DISTINCT endpoint), array_agg(DISTINCT client)
FROM normalization_observedspelling
WHERE stage = '' AND day > %s
GROUP BY spelling
ORDER BY times DESC, spelling
LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class AliasOffer:
    """What can be decided about an unknown spelling.

    `url` leads to the form of decisions. It is "" if no alias is possible; `obstacle` explains why.
    """

    suggestions: tuple[str, ...] = ()
    url: str = ""
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class UnknownSpelling:
    """An unknown spelling that clients sent."""

    raw: str
    shown: Visible
    times: int
    last_seen: datetime
    endpoints: str
    clients: str
    offer: AliasOffer

    @property
    def may_hide_a_character(self) -> bool:
        """Whether a `?` may replace a character that was not kept, so an alias may not match."""
        return "?" in self.raw


def most_frequent(now: datetime) -> list[UnknownSpelling]:
    """Return the LISTED most frequent unknown spellings of the last DAYS days."""
    since = (now - timedelta(days=DAYS)).date()
    with connection.cursor() as cursor:
        cursor.execute(MOST_FREQUENT_UNKNOWN, [since, LISTED])
        return [_spelling(*row) for row in cursor.fetchall()]


def alias_offer(raw: str) -> AliasOffer:
    """Return what can be decided about `raw`, with today's decisions."""
    if raw == OTHER:
        return AliasOffer(obstacle="every spelling after the first 1,000 of a day")
    found = normalize(raw, decision_store.current())
    match found:
        case Known():
            return AliasOffer(obstacle=f"Decided: {found.stage}")
        case Outside():
            return AliasOffer(obstacle="Decided: outside")
        case Unknown():
            return _offer(raw, tuple(str(stage) for stage in found.suggestions))
        case _:
            assert_never(found)


def _offer(raw: str, suggestions: tuple[str, ...]) -> AliasOffer:
    if len(raw) >= CUT_AT:
        return AliasOffer(suggestions, obstacle="too long for a stage")
    return AliasOffer(suggestions, url=_alias_url(raw, suggestions))


def listed(names: list[str]) -> str:
    """Return the first names in a line, and how many more there are."""
    return first_names(names, NAMES_LISTED)


def _spelling(
    raw: str, times: int, last: datetime, endpoints: list[str], clients: list[str]
) -> UnknownSpelling:
    return UnknownSpelling(
        raw=raw,
        shown=visible(raw),
        times=times,
        last_seen=last,
        endpoints=listed(endpoints),
        clients=listed(clients),
        offer=alias_offer(raw),
    )


def _alias_url(raw: str, suggestions: tuple[str, ...]) -> str:
    """Return the address of the form of decisions, with spelling and first suggestion filled in."""
    prefilled = {"spelling": raw}
    if suggestions:
        prefilled["stage"] = suggestions[0]
    return f"{reverse('admin:normalization_stagedecision_add')}?{urlencode(prefilled)}"
