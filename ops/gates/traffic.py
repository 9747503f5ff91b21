"""What clients sent within the last 24 hours, judged by today's decisions, for one rollout.

The gate `would_refuse` asks about the change at hand: which of these requests would the new
rollout refuse? Only the clients and endpoints that it enforces count, so holdouts and caps do not,
and a nightly client is not forgotten.

Tallies say what a request was when it came. The observed spellings tell what has been decided
since: a decision counts at once. A spelling is kept with the day, not with each request, so the
refused requests are at most those that were tallied, and at most the spellings that still have no
stage. Where the kept text is not the client's (a character was replaced, or the limit of a day was
reached) it counts as undecided.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from psycopg import sql

from normalization import decision_store
from normalization.outcomes import WOULD_BE_REFUSED
from normalization.rollout import Mode, Rollout
from normalization.stages import Known, SpellingTable, normalize
from ops.gates.traffic_rule import EnforcedTraffic, RefusedClient

WINDOW: Final = timedelta(hours=24)
CLIENTS_NAMED: Final = 5
SPELLINGS_NAMED: Final = 5

TALLIES: Final = """
SELECT client, endpoint, sum(requests)::bigint,
       coalesce(sum(requests) FILTER (WHERE {refused}), 0)::bigint,
       coalesce(sum(requests) FILTER (WHERE outcome = 'normalized'), 0)::bigint
FROM normalization_outcometally
WHERE minute > %(since)s
GROUP BY client, endpoint
"""

# The rows of a day are kept together: one that was seen within the window may hold earlier counts.
SPELLINGS: Final = """
SELECT client, endpoint, spelling, stage, sum(count)::bigint
FROM normalization_observedspelling
WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date AND last_seen > %(since)s
GROUP BY client, endpoint, spelling, stage
"""

Place = tuple[str, str]
"""(client, endpoint)"""


@dataclass(slots=True)
class _Sent:
    """What one client sent to one endpoint.

    `refused` and `normalized` are requests, as they were tallied. The rest counts spellings:
    `observed` had no stage when they came, `without_stage` of them have none today; `lost_stage`
    had one then and have none today. `spellings`: those that have none today.
    """

    requests: int = 0
    refused: int = 0
    normalized: int = 0
    observed: int = 0
    without_stage: int = 0
    lost_stage: int = 0
    spellings: Counter[str] = field(default_factory=Counter)

    @property
    def refused_today(self) -> int:
        """How many of the requests would be refused today; never underestimated.

        A refused request of which no spelling was kept is refused today as well.
        """
        unobserved = max(0, self.refused - self.observed)
        still = min(self.refused, self.without_stage + unobserved)
        return still + min(self.normalized, self.lost_stage)


@dataclass(frozen=True, slots=True)
class ClientTotals:
    """The requests of one client where it is enforced. `spelling`: the worst of the refused."""

    client: str
    requests: int
    refused: int
    spelling: str


@dataclass(frozen=True, slots=True)
class SentTraffic:
    """What clients sent within 24 hours, judged by one table of decisions."""

    places: Mapping[Place, _Sent]

    def enforced_by(self, rollout: Rollout) -> EnforcedTraffic:
        """Return what `rollout` would enforce of it."""
        enforced = self._enforced(rollout)
        spellings: Counter[str] = Counter()
        for each in enforced.values():
            spellings.update(each.spellings)
        totals = self.by_client(rollout)
        refused = [
            RefusedClient(each.client, each.refused, each.requests)
            for each in totals
            if each.refused
        ]
        return EnforcedTraffic(
            requests=sum(each.requests for each in totals),
            refused=sum(each.refused for each in totals),
            clients=len(totals),
            clients_seen=len({client for client, _ in self.places}),
            pilots_alone=all(each.client in rollout.pilots for each in totals),
            refused_clients=tuple(refused[:CLIENTS_NAMED]),
            spellings=tuple(raw for raw, _ in spellings.most_common(SPELLINGS_NAMED)),
        )

    def by_client(self, rollout: Rollout) -> list[ClientTotals]:
        """Return the clients that `rollout` enforces, those refused most first."""
        by_client: dict[str, list[_Sent]] = defaultdict(list)
        for (client, _), each in self._enforced(rollout).items():
            by_client[client].append(each)
        totals = [_totals(client, sent) for client, sent in by_client.items()]
        return sorted(totals, key=lambda each: (-each.refused, each.client))

    def _enforced(self, rollout: Rollout) -> dict[Place, _Sent]:
        return {
            (client, endpoint): each
            for (client, endpoint), each in self.places.items()
            if rollout.mode_for(endpoint, client) is Mode.ENFORCE
        }


def sent_lately(now: datetime, table: SpellingTable | None = None) -> SentTraffic:
    """Return the requests of the last 24 hours, judged by `table` or the decisions in force."""
    since = {"since": now - WINDOW}
    sent = _sent(since)
    table = table or decision_store.newest()
    for client, endpoint, raw, stage, times in _rows(SPELLINGS, since):
        place = sent.get((client, endpoint))
        if place is not None:
            _add_spelling(place, raw, stage, times, has_stage=_has_stage(raw, table))
    return SentTraffic(sent)


def enforced_traffic(
    rollout: Rollout, now: datetime, table: SpellingTable | None = None
) -> EnforcedTraffic:
    """Return what `rollout` would enforce of the requests of the last 24 hours.

    They are judged by `table`, or by the decisions in force.
    """
    return sent_lately(now, table).enforced_by(rollout)


def _sent(since: dict[str, datetime]) -> dict[Place, _Sent]:
    statement = sql.SQL(TALLIES).format(refused=sql.SQL(WOULD_BE_REFUSED))
    return {
        (client, endpoint): _Sent(requests, refused, normalized)
        for client, endpoint, requests, refused, normalized in _rows(statement, since)
    }


def _rows(statement: Any, parameters: dict[str, datetime]) -> Iterable[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _has_stage(raw: str, table: SpellingTable) -> bool:
    return isinstance(normalize(raw, table), Known)


def _add_spelling(sent: _Sent, raw: str, stage: str, times: int, *, has_stage: bool) -> None:
    """`stage`: what the spelling meant when it came; `has_stage`: whether it means one today."""
    if not has_stage:
        sent.spellings[raw] += times
    if not stage:
        sent.observed += times
        sent.without_stage += 0 if has_stage else times
    elif not has_stage:
        sent.lost_stage += times


def _totals(client: str, sent: Iterable[_Sent]) -> ClientTotals:
    requests, refused = 0, 0
    spellings: Counter[str] = Counter()
    for each in sent:
        requests += each.requests
        refused += each.refused_today
        spellings.update(each.spellings)
    worst = spellings.most_common(1)
    return ClientTotals(client, requests, refused, worst[0][0] if refused and worst else "")
