"""What the per-minute tallies say: requests by outcome for the chart, and who sent any lately."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from normalization.models import RolloutChange
from ops.pages.outcome_chart import Change, Window

CLIENTS_LISTED: Final = 1_000

OUTCOMES_BY_STEP: Final = """
SELECT date_bin(%(seconds)s * interval '1 second', minute, %(begin)s), outcome, sum(requests)::bigint
FROM normalization_outcometally
WHERE minute >= %(begin)s AND minute < %(end)s
GROUP BY 1, 2
"""

CLIENTS_SINCE: Final = """
SELECT DISTINCT client FROM normalization_outcometally WHERE minute >= %s ORDER BY client LIMIT %s
"""


def by_step(window: Window, now: datetime) -> dict[tuple[datetime, str], int]:
    """Return the requests of each step of `window` by outcome; steps without any are absent."""
    begin = window.starts(now)[0]
    with connection.cursor() as cursor:
        end, seconds = begin + window.step * window.columns, window.step.total_seconds()
        cursor.execute(OUTCOMES_BY_STEP, {"seconds": seconds, "begin": begin, "end": end})
        return {(start, outcome): requests for start, outcome, requests in cursor.fetchall()}


def clients_of_the_last(period: timedelta, now: datetime) -> list[str]:
    """Return the clients that sent stages within `period`, by name, at most CLIENTS_LISTED."""
    with connection.cursor() as cursor:
        cursor.execute(CLIENTS_SINCE, [now - period, CLIENTS_LISTED])
        return [client for (client,) in cursor.fetchall()]


def changes_of_mode(history: Iterable[RolloutChange]) -> list[Change]:
    """Return what the chart marks of the rollout's history."""
    return [
        Change(each.created_at, str(each)) for each in history if each.mode != each.previous_mode
    ]
