"""What the rollout page and the start page show of the rollout in force, in words and figures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.utils.timesince import timesince

from normalization.models import RolloutChange
from normalization.rollout import Mode, Rollout
from normalization.rollout_store import Snapshot
from ops.pages.panels import GatePanel, StatusFact
from ops.pages.periods import Period
from ops.pages.rollout.changes import percent_text

CLIENTS_LISTED: Final = 1_000

OUTCOMES_BY_STEP: Final = """
SELECT date_bin(%(seconds)s * interval '1 second', minute, %(begin)s), outcome,
       sum(requests)::bigint
FROM normalization_outcometally
WHERE minute >= %(begin)s AND minute < %(end)s
GROUP BY 1, 2
"""

CLIENTS_SINCE: Final = """
SELECT DISTINCT client FROM normalization_outcometally
WHERE minute >= %s ORDER BY client LIMIT %s
"""


def outcomes_by_step(period: Period, now: datetime) -> dict[tuple[datetime, str], int]:
    """Return the requests of each step of `period` by outcome. Steps without any are absent."""
    begin = period.begin(now)
    values: dict[str, Any] = {
        "seconds": period.step.total_seconds(),
        "begin": begin,
        "end": begin + period.step * period.columns,
    }
    with connection.cursor() as cursor:
        cursor.execute(OUTCOMES_BY_STEP, values)
        return {(start, outcome): requests for start, outcome, requests in cursor.fetchall()}


def clients_since(age: timedelta, now: datetime) -> list[str]:
    """Return the names of the clients that sent stages within `age`, CLIENTS_LISTED at most."""
    with connection.cursor() as cursor:
        cursor.execute(CLIENTS_SINCE, [now - age, CLIENTS_LISTED])
        return [client for (client,) in cursor.fetchall()]


def meaning(rollout: Rollout) -> str:
    """Return what a rollout does, in a sentence."""
    if rollout.mode is Mode.OFF:
        return "Stages are observed and counted. Clients see nothing."
    if rollout.mode is Mode.WARN:
        return "Clients are warned about unknown stages. Nothing is refused."
    if rollout.enforce_percent == 100:
        return "Refusing unknown stages for every client."
    return f"Refusing unknown stages for {percent_text(rollout.enforce_percent)} % of the clients."


def status_facts(
    snapshot: Snapshot, history: list[RolloutChange], gates: GatePanel | None, now: datetime
) -> Iterator[StatusFact]:
    """Yield what is in force: share, version, announced date, way back, last change, names."""
    rollout = snapshot.rollout
    if rollout.mode is Mode.ENFORCE:
        yield StatusFact("Share enforced", f"{percent_text(rollout.enforce_percent)} %")
    yield StatusFact("Version", str(snapshot.version))
    announced = moment_text(rollout.enforce_at) if rollout.enforce_at else ""
    yield StatusFact("Enforce date announced", announced, "" if announced else "none")
    yield _way_back_fact(gates)
    yield from _last_change(history, now)
    wire = rollout.to_wire()
    if rollout.pilots:
        yield StatusFact("Pilots", ", ".join(wire["pilots"]), css="wide")
    if rollout.holdouts:
        yield StatusFact("Holdouts", ", ".join(wire["holdouts"]), css="wide")
    if rollout.overrides:
        caps = ", ".join(f"{name} → {mode}" for name, mode in wire["overrides"].items())
        yield StatusFact("Caps", caps, css="wide")


def _way_back_fact(gates: GatePanel | None) -> StatusFact:
    term = "Automatic way back"
    if gates is None:
        return StatusFact(term, "", "not known: this part is slow right now")
    way_back = gates.way_back
    return StatusFact(
        term, way_back.word, way_back.verdict.sentence, badge=way_back.verdict.outcome.value
    )


def _last_change(history: list[RolloutChange], now: datetime) -> Iterator[StatusFact]:
    if not history:
        yield StatusFact("Since", "Never changed: the default is in force.", css="wide")
        return
    last = history[0]
    ago = f"{timesince(last.created_at, now)} ago"
    yield StatusFact("Since", moment_text(last.created_at), ago)
    yield StatusFact("By", f"{last.actor} ({last.source})")
    yield StatusFact("Reason", last.reason, css="wide reason")


def moment_text(at: datetime) -> str:
    """Return a time as the console writes it: 26 Nov 2026 14:31 UTC."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%b %Y %H:%M} UTC"
