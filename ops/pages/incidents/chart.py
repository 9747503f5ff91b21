"""The chart of an incident: accepted and refused requests of each minute around the way back.

`minutes_of` reads the tallies, `draw` is pure and returns positions in the units of the SVG's view
box. The table of clients has the figures; the chart has a sentence for screen readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connection

from ops.pages.charts import ChartTick, scale
from ops.pages.incidents.record import Incident

WIDTH: Final = 1000.0
LEFT, RIGHT, TOP, BASE = 56.0, 10.0, 60.0, 200.0
PLOT_WIDTH: Final = WIDTH - LEFT - RIGHT
PLOT_HEIGHT: Final = BASE - TOP
FILLED: Final = 0.8
LEAST_HEIGHT: Final = 2.0
MINUTE: Final = timedelta(minutes=1)
BEFORE, AFTER = 20, 10
"""Minutes of the chart before and after the way back."""
TICK_EVERY: Final = 5
MARK_GAP, MARK_TOP, MARK_ROW = 6.0, 10.0, 18.0
"""Of a mark's text: the gap to its line, the first row, the height of a row."""

BY_MINUTE: Final = """
SELECT minute,
       coalesce(sum(requests) FILTER (WHERE mode = 'enforce' AND outcome = 'rejected'), 0)::bigint,
       sum(requests)::bigint
FROM normalization_outcometally
WHERE minute >= %(begin)s AND minute < %(end)s
  AND (%(client)s = '' OR client = %(client)s) AND (%(endpoint)s = '' OR endpoint = %(endpoint)s)
GROUP BY minute
"""

MinuteCounts = Mapping[datetime, tuple[int, int]]
"""Minute → refused requests, all requests."""


@dataclass(frozen=True, slots=True)
class IncidentBar:
    """The requests of a minute: the refused at the base, the accepted above them."""

    x: float
    accepted: int
    accepted_y: float
    accepted_height: float
    refused: int
    refused_y: float
    refused_height: float


@dataclass(frozen=True, slots=True)
class IncidentMark:
    """A vertical line at a moment, with its text on the side that has room."""

    x: float
    text_x: float
    text_y: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class IncidentChart:
    """Everything that the template draws."""

    bars: Sequence[IncidentBar]
    times: Sequence[ChartTick]
    heights: Sequence[ChartTick]
    marks: Sequence[IncidentMark]
    sentence: str
    subject: str
    bar: float
    width: float = WIDTH
    height: float = BASE + 30
    left: float = LEFT
    label_x: float = LEFT - 8
    right: float = WIDTH - RIGHT
    base: float = BASE
    top: float = TOP
    label_y: float = BASE + 22


def minutes_of(found: Incident) -> MinuteCounts:
    """Return the counts around the way back, for its client or endpoint. Raises
    `django.db.Error`.
    """
    begin = _begin(found)
    values: dict[str, Any] = {
        "begin": begin,
        "end": begin + MINUTE * (BEFORE + AFTER),
        "client": found.clients[0] if found.clients else "",
        "endpoint": found.endpoint,
    }
    with connection.cursor() as cursor:
        cursor.execute(BY_MINUTE, values)
        return {minute: (refused, every) for minute, refused, every in cursor.fetchall()}


def draw(found: Incident, counts: MinuteCounts) -> IncidentChart | None:
    """Return the chart, None if there are no requests in it."""
    if not counts:
        return None
    begin = _begin(found)
    minutes = [begin + MINUTE * place for place in range(BEFORE + AFTER)]
    values = scale(max(every for _, every in counts.values()))
    room = PLOT_WIDTH / len(minutes)
    rows = [counts.get(minute, (0, 0)) for minute in minutes]
    return IncidentChart(
        bars=[_bar(LEFT + room * at, room, *row, values[-1]) for at, row in enumerate(rows)],
        times=[
            ChartTick(round(LEFT + room * at, 2), f"{minute.astimezone(UTC):%H:%M}")
            for at, minute in enumerate(minutes)
            if at % TICK_EVERY == 0
        ],
        heights=[
            ChartTick(round(BASE - PLOT_HEIGHT * value / values[-1], 2), f"{value:,}")
            for value in values
        ],
        marks=list(_marks(found, begin)),
        sentence=_sentence(minutes, rows),
        subject=found.clients[0] if found.clients else found.endpoint,
        bar=round(room * FILLED, 2),
    )


def _begin(found: Incident) -> datetime:
    return found.at.replace(second=0, microsecond=0) - MINUTE * BEFORE


def _bar(x: float, room: float, refused: int, every: int, most: int) -> IncidentBar:
    of_refused = _height(refused, most)
    of_accepted = _height(every - refused, most)
    return IncidentBar(
        x=round(x + room * (1 - FILLED) / 2, 2),
        accepted=every - refused,
        accepted_y=round(BASE - of_refused - of_accepted, 2),
        accepted_height=of_accepted,
        refused=refused,
        refused_y=round(BASE - of_refused, 2),
        refused_height=of_refused,
    )


def _height(requests: int, most: int) -> float:
    if not requests:
        return 0.0
    return round(max(PLOT_HEIGHT * requests / most, LEAST_HEIGHT), 2)


def _marks(found: Incident, begin: datetime) -> Iterator[IncidentMark]:
    moments = [(found.at, "way back")]
    if found.enforced is not None:
        moments.append((found.enforced.created_at, "enforced"))
    if found.again is not None:
        moments.append((found.again.created_at, "enforced again"))
    for row, (at, word) in enumerate(sorted(moments)):
        along = (at - begin) / (MINUTE * (BEFORE + AFTER))
        if not 0 <= along <= 1:
            continue
        x = round(LEFT + PLOT_WIDTH * along, 2)
        on_left = along > 0.5
        text_x = x - MARK_GAP if on_left else x + MARK_GAP
        anchor = "end" if on_left else "start"
        text = f"{at.astimezone(UTC):%H:%M:%S} {word}"
        yield IncidentMark(x, text_x, MARK_TOP + MARK_ROW * row, anchor, text)


def _sentence(minutes: Sequence[datetime], rows: Sequence[tuple[int, int]]) -> str:
    refused = [minute for minute, row in zip(minutes, rows, strict=True) if row[0]]
    times = [f"{each.astimezone(UTC):%H:%M}" for each in (minutes[0], minutes[-1])]
    begin = f"Requests of each minute from {times[0]} to {times[1]}."
    if not refused:
        return f"{begin} None was refused."
    first, last = (f"{each.astimezone(UTC):%H:%M}" for each in (refused[0], refused[-1]))
    total = sum(row[0] for row in rows)
    return f"{begin} {total:,} were refused, from {first} to {last}."
