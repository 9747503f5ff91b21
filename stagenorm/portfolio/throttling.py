"""The rate at which a client may send requests: a sliding log in one database row.

The default cache is per process, so a throttle that counts there would allow its rate once for
each worker. Here a request is one upsert of one small row in an unlogged table. It is exact for
any number of workers and hosts, writes no WAL, and never admits more than `limit` in a period.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import connection
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from stagenorm.env import parse_rate

# rest_framework.views imports the default throttle, which is this module.
if TYPE_CHECKING:
    from rest_framework.views import APIView

# The database's clock is the same for all workers. Two requests that wait for the row lock may run
# out of order, so the log is sorted. Refused requests are not logged: retrying does not prolong
# the wait.
ADMIT_SQL = """
INSERT INTO portfolio_requestlog AS log (scope, client, admitted, refused)
VALUES (%(scope)s, %(client)s, ARRAY[statement_timestamp()], false)
ON CONFLICT (scope, client) DO UPDATE SET (admitted, refused) = (
    SELECT CASE WHEN count(at) < %(limit)s
                THEN array_append(array_agg(at ORDER BY at), statement_timestamp())
                ELSE array_agg(at ORDER BY at) END,
           count(at) >= %(limit)s
    FROM unnest(log.admitted) AS at
    WHERE at > statement_timestamp() - make_interval(secs => %(period)s))
RETURNING refused,
          extract(epoch FROM admitted[cardinality(admitted) - %(limit)s + 1]
                             - statement_timestamp())::float8
"""


def admit(scope: str, client: str, limit: int, period: int) -> int:
    """Count one request of `client`.

    Returns 0 if it is admitted, else the whole seconds until the next one will be.
    """
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


RATES: Final = {
    "monte-carlo-simulate": "SIMULATE_THROTTLE",
    "stages-normalize": "NORMALIZE_THROTTLE",
}
"""Scope of a view → the setting with its rate."""


class ScopedThrottle(BaseThrottle):
    """Applies the rate of a view's `throttle_scope` to each client; an empty rate is unlimited.

    A view without a scope is not limited.
    """

    def __init__(self) -> None:
        self.seconds = 0

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Return whether this request is admitted; otherwise it gets 429."""
        scope = getattr(view, "throttle_scope", None)
        if scope is None:
            return True
        rate: str = getattr(settings, RATES[scope])
        if rate:
            self.seconds = admit(scope, str(request.user), *parse_rate(rate))
        return self.seconds == 0

    def wait(self) -> float:
        """Return the seconds until the next request is admitted, for `Retry-After`."""
        return self.seconds
