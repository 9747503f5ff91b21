"""Who sends what, by client, as the per-minute tallies have it; and who holds a key and sends nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from psycopg import sql

from normalization.outcomes import WOULD_BE_REFUSED, would_be_refused
from ops.pages.clients import keys as key_holders
from ops.pages.outcome_chart import Window
from ops.pages.request_counts import Counts

LISTED: Final = 50  # a page
CLIENTS_COUNTED: Final = 100_000  # what a list is made of at most, the worst first

CLIENTS: Final = """
WITH seen AS (
    SELECT client::text, sum(requests)::bigint AS requests,
           coalesce(sum(requests) FILTER (WHERE outcome = 'canonical'), 0)::bigint AS canonical,
           coalesce(sum(requests) FILTER (WHERE outcome = 'normalized'), 0)::bigint AS normalized,
           coalesce(sum(requests) FILTER (WHERE outcome = 'unknown'), 0)::bigint AS unknown,
           coalesce(sum(requests) FILTER (WHERE outcome = 'rejected'), 0)::bigint AS rejected,
           coalesce(sum(requests) FILTER (WHERE {refused}), 0)::bigint AS refusable,
           max(minute) AS last_seen
    FROM normalization_outcometally WHERE minute >= %(begin)s GROUP BY client
), holder AS (
    SELECT DISTINCT client FROM ({holders}) AS named
), everyone AS MATERIALIZED (
    SELECT client, coalesce(requests, 0) AS requests, coalesce(canonical, 0) AS canonical,
           coalesce(normalized, 0) AS normalized, coalesce(unknown, 0) AS unknown, coalesce(rejected, 0) AS rejected,
           coalesce(refusable, 0) AS refusable, last_seen, holder.client IS NOT NULL AS holds_key
    FROM seen FULL JOIN holder USING (client)
    WHERE position(lower(%(named)s) IN lower(client)) > 0
    ORDER BY refusable DESC, requests DESC, client LIMIT %(counted)s
), total AS (
    SELECT count(*) AS every, count(*) FILTER (WHERE refusable > 0) AS refusable,
           count(*) FILTER (WHERE refusable = 0 AND normalized > 0) AS deprecated,
           count(*) FILTER (WHERE requests = 0) AS silent,
           coalesce(sum(requests), 0)::bigint AS requests, coalesce(sum(refusable), 0)::bigint AS refused
    FROM everyone
), listed AS (
    SELECT * FROM everyone
    WHERE CASE %(only)s WHEN 'refusable' THEN refusable > 0 WHEN 'deprecated' THEN refusable = 0 AND normalized > 0
                        WHEN 'silent' THEN requests = 0 ELSE true END
    ORDER BY refusable DESC, requests DESC, client LIMIT %(listed)s OFFSET %(skipped)s
)
SELECT total.every, total.refusable, total.deprecated, total.silent, total.requests, total.refused,
       listed.client, listed.canonical, listed.normalized, listed.unknown, listed.rejected, listed.refusable,
       listed.last_seen, listed.holds_key
FROM total LEFT JOIN listed ON true
ORDER BY listed.refusable DESC, listed.requests DESC, listed.client
"""

OF_CLIENT: Final = """
SELECT date_bin(%(seconds)s * interval '1 second', minute, %(begin)s), endpoint, mode, outcome,
       sum(requests)::bigint, max(minute)
FROM normalization_outcometally
WHERE client = %(client)s AND minute >= %(begin)s AND minute < %(end)s
GROUP BY 1, 2, 3, 4
"""

LAST_BEFORE: Final = """
SELECT minute FROM normalization_outcometally
WHERE client = %(client)s AND minute < %(begin)s ORDER BY minute DESC LIMIT 1
"""

WHO_WOULD_BE_REFUSED: Final = """
SELECT count(*), count(*) FILTER (WHERE refusable)
FROM (SELECT bool_or({refused}) AS refusable
      FROM normalization_outcometally WHERE minute >= %(begin)s GROUP BY client) AS seen
"""


@dataclass(frozen=True, slots=True)
class ClientCounts:
    """One client: without a request in the period `last_seen` is None."""

    client: str
    counts: Counts
    last_seen: datetime | None
    holds_key: bool


@dataclass(frozen=True, slots=True)
class Clients:
    """A page of clients, and how many there are by what they send; `refused` of all `requests` enforcement refuses."""

    every: int
    refusable: int
    deprecated: int
    silent: int
    requests: int
    refused: int
    listed: list[ClientCounts]

    @property
    def seen(self) -> int:
        """How many sent a request."""
        return self.every - self.silent

    @property
    def percent(self) -> float:
        """The share of the requests that enforcement refuses."""
        return 100 * self.refused / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class OfClient:
    """What one client sent: in all, by endpoint (with the last minute), and by step and outcome for the chart."""

    counts: Counts
    endpoints: dict[str, tuple[Counts, datetime]]
    steps: dict[tuple[datetime, str], int]

    @property
    def last_seen(self) -> datetime | None:
        """The minute of the last request in the period."""
        return max((last for _, last in self.endpoints.values()), default=None)


def clients(
    period: Window,
    now: datetime,
    named: str = "",
    only: str = "",
    page: int = 1,
    size: int = LISTED,
) -> Clients:
    """Return page `page` of the clients whose name holds `named`, those that enforcement would hurt most first.

    `only` is `refusable`, `deprecated` (nothing worse than deprecated spellings), `silent` (no request), or "" for all.
    """
    values: dict[str, Any] = {
        "begin": period.starts(now)[0], "now": now, "named": named, "only": only,
        "counted": CLIENTS_COUNTED, "listed": size, "skipped": size * (page - 1),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(CLIENTS).format(
                holders=key_holders.statement(), refused=sql.SQL(WOULD_BE_REFUSED)
            ),
            values,
        )
        rows = cursor.fetchall()
    (every, refusable, deprecated, silent, requests, refused, *_), *_ = rows
    listed = [_client(*row[6:]) for row in rows if row[6] is not None]
    return Clients(every, refusable, deprecated, silent, requests, refused, listed)


def of_client(client: str, period: Window, now: datetime) -> OfClient:
    """Return what `client` sent within the period."""
    begin = period.starts(now)[0]
    values: dict[str, Any] = {
        "client": client,
        "seconds": period.step.total_seconds(),
        "begin": begin,
    }
    with connection.cursor() as cursor:
        cursor.execute(OF_CLIENT, {**values, "end": begin + period.step * period.columns})
        return _gathered(cursor.fetchall())


def last_before(client: str, period: Window, now: datetime) -> datetime | None:
    """Return the minute of the client's last request before the period; None if the tallies know of none."""
    with connection.cursor() as cursor:
        cursor.execute(LAST_BEFORE, {"client": client, "begin": period.starts(now)[0]})
        row = cursor.fetchone()
        return row[0] if row else None


def who_would_be_refused(period: Window, now: datetime) -> tuple[int, int]:
    """Return how many clients sent stages within the period, and how many of them sent what enforcement refuses."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(WHO_WOULD_BE_REFUSED).format(refused=sql.SQL(WOULD_BE_REFUSED)),
            {"begin": period.starts(now)[0]},
        )
        every, refusable = cursor.fetchone()
        return every, refusable


def _client(client: str, *rest: Any) -> ClientCounts:
    *counts, last_seen, holds_key = rest
    return ClientCounts(client, Counts(*counts), last_seen, holds_key)


def _gathered(rows: Iterable[tuple[datetime, str, str, str, int, datetime]]) -> OfClient:
    endpoints: dict[str, tuple[Counts, datetime]] = {}
    steps: Counter[tuple[datetime, str]] = Counter()
    for start, endpoint, mode, outcome, requests, last in rows:
        refused = would_be_refused(outcome, mode)
        counts = Counts(**{outcome: requests}, refusable=requests * refused)
        before, latest = endpoints.get(endpoint, (Counts(), last))
        endpoints[endpoint] = before + counts, max(latest, last)
        steps[start, outcome] += requests
    ordered = sorted(endpoints.items(), key=lambda each: (-each[1][0].refusable, each[0]))
    return OfClient(
        sum((counts for counts, _ in endpoints.values()), Counts()), dict(ordered), dict(steps)
    )
