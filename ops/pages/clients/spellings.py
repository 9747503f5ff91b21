"""Spellings that single clients sent: what each means or may mean, and which are undecided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from normalization import decision_store
from normalization.stages import Unknown, normalize
from ops.admin_ui.characters import Visible, visible
from ops.pages.periods import Period
from ops.pages.rollout.unknown_spellings import AliasOffer, alias_offer, listed

LISTED: Final = 100
EXAMINED: Final = 2_000  # unknown spellings of a page of clients; suggestions take time

# first_seen is not limited to the period: a spelling of many months is not shown as a new one.
SPELLINGS_OF: Final = """
SELECT spelling, stage,
       coalesce(sum(count) FILTER (WHERE last_seen >= %(begin)s), 0)::bigint AS times,
       min(first_seen), max(last_seen), array_agg(DISTINCT endpoint), count(*) OVER ()
FROM normalization_observedspelling
WHERE client = %(client)s
GROUP BY spelling, stage HAVING max(last_seen) >= %(begin)s
ORDER BY (stage = '') DESC, times DESC, spelling, stage
LIMIT %(listed)s
"""

UNKNOWN_OF: Final = """
SELECT client, spelling, sum(count)::bigint AS times
FROM normalization_observedspelling
WHERE client = ANY(%(clients)s) AND last_seen >= %(begin)s AND stage = ''
GROUP BY client, spelling
ORDER BY times DESC, client, spelling
LIMIT %(examined)s
"""


@dataclass(frozen=True, slots=True)
class SentSpelling:
    """A spelling that a client sent.

    `stage` is "" if it was unknown when it was sent; `decided` if a decision exists since then.
    `places` are the names of all endpoints, `endpoints` the first in a line.
    """

    raw: str
    shown: Visible
    stage: str
    times: int
    first_seen: datetime
    last_seen: datetime
    endpoints: str
    places: tuple[str, ...]
    offer: AliasOffer
    decided: bool

    @property
    def may_hide_a_character(self) -> bool:
        """Whether a `?` may replace a character that was not kept, so an alias may not match."""
        return not self.stage and "?" in self.raw


@dataclass(frozen=True, slots=True)
class ClientSpellings:
    """A client's first LISTED spellings, unknown ones first, and how many `more` there are."""

    unknown: list[SentSpelling]
    deprecated: list[SentSpelling]
    more: int

    @property
    def sentence(self) -> str:
        """How many unknown spellings are decided; "" if there are none or not all are listed."""
        every = len(self.unknown)
        undecided = sum(not each.decided for each in self.unknown)
        if not every or self.more:
            return ""
        if not undecided:
            return "All its unknown spellings are decided now: its next request is accepted."
        if undecided == every:
            return f"None of its unknown spellings is decided ({every})."
        return f"{undecided} of its {every} unknown spellings are undecided."


@dataclass(slots=True)
class UndecidedSpellings:
    """How many unknown spellings of a client are undecided, and the most frequent of them."""

    spellings: int = 0
    most: Visible | None = None


def spellings_of(client: str, period: Period, now: datetime) -> ClientSpellings:
    """Return the non-canonical spellings of `client` in the period, the most frequent first."""
    values: dict[str, Any] = {"client": client, "begin": period.begin(now), "listed": LISTED}
    with connection.cursor() as cursor:
        cursor.execute(SPELLINGS_OF, values)
        rows = cursor.fetchall()
    found = [_sent(*row[:-1]) for row in rows]
    every = rows[0][-1] if rows else 0
    return ClientSpellings(
        unknown=[each for each in found if not each.stage],
        deprecated=[each for each in found if each.stage],
        more=every - len(rows),
    )


def undecided(
    clients: Iterable[str], period: Period, now: datetime
) -> dict[str, UndecidedSpellings]:
    """Return the undecided spellings of each of `clients` that sent unknown ones.

    Only the EXAMINED most frequent spellings are looked at. If there are more, a client without
    an undecided one among them is absent, because it may have a rare one.
    """
    values: dict[str, Any] = {
        "clients": list(clients),
        "begin": period.begin(now),
        "examined": EXAMINED,
    }
    with connection.cursor() as cursor:
        cursor.execute(UNKNOWN_OF, values)
        rows = cursor.fetchall()
    found: dict[str, UndecidedSpellings] = {}
    table = decision_store.current()
    for client, raw, _ in rows:
        of_client = found.setdefault(client, UndecidedSpellings())
        if isinstance(normalize(raw, table), Unknown):
            of_client.spellings += 1
            of_client.most = of_client.most or visible(raw)
    if len(rows) < EXAMINED:
        return found
    return {client: each for client, each in found.items() if each.spellings}


def _sent(
    raw: str, stage: str, times: int, first: datetime, last: datetime, endpoints: list[str]
) -> SentSpelling:
    return SentSpelling(
        raw=raw,
        shown=visible(raw),
        stage=stage,
        times=times,
        first_seen=first,
        last_seen=last,
        endpoints=listed(endpoints),
        places=tuple(endpoints),
        offer=AliasOffer() if stage else alias_offer(raw),
        decided=not isinstance(normalize(raw, decision_store.current()), Unknown),
    )
