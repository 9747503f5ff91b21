"""Requests by client, from the per-minute tallies, and clients that hold a key and send nothing.

`clients` makes the list, `requests_of` one client's page, and `clients_refused` the tile of the
start page. All count as refused what `normalization.outcomes` defines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from psycopg import sql

from normalization import known_clients
from normalization.models import ClientAgent
from normalization.outcomes import WOULD_BE_REFUSED, would_be_refused
from ops.pages.periods import Period

LISTED: Final = 50  # a page
CLIENTS_COUNTED: Final = 100_000  # a list has no more; those refused most come first

CLIENTS: Final = """
WITH seen AS (
    SELECT client::text, sum(requests)::bigint AS requests,
           coalesce(sum(requests) FILTER (WHERE outcome = 'canonical'), 0)::bigint AS canonical,
           coalesce(sum(requests) FILTER (WHERE outcome = 'normalized'), 0)::bigint AS normalized,
           coalesce(sum(requests) FILTER (WHERE outcome = 'outside'), 0)::bigint AS outside,
           coalesce(sum(requests) FILTER (WHERE outcome = 'unknown'), 0)::bigint AS unknown,
           coalesce(sum(requests) FILTER (WHERE outcome = 'rejected'), 0)::bigint AS rejected,
           coalesce(sum(requests) FILTER (WHERE {refused}), 0)::bigint AS refusable,
           max(minute) AS last_seen
    FROM normalization_outcometally WHERE minute >= %(begin)s GROUP BY client
), holder AS (
    SELECT DISTINCT client FROM ({holders}) AS named
), everyone AS MATERIALIZED (
    SELECT client, coalesce(requests, 0) AS requests, coalesce(canonical, 0) AS canonical,
           coalesce(normalized, 0) AS normalized, coalesce(outside, 0) AS outside,
           coalesce(unknown, 0) AS unknown, coalesce(rejected, 0) AS rejected,
           coalesce(refusable, 0) AS refusable,
           last_seen, holder.client IS NOT NULL AS holds_key
    FROM seen FULL JOIN holder USING (client)
    WHERE position(lower(%(named)s) IN lower(client)) > 0
    ORDER BY refusable DESC, requests DESC, client LIMIT %(counted)s
), total AS (
    SELECT count(*) AS every, count(*) FILTER (WHERE refusable > 0) AS refusable,
           count(*) FILTER (WHERE refusable = 0 AND normalized > 0) AS deprecated,
           count(*) FILTER (WHERE requests = 0) AS silent,
           coalesce(sum(requests), 0)::bigint AS requests,
           coalesce(sum(refusable), 0)::bigint AS refused
    FROM everyone
), listed AS (
    SELECT * FROM everyone
    WHERE CASE %(only)s WHEN 'refusable' THEN refusable > 0
                        WHEN 'deprecated' THEN refusable = 0 AND normalized > 0
                        WHEN 'silent' THEN requests = 0
                        ELSE true END
    ORDER BY refusable DESC, requests DESC, client LIMIT %(listed)s OFFSET %(skipped)s
)
SELECT total.every, total.refusable, total.deprecated, total.silent, total.requests,
       total.refused, listed.client, listed.canonical, listed.normalized, listed.outside,
       listed.unknown, listed.rejected, listed.refusable, listed.last_seen, listed.holds_key
FROM total LEFT JOIN listed ON true
ORDER BY listed.refusable DESC, listed.requests DESC, listed.client
"""

REQUESTS_OF: Final = """
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

CLIENTS_REFUSED: Final = """
SELECT count(*), count(*) FILTER (WHERE refusable)
FROM (SELECT bool_or({refused}) AS refusable
      FROM normalization_outcometally WHERE minute >= %(begin)s GROUP BY client) AS seen
"""


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests by their worst stage. Enforcement would refuse `refusable` of them."""

    canonical: int = 0
    normalized: int = 0
    outside: int = 0
    unknown: int = 0
    rejected: int = 0
    refusable: int = 0

    @property
    def requests(self) -> int:
        """All requests."""
        accepted = self.canonical + self.normalized
        return accepted + self.outside + self.unknown + self.rejected

    @property
    def percent(self) -> float:
        """The share that enforcement would refuse."""
        return 100 * self.refusable / self.requests if self.requests else 0.0

    def __add__(self, other: RequestCounts) -> RequestCounts:
        """Return the sum of both."""
        names = RequestCounts.__slots__
        return RequestCounts(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True, slots=True)
class ClientCounts:
    """One client's requests. `last_seen` is None if it sent none in the period."""

    client: str
    counts: RequestCounts
    last_seen: datetime | None
    holds_key: bool


@dataclass(frozen=True, slots=True)
class ClientList:
    """A page of clients, and how many clients there are of each kind.

    Enforcement would refuse `refused` of all `requests`.
    """

    every: int
    refusable: int
    deprecated: int
    silent: int
    requests: int
    refused: int
    listed: list[ClientCounts]

    @property
    def seen(self) -> int:
        """How many clients sent a request."""
        return self.every - self.silent

    @property
    def percent(self) -> float:
        """The share of the requests that enforcement would refuse."""
        return 100 * self.refused / self.requests if self.requests else 0.0

    @property
    def sentence(self) -> str:
        """How many clients and requests would be refused; "" if no client sent a request."""
        if not self.seen:
            return ""
        if not self.refusable:
            return f"None of the {self.seen:,} clients would be refused."
        requests = f"{self.refused:,} of {self.requests:,} requests ({self.percent:.2f} %)"
        return f"{self.refusable:,} of {self.seen:,} clients would be refused: {requests}."


@dataclass(frozen=True, slots=True)
class ClientRequests:
    """One client's requests: in all, by endpoint with the last minute, and by step and outcome."""

    counts: RequestCounts
    endpoints: dict[str, tuple[RequestCounts, datetime]]
    steps: dict[tuple[datetime, str], int]

    @property
    def last_seen(self) -> datetime | None:
        """The minute of the last request in the period."""
        return max((last for _, last in self.endpoints.values()), default=None)


def clients(
    period: Period,
    now: datetime,
    named: str = "",
    only: str = "",
    page: int = 1,
    size: int = LISTED,
) -> ClientList:
    """Return one page of the clients, those refused most first.

    `named` matches any part of the name. `only` is `refusable`, `deprecated` (nothing worse than
    deprecated spellings), `silent` (no request) or "" for all.
    """
    statement = sql.SQL(CLIENTS).format(
        holders=known_clients.holders_statement(), refused=sql.SQL(WOULD_BE_REFUSED)
    )
    values: dict[str, Any] = {
        "begin": period.begin(now),
        "now": now,
        "named": named,
        "only": only,
        "counted": CLIENTS_COUNTED,
        "listed": size,
        "skipped": size * (page - 1),
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        rows = cursor.fetchall()
    every, refusable, deprecated, silent, requests, refused = rows[0][:6]
    listed = [_client(*row[6:]) for row in rows if row[6] is not None]
    return ClientList(every, refusable, deprecated, silent, requests, refused, listed)


def requests_of(client: str, period: Period, now: datetime) -> ClientRequests:
    """Return the requests of `client` within the period."""
    begin = period.begin(now)
    values: dict[str, Any] = {
        "client": client,
        "seconds": period.step.total_seconds(),
        "begin": begin,
        "end": begin + period.step * period.columns,
    }
    with connection.cursor() as cursor:
        cursor.execute(REQUESTS_OF, values)
        return _client_requests(cursor.fetchall())


def last_before(client: str, period: Period, now: datetime) -> datetime | None:
    """Return the minute of the client's last request before the period, or None."""
    with connection.cursor() as cursor:
        cursor.execute(LAST_BEFORE, {"client": client, "begin": period.begin(now)})
        row = cursor.fetchone()
        return row[0] if row else None


def clients_refused(period: Period, now: datetime) -> tuple[int, int]:
    """Return how many clients sent stages in the period, and how many would be refused."""
    statement = sql.SQL(CLIENTS_REFUSED).format(refused=sql.SQL(WOULD_BE_REFUSED))
    with connection.cursor() as cursor:
        cursor.execute(statement, {"begin": period.begin(now)})
        every, refusable = cursor.fetchone()
        return every, refusable


def agents_of(clients: Iterable[str]) -> dict[str, list[str]]:
    """Return the last user agents of each client that sent any, the newest first."""
    rows = ClientAgent.objects.filter(client__in=list(clients)).order_by("-last_seen", "-id")
    found: dict[str, list[str]] = defaultdict(list)
    for client, agent in rows.values_list("client", "user_agent"):
        found[client].append(agent)
    return dict(found)


def _client(client: str, *rest: Any) -> ClientCounts:
    *counts, last_seen, holds_key = rest
    return ClientCounts(client, RequestCounts(*counts), last_seen, holds_key)


def _client_requests(
    rows: Iterable[tuple[datetime, str, str, str, int, datetime]],
) -> ClientRequests:
    endpoints: dict[str, tuple[RequestCounts, datetime]] = {}
    steps: Counter[tuple[datetime, str]] = Counter()
    for start, endpoint, mode, outcome, requests, last in rows:
        refused = would_be_refused(outcome, mode)
        counts = RequestCounts(**{outcome: requests}, refusable=requests * refused)
        before, latest = endpoints.get(endpoint, (RequestCounts(), last))
        endpoints[endpoint] = before + counts, max(latest, last)
        steps[start, outcome] += requests
    ordered = sorted(endpoints.items(), key=lambda each: (-each[1][0].refusable, each[0]))
    every = sum((counts for counts, _ in endpoints.values()), RequestCounts())
    return ClientRequests(every, dict(ordered), dict(steps))
