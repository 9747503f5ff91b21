"""The spellings of single clients: what each means, or probably means, and how many are undecided still."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from normalization import decision_store
from normalization.stages import Unknown, normalize
from ops.admin_ui.characters import Visible, visible
from ops.pages.outcome_chart import Window
from ops.pages.rollout.unknown_spellings import alias_url, judged, listed

LISTED: Final = 100
JUDGED: Final = 2_000  # unknown spellings of a page of clients; suggestions take time

# First seen: ever, as long as spellings are kept, so a spelling of many months is not called a new one.
SPELLINGS_OF: Final = """
SELECT spelling, stage, coalesce(sum(count) FILTER (WHERE last_seen >= %(begin)s), 0)::bigint AS times,
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
LIMIT %(judged)s
"""


@dataclass(frozen=True, slots=True)
class SentSpelling:
    """A spelling that a client sent. `stage` is empty for one that was unknown when it came, `decided` known since."""

    raw: str
    shown: Visible
    stage: str
    times: int
    first_seen: datetime
    last_seen: datetime
    endpoints: str
    suggestions: tuple[str, ...]
    alias_url: str
    why_no_alias: str
    decided: bool

    @property
    def may_hide_a_character(self) -> bool:
        """Whether a `?` may stand for a character that was not kept, which an alias would then not match."""
        return not self.stage and "?" in self.raw


@dataclass(frozen=True, slots=True)
class Spellings:
    """The first of a client's spellings, the unknown before the deprecated, and how many there are more."""

    unknown: list[SentSpelling]
    deprecated: list[SentSpelling]
    more: int

    @property
    def sentence(self) -> str:
        """How far the unknown ones are decided; empty where there are none, or more than are listed."""
        every, undecided = len(self.unknown), sum(not each.decided for each in self.unknown)
        if not every or self.more:
            return ""
        if not undecided:
            return "All of its unknown spellings were decided since: sent again, they are known."
        if undecided == every:
            return f"None of its unknown spellings is decided ({every})."
        return f"{undecided} of its {every} unknown spellings are not decided."


@dataclass(slots=True)
class Undecided:
    """How many unknown spellings of a client nobody has made an alias of, and the most frequent of them."""

    spellings: int = 0
    most: Visible | None = None


def of_client(client: str, period: Window, now: datetime) -> Spellings:
    """Return what `client` sent within the period that was not canonical, the most frequent first."""
    values: dict[str, Any] = {"client": client, "begin": period.starts(now)[0], "listed": LISTED}
    with connection.cursor() as cursor:
        cursor.execute(SPELLINGS_OF, values)
        rows = cursor.fetchall()
    found = [_sent(*row[:-1]) for row in rows]
    unknown = [each for each in found if not each.stage]
    return Spellings(
        unknown, [each for each in found if each.stage], rows[0][-1] - len(rows) if rows else 0
    )


def undecided(clients: Iterable[str], period: Window, now: datetime) -> dict[str, Undecided]:
    """Return for each of `clients` what is unknown of it still; one that sent nothing unknown is absent.

    Of the JUDGED most frequent spellings only. Where there are more, a client of which none is undecided is absent too:
    a rare one may be.
    """
    values: dict[str, Any] = {
        "clients": list(clients),
        "begin": period.starts(now)[0],
        "judged": JUDGED,
    }
    with connection.cursor() as cursor:
        cursor.execute(UNKNOWN_OF, values)
        rows = cursor.fetchall()
    found: dict[str, Undecided] = {}
    table = decision_store.current()
    for client, raw, _ in rows:
        mine = found.setdefault(client, Undecided())
        if isinstance(normalize(raw, table), Unknown):
            mine.spellings += 1
            mine.most = mine.most or visible(raw)
    return {client: mine for client, mine in found.items() if mine.spellings or len(rows) < JUDGED}


def _sent(
    raw: str, stage: str, times: int, first: datetime, last: datetime, endpoints: list[str]
) -> SentSpelling:
    why_not, suggestions = ("", ()) if stage else judged(raw)
    may_be_alias = not stage and not why_not
    return SentSpelling(
        raw=raw,
        shown=visible(raw),
        stage=stage,
        times=times,
        first_seen=first,
        last_seen=last,
        endpoints=listed(endpoints),
        suggestions=suggestions,
        alias_url=alias_url(raw, suggestions) if may_be_alias else "",
        why_no_alias=why_not,
        decided=not isinstance(normalize(raw, decision_store.current()), Unknown),
    )
