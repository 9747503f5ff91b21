"""How often one client may ask: a sliding log per client, kept in one database row.

The default cache of this project is per process, so a throttle that counts there would allow its rate once per
worker. Here a request is one upsert of one small row in an unlogged table: right with any number of workers and
hosts, no WAL, no row that outlives its client, and never more than `limit` admitted requests in any period.
"""

import math

from django.conf import settings
from django.db import connection
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from stagenorm.env import parse_rate
from stagenorm.portfolio.bodies import client_of

# The database's clock, so that workers whose clocks differ agree. Waiting for the row lock may put two requests out of
# order; that is why the log is sorted. A refused request is not logged: who keeps asking is not locked out for good.
ADMIT_SQL = """
INSERT INTO portfolio_requestlog AS log (scope, client, admitted, refused)
VALUES (%(scope)s, %(client)s, ARRAY[statement_timestamp()], false)
ON CONFLICT (scope, client) DO UPDATE SET (admitted, refused) = (
    SELECT CASE WHEN count(at) < %(limit)s THEN array_append(array_agg(at ORDER BY at), statement_timestamp())
                ELSE array_agg(at ORDER BY at) END,
           count(at) >= %(limit)s
    FROM unnest(log.admitted) AS at
    WHERE at > statement_timestamp() - make_interval(secs => %(period)s))
RETURNING refused,
          extract(epoch FROM admitted[cardinality(admitted) - %(limit)s + 1] - statement_timestamp())::float8
"""


def admit(scope: str, client: str, limit: int, period: int) -> int:
    """Count one request of `client`; 0 when it is admitted, else the whole seconds until one will be."""
    params: dict[str, str | int] = {
        "scope": scope,
        "client": client,
        "limit": limit,
        "period": period,
    }
    with connection.cursor() as cursor:
        cursor.execute(ADMIT_SQL, params)
        refused, oldest_age = cursor.fetchone()
    return max(1, math.ceil(oldest_age + period)) if refused else 0


class SimulateThrottle(BaseThrottle):
    """The setting `SIMULATE_THROTTLE` for each client; empty switches it off. Refused: 429 with `Retry-After`."""

    scope = "monte-carlo-simulate"

    def __init__(self) -> None:
        self.seconds = 0

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether this request may go on."""
        rate: str = settings.SIMULATE_THROTTLE
        if rate:
            self.seconds = admit(self.scope, client_of(request), *parse_rate(rate))
        return self.seconds == 0

    def wait(self) -> float:
        """Seconds until the next request is admitted, for `Retry-After`."""
        return self.seconds
