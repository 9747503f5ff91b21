"""What clients got in an incident: refused requests by client and by minute, and the spellings.

Enforced requests only. A request counts under the mode that the rollout gave its client, so a
rehearsal of a client in `warn` is not among them. The tallies have minutes; the record of the
guard has the exact figures of its window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from normalization import decision_store
from normalization.deprecations import status_of, suggestions_of
from normalization.stages import Known, Meaning, Outside, normalize
from ops.admin_ui.characters import Visible, visible
from ops.pages.incidents.record import Incident, IncidentScope
from ops.pages.letters.links import letter_url
from ops.pages.rollout.changes import first_names
from ops.pages.spellings.links import InboxAddress

CLIENTS_LISTED: Final = 20
SPELLINGS_LISTED: Final = 50
NAMES_LISTED: Final = 3
LOOKED_BACK: Final = timedelta(hours=24)
SPREAD_WITHIN: Final = timedelta(minutes=5)
"""A server that could not read the change sooner is an incident of its own."""
NEW_WITHIN: Final = 30
"""A spelling is new if it was not sent in so many days before."""

REFUSED: Final = """
WITH by_client AS (
    SELECT client, sum(requests)::bigint AS requests,
           coalesce(sum(requests) FILTER (WHERE outcome = 'rejected'), 0)::bigint AS refused,
           array_agg(DISTINCT endpoint) FILTER (WHERE outcome = 'rejected') AS endpoints,
           min(minute) FILTER (WHERE outcome = 'rejected') AS first_minute,
           max(minute) FILTER (WHERE outcome = 'rejected') AS last_minute
    FROM normalization_outcometally
    WHERE minute >= %(begin)s AND minute <= %(end)s AND mode = 'enforce' GROUP BY client
), total AS (
    SELECT count(*) AS clients, count(*) FILTER (WHERE refused > 0) AS hurt,
           coalesce(sum(requests), 0)::bigint AS requests,
           coalesce(sum(refused), 0)::bigint AS refused,
           min(first_minute) AS first_minute, max(last_minute) AS last_minute
    FROM by_client
), listed AS (
    SELECT * FROM by_client WHERE refused > 0
    ORDER BY (client = ANY(%(first)s)) DESC, refused DESC, client LIMIT %(listed)s
)
SELECT total.*, listed.client, listed.refused, listed.requests, listed.endpoints
FROM total LEFT JOIN listed ON true
ORDER BY (listed.client = ANY(%(first)s)) DESC, listed.refused DESC, listed.client
"""

# Requests with the stages that enforcement refused, accepted with a warning since.
WARNED_SINCE: Final = """
SELECT client, sum(requests)::bigint FROM normalization_outcometally
WHERE minute >= %(at)s AND minute < %(until)s AND client = ANY(%(clients)s)
  AND mode <> 'enforce' AND outcome IN ('unknown', 'outside')
GROUP BY client
"""

# A row counts one spelling of a client for a whole day: the times are those of the day. The
# unique index begins with day and spelling, so each day before is one look into it.
SPELLINGS: Final = """
SELECT spelling, times, clients, endpoints, first_seen,
       first_seen >= %(begin)s AND NOT EXISTS (
           SELECT 1 FROM normalization_observedspelling AS earlier
           WHERE earlier.day = ANY(%(days_before)s) AND earlier.spelling = sent.spelling
             AND earlier.stage = '' AND earlier.client = ANY(%(clients)s)) AS is_new
FROM (SELECT spelling, sum(count)::bigint AS times, array_agg(DISTINCT client) AS clients,
             array_agg(DISTINCT endpoint) AS endpoints, min(first_seen) AS first_seen
      FROM normalization_observedspelling
      WHERE day >= %(first_day)s AND day <= %(last_day)s AND client = ANY(%(clients)s)
        AND stage = '' AND last_seen >= %(begin)s AND first_seen <= %(end)s
      GROUP BY spelling
      ORDER BY times DESC, spelling LIMIT %(listed)s) AS sent
ORDER BY times DESC, spelling
"""


@dataclass(frozen=True, slots=True)
class IncidentPeriod:
    """The time in which requests were refused.

    It begins with the change that enforced more, a day before the way back at most, and ends when
    every server had time to read the way back, or where more was enforced again.
    """

    begin: datetime
    end: datetime
    cut: bool

    @classmethod
    def of(cls, found: Incident) -> IncidentPeriod:
        """Return the period of an incident."""
        earliest = found.at - LOOKED_BACK
        begin = found.enforced.created_at if found.enforced else earliest
        end = found.at + SPREAD_WITHIN
        if found.scope is not IncidentScope.EVERYBODY:
            end = found.at  # the others are still enforced
        if found.again is not None:
            end = min(end, found.again.created_at)
        return cls(max(begin, earliest), end, cut=begin < earliest)

    @property
    def minutes(self) -> Mapping[str, datetime]:
        """The parameters `begin` and `end` for rows that are dated by their minute."""
        return {"begin": self.begin.replace(second=0, microsecond=0), "end": self.end}


@dataclass(frozen=True, slots=True)
class IncidentClient:
    """A client with refused requests, of all its enforced `requests`.

    `warned`: requests with unknown stages that it has sent since, which were accepted.
    """

    client: str
    refused: int
    requests: int
    endpoints: tuple[str, ...]
    held_out: bool = False
    warned: int = 0

    @property
    def url(self) -> str:
        """The address of the letter to its owner."""
        return letter_url(self.client)

    @property
    def places(self) -> str:
        """The endpoints in a line."""
        return first_names(self.endpoints, NAMES_LISTED)


@dataclass(frozen=True, slots=True)
class RefusedRequests:
    """All refused requests of an incident, and the clients with most of them.

    Of `clients` enforced ones `hurt` got a 400. `counted` is False if no request of that time is
    counted, as after the counts were deleted; all figures are then those of the guard's record.
    """

    clients: int
    hurt: int
    requests: int
    refused: int
    first_minute: datetime | None
    last_minute: datetime | None
    listed: Sequence[IncidentClient]
    counted: bool = True

    @property
    def more(self) -> int:
        """How many hurt clients are not listed."""
        return max(self.hurt - len(self.listed), 0)

    @property
    def names(self) -> list[str]:
        """The names of the listed clients."""
        return [each.client for each in self.listed]


@dataclass(frozen=True, slots=True)
class RefusedSpelling:
    """A spelling of the hurt clients that meant no stage when it came.

    `meaning` is what it means by today's decisions; `is_new` whether they had not sent it before.
    """

    raw: str
    shown: Visible
    times: int
    clients: tuple[str, ...]
    endpoints: tuple[str, ...]
    first_seen: datetime
    is_new: bool
    meaning: Meaning

    @property
    def status(self) -> str:
        """What it is today: known, outside or undecided."""
        return status_of(self.meaning)

    @property
    def today(self) -> str:
        """What it means today, in words."""
        if isinstance(self.meaning, Known):
            return f"Decided: {self.meaning.stage.value}"
        if isinstance(self.meaning, Outside):
            return "Decided: outside"
        suggested = suggestions_of(self.meaning)
        return f"Perhaps {' or '.join(suggested)}" if suggested else "Undecided"

    @property
    def names(self) -> str:
        """The clients in a line."""
        return first_names(self.clients, NAMES_LISTED)

    @property
    def url(self) -> str:
        """The address of the inbox with this spelling."""
        return InboxAddress(named=self.raw).url()


def refused_requests(found: Incident, now: datetime) -> RefusedRequests:
    """Return the refused requests of an incident. Raises `django.db.Error`."""
    period = IncidentPeriod.of(found)
    values: dict[str, Any] = {
        **period.minutes,
        "first": list(found.clients),
        "listed": CLIENTS_LISTED,
    }
    with connection.cursor() as cursor:
        cursor.execute(REFUSED, values)
        rows = cursor.fetchall()
    clients, hurt, requests, refused, first_minute, last_minute = rows[0][:6]
    listed = [row[6:] for row in rows if row[6] is not None]
    if not clients:
        return _of_record(found)
    until = found.again.created_at if found.again else now
    warned = _warned_since(found.at, min(until, now), [row[0] for row in listed])
    return RefusedRequests(
        clients,
        hurt,
        requests,
        refused,
        first_minute,
        last_minute,
        [_hurt(found, warned, *row) for row in listed],
    )


def refused_spellings(found: Incident, clients: Sequence[str]) -> list[RefusedSpelling]:
    """Return the unknown spellings that `clients` sent in the incident, most frequent first.

    Raises `django.db.Error`.
    """
    period = IncidentPeriod.of(found)
    first_day = period.begin.date()
    values: dict[str, Any] = {
        "clients": list(clients),
        "begin": period.begin,
        "end": period.end,
        "first_day": first_day,
        "last_day": period.end.date(),
        "days_before": [first_day - timedelta(days=back) for back in range(1, NEW_WITHIN + 1)],
        "listed": SPELLINGS_LISTED,
    }
    with connection.cursor() as cursor:
        cursor.execute(SPELLINGS, values)
        return [_spelling(*row) for row in cursor.fetchall()]


def _hurt(
    found: Incident, warned: Mapping[str, int], client: str, refused: int, requests: int,
    endpoints: list[str],
) -> IncidentClient:  # fmt: skip
    held_out = client in found.clients
    return IncidentClient(
        client, refused, requests, tuple(endpoints), held_out, warned.get(client, 0)
    )


def _warned_since(at: datetime, until: datetime, clients: Sequence[str]) -> dict[str, int]:
    values: dict[str, Any] = {
        "at": at.replace(second=0, microsecond=0),
        "until": min(until, at + LOOKED_BACK),
        "clients": list(clients),
    }
    with connection.cursor() as cursor:
        cursor.execute(WARNED_SINCE, values)
        return dict(cursor.fetchall())


def _of_record(found: Incident) -> RefusedRequests:
    measured = found.measured
    if measured is None:
        return RefusedRequests(0, 0, 0, 0, None, None, (), counted=False)
    endpoint = str(found.change.evidence.get("endpoint") or "")
    places = (endpoint,) if endpoint else ()
    listed = [
        IncidentClient(client, refused, 0, places, client in found.clients)
        for client, refused in measured.clients.items()
    ]
    return RefusedRequests(
        0, len(listed), measured.requests, measured.rejects, None, None, listed, counted=False
    )


def _spelling(
    raw: str, times: int, clients: list[str], endpoints: list[str], first: datetime, is_new: bool
) -> RefusedSpelling:
    return RefusedSpelling(
        raw=raw,
        shown=visible(raw),
        times=times,
        clients=tuple(clients),
        endpoints=tuple(endpoints),
        first_seen=first,
        is_new=is_new,
        meaning=normalize(raw, decision_store.current()),
    )
