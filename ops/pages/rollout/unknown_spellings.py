"""The unknown spellings that clients sent lately, the most frequent first, and what can be decided about each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, assert_never
from urllib.parse import urlencode

from django.db import connection
from django.urls import reverse

from normalization import decision_store
from normalization.observations import OTHER
from normalization.stages import Known, Outside, Unknown, normalize
from ops.admin_ui.characters import Visible, visible

DAYS: Final = 7
LISTED: Final = 20
NAMES_LISTED: Final = 3
CUT_AT: Final = (
    100  # what is longer was cut when it was counted; so long a text is no spelling of a stage
)

MOST_FREQUENT_UNKNOWN: Final = """
SELECT spelling, sum(count)::bigint AS times, max(last_seen), array_agg(DISTINCT endpoint), array_agg(DISTINCT client)
FROM normalization_observedspelling
WHERE stage = '' AND day > %s
GROUP BY spelling
ORDER BY times DESC, spelling
LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class UnknownSpelling:
    """One spelling. `alias_url` is empty where an alias would be of no use; then `why_no_alias` says why."""

    raw: str
    shown: Visible
    times: int
    last_seen: datetime
    endpoints: str
    clients: str
    suggestions: tuple[str, ...]
    alias_url: str
    why_no_alias: str

    @property
    def may_hide_a_character(self) -> bool:
        """Whether a `?` may stand for a character that was not kept, which an alias would then not match."""
        return "?" in self.raw


def most_frequent(now: datetime) -> list[UnknownSpelling]:
    """Return the unknown spellings of the last DAYS days with most requests, at most LISTED."""
    with connection.cursor() as cursor:
        cursor.execute(MOST_FREQUENT_UNKNOWN, [(now - timedelta(days=DAYS)).date(), LISTED])
        return [_spelling(*row) for row in cursor.fetchall()]


def _spelling(
    raw: str, times: int, last: datetime, endpoints: list[str], clients: list[str]
) -> UnknownSpelling:
    why_not, suggestions = judged(raw)
    return UnknownSpelling(
        raw=raw,
        shown=visible(raw),
        times=times,
        last_seen=last,
        endpoints=listed(endpoints),
        clients=listed(clients),
        suggestions=suggestions,
        alias_url="" if why_not else alias_url(raw, suggestions),
        why_no_alias=why_not,
    )


def judged(raw: str) -> tuple[str, tuple[str, ...]]:
    """Return why no alias can be made of `raw` ("" if one can) and what it probably meant."""
    if raw == OTHER:
        return "all that came after the first 1,000 of a day", ()
    found = normalize(raw, decision_store.current())
    match found:
        case Known():
            return f"now known as {found.stage}", ()
        case Outside():
            return "decided: outside", ()
        case Unknown():
            suggestions = tuple(str(stage) for stage in found.suggestions)
            return ("too long for a stage" if len(raw) >= CUT_AT else ""), suggestions
        case _:
            assert_never(found)


def alias_url(raw: str, suggestions: tuple[str, ...]) -> str:
    """Return the address of the form of aliases with both filled in."""
    prefilled: dict[str, Any] = {"spelling": raw}
    if suggestions:
        prefilled["stage"] = suggestions[0]
    return f"{reverse('admin:normalization_stagedecision_add')}?{urlencode(prefilled)}"


def listed(names: Iterable[str]) -> str:
    """Return the first names in a line, and how many there are more."""
    ordered = sorted(names)
    more = len(ordered) - NAMES_LISTED
    return ", ".join(ordered[:NAMES_LISTED]) + (f" and {more} more" if more > 0 else "")
