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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
    had one then and have none today.
    """

    requests: int = 0
    refused: int = 0
    normalized: int = 0
    observed: int = 0
    without_stage: int = 0
    lost_stage: int = 0

    @property
    def refused_today(self) -> int:
        """How many of the requests would be refused today; never underestimated.

        A refused request of which no spelling was kept is refused today as well.
        """
        unobserved = max(0, self.refused - self.observed)
        still = min(self.refused, self.without_stage + unobserved)
        return still + min(self.normalized, self.lost_stage)


def enforced_traffic(
    rollout: Rollout, now: datetime, table: SpellingTable | None = None
) -> EnforcedTraffic:
    """Return what `rollout` would enforce of the requests of the last 24 hours.

    They are judged by `table`, or by the decisions in force.
    """
    since = {"since": now - WINDOW}
    sent = _sent(since)
    table = table or decision_store.newest()
    spellings: Counter[str] = Counter()
    for client, endpoint, raw, stage, times in _rows(SPELLINGS, since):
        place = sent.get((client, endpoint))
        if place is None:
            continue
        has_stage = _has_stage(raw, table)
        _add_spelling(place, stage, times, has_stage)
        if not has_stage and _enforces(rollout, client, endpoint):
            spellings[raw] += times
    enforced = {place: each for place, each in sent.items() if _enforces(rollout, *place)}
    return EnforcedTraffic(
        requests=sum(each.requests for each in enforced.values()),
        refused=sum(each.refused_today for each in enforced.values()),
        clients=len({client for client, _ in enforced}),
        clients_seen=len({client for client, _ in sent}),
        pilots_alone=all(client in rollout.pilots for client, _ in enforced),
        refused_clients=tuple(_worst(enforced)),
        spellings=tuple(raw for raw, _ in spellings.most_common(SPELLINGS_NAMED)),
    )


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


def _add_spelling(sent: _Sent, stage: str, times: int, has_stage: bool) -> None:
    """`stage`: what the spelling meant when it came; `has_stage`: whether it means one today."""
    if not stage:
        sent.observed += times
        sent.without_stage += 0 if has_stage else times
    elif not has_stage:
        sent.lost_stage += times


def _enforces(rollout: Rollout, client: str, endpoint: str) -> bool:
    return rollout.mode_for(endpoint, client) is Mode.ENFORCE


def _worst(enforced: dict[Place, _Sent]) -> Iterator[RefusedClient]:
    """Yield the clients with most refused requests, the worst first."""
    by_client: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for (client, _), each in enforced.items():
        by_client[client][0] += each.refused_today
        by_client[client][1] += each.requests
    refused = [RefusedClient(client, *counts) for client, counts in by_client.items() if counts[0]]
    refused.sort(key=lambda each: (-each.refused, each.client))
    yield from refused[:CLIENTS_NAMED]
