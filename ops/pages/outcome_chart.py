"""Where the chart of outcomes draws what: stacked columns over time, in the units of its view box.

Pure: takes counts, returns places. The template draws them; the table below the chart shows the same counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor, log10
from typing import Final

from normalization.outcomes import OUTCOMES

WIDTH: Final = 720.0
HEIGHT: Final = 260.0
LEFT, RIGHT, TOP, BOTTOM = (
    72.0,
    24.0,
    22.0,
    34.0,
)  # room for the labels, also at the larger type of a small screen
PLOT_WIDTH: Final = WIDTH - LEFT - RIGHT
PLOT_HEIGHT: Final = HEIGHT - TOP - BOTTOM
BASE: Final = HEIGHT - BOTTOM
LEAST_HEIGHT: Final = 2.0  # one rejected request beside thousands of good ones has to be seen
FILLED: Final = 0.8  # of a column's room, the rest is the gap to the next
LINES: Final = 4  # horizontal ones, about
STRIPE: Final = 100.0  # the width of a stripe
LEAST_PART: Final = 3.0

Counts = Mapping[tuple[datetime, str], int]
"""(begin of a step, outcome) → requests."""


@dataclass(frozen=True, slots=True)
class Window:
    """How far back the chart looks and how finely. `name` is the value in the page's address.

    `each` is a column's time in words; `told` and `ticked` are the forms of its begin beside it and on the axis.
    """

    name: str
    label: str
    step: timedelta
    columns: int
    labelled: timedelta
    each: str
    told: str = "%H:%M"
    ticked: str = "%H:%M"

    def starts(self, now: datetime) -> list[datetime]:
        """Return the begin of each column, oldest first; the last one is the step that `now` lies in."""
        newest = _floor(now, self.step)
        return [newest - self.step * back for back in reversed(range(self.columns))]


WINDOWS: Final[Mapping[str, Window]] = {
    window.name: window
    for window in (
        Window(
            "60m", "last 60 minutes", timedelta(minutes=1), 60, timedelta(minutes=10), "a minute"
        ),
        Window("24h", "last 24 hours", timedelta(hours=1), 24, timedelta(hours=4), "an hour"),
    )
}
WEEK: Final = Window(
    "7d",
    "last 7 days",
    timedelta(hours=3),
    56,
    timedelta(days=1),
    "three hours",
    told="%m-%d %H:%M",
    ticked="%m-%d",
)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the rollout that the chart marks: when, and what a reader is told."""

    at: datetime
    sentence: str


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a column that one outcome has."""

    outcome: str
    requests: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """One step of time: its segments from the base upwards, and `room`, the whole width that is its own."""

    starts_at: datetime
    label: str
    x: float
    room_x: float
    segments: tuple[Segment, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Requests in this step."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis, at `at` units along it."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one outcome has of a stripe."""

    outcome: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Share:
    """One line of the legend."""

    outcome: str
    requests: int
    percent: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    window: Window
    columns: tuple[Column, ...]
    times: tuple[Tick, ...]
    heights: tuple[Tick, ...]
    marks: tuple[Tick, ...]
    legend: tuple[Share, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    base: float = BASE
    plot_height: float = PLOT_HEIGHT
    room: float = 0.0
    bar: float = 0.0

    @property
    def total(self) -> int:
        """Requests in the whole window."""
        return sum(column.total for column in self.columns)


def draw(window: Window, now: datetime, counts: Counts, changes: Iterable[Change] = ()) -> Chart:
    """Return the chart of `counts`; those before the window's begin are left out."""
    starts = window.starts(now)
    room = PLOT_WIDTH / window.columns
    rows = [tuple(counts.get((start, outcome), 0) for outcome in OUTCOMES) for start in starts]
    heights = scale(max(map(sum, rows)))
    columns = [
        _column(start, f"{start:{window.told}}", LEFT + room * place, room, row, heights[-1])
        for place, (start, row) in enumerate(zip(starts, rows, strict=True))
    ]
    times = [
        Tick(round(column.room_x + room / 2, 2), f"{column.starts_at:{window.ticked}}")
        for column in columns
        if _labelled(column.starts_at, window)
    ]
    return Chart(
        window=window,
        columns=tuple(columns),
        times=tuple(times),
        heights=tuple(
            Tick(round(BASE - PLOT_HEIGHT * value / heights[-1], 2), f"{value:,}")
            for value in heights
        ),
        marks=tuple(_marks(window, starts[0], changes)),
        legend=tuple(_legend(rows)),
        room=round(room, 2),
        bar=round(room * FILLED, 2),
    )


def stripe(counts: Mapping[str, int]) -> tuple[Part, ...]:
    """Return how outcomes share a stripe of STRIPE units: in proportion, but so that each that occurred is seen."""
    rooms = [(name, counts[name]) for name in OUTCOMES if counts.get(name)]
    every = sum(requests for _, requests in rooms)
    widths = [max(STRIPE * requests / every, LEAST_PART) for _, requests in rooms]
    parts, x = [], 0.0
    for (outcome, _), width in zip(rooms, widths, strict=True):
        taken = STRIPE * width / sum(widths)
        parts.append(Part(outcome, round(x, 2), round(taken, 2)))
        x += taken
    return tuple(parts)


def scale(most: int) -> list[int]:
    """Return round values from 0 up to the first that is at least `most`, for about four lines."""
    rough = max(most / LINES, 1.0)
    power = 10 ** floor(log10(rough))
    step = next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= rough)
    return list(range(0, step * max(ceil(most / step), 1) + 1, step))


def _column(
    start: datetime, label: str, x: float, room: float, counts: tuple[int, ...], most: int
) -> Column:
    segments, y = [], BASE
    for outcome, requests in zip(OUTCOMES, counts, strict=True):
        if requests:
            height = max(PLOT_HEIGHT * requests / most, LEAST_HEIGHT)
            y -= height
            segments.append(Segment(outcome, requests, round(y, 2), round(height, 2)))
    left = round(x + room * (1 - FILLED) / 2, 2)
    return Column(start, label, left, round(x, 2), tuple(segments), counts)


def _marks(window: Window, begin: datetime, changes: Iterable[Change]) -> Iterator[Tick]:
    for change in changes:
        along = (change.at - begin) / (window.step * window.columns)
        if 0 <= along <= 1:
            yield Tick(round(LEFT + PLOT_WIDTH * along, 2), change.sentence)


def _legend(rows: list[tuple[int, ...]]) -> Iterator[Share]:
    every = sum(map(sum, rows))
    for outcome, requests in zip(OUTCOMES, map(sum, zip(*rows, strict=True)), strict=True):
        yield Share(outcome, requests, 100 * requests / every if every else 0.0)


def _labelled(start: datetime, window: Window) -> bool:
    return start == _floor(start, window.labelled)


def _floor(moment: datetime, step: timedelta) -> datetime:
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + step * ((moment - midnight) // step)
