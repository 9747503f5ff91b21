"""Geometry of the chart of outcomes and of the stripe in the list of clients.

Pure: takes counts and returns positions in the units of the SVG's view box. The template
`outcome_chart.html` draws them, and the table below the chart shows the same counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, log10
from typing import Final

from normalization.models import RolloutChange
from normalization.outcomes import OUTCOMES
from ops.pages.periods import Period, floor_to

WIDTH: Final = 720.0
HEIGHT: Final = 260.0
# Room for the labels, also at the larger type of a small screen.
LEFT, RIGHT, TOP, BOTTOM = 72.0, 24.0, 22.0, 34.0
PLOT_WIDTH: Final = WIDTH - LEFT - RIGHT
PLOT_HEIGHT: Final = HEIGHT - TOP - BOTTOM
BASE: Final = HEIGHT - BOTTOM
LEAST_HEIGHT: Final = 3.0  # keeps one rejected request visible beside thousands of good ones
FILLED: Final = 0.8  # share of a column's room; the rest is the gap to the next column
LINES: Final = 4  # horizontal lines, about
STRIPE: Final = 100.0  # width of a stripe
LEAST_PART: Final = 3.0

StepCounts = Mapping[tuple[datetime, str], int]
"""(begin of a step, outcome) → requests."""


@dataclass(frozen=True, slots=True)
class ChartChange:
    """A change of the mode that the chart marks, and the text of its mark."""

    at: datetime
    sentence: str


@dataclass(frozen=True, slots=True)
class ChartSegment:
    """The part of a column that belongs to one outcome."""

    outcome: str
    requests: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class ChartColumn:
    """One step of time. Its segments are stacked from the base upwards.

    `x` is the left edge of the bar and `room_x` that of the room around it. `counts` has the
    requests of each outcome, in the order of OUTCOMES.
    """

    starts_at: datetime
    label: str
    x: float
    room_x: float
    segments: tuple[ChartSegment, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Requests in this step."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class ChartTick:
    """A label at position `at` of an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class LegendShare:
    """One line of the legend: an outcome's requests and its share of all."""

    outcome: str
    requests: int
    percent: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    period: Period
    columns: tuple[ChartColumn, ...]
    times: tuple[ChartTick, ...]
    heights: tuple[ChartTick, ...]
    marks: tuple[ChartTick, ...]
    legend: tuple[LegendShare, ...]
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
        """Requests in the whole period."""
        return sum(column.total for column in self.columns)

    @property
    def filled(self) -> list[ChartColumn]:
        """The columns that have requests."""
        return [column for column in self.columns if column.total]

    @property
    def description(self) -> str:
        """The figures of the legend in one line, for screen readers."""
        shares = ", ".join(f"{share.requests} {share.outcome}" for share in self.legend)
        return f"{self.total} requests: {shares}. The table below has every figure."


@dataclass(frozen=True, slots=True)
class StripePart:
    """The part of a stripe that belongs to one outcome."""

    outcome: str
    x: float
    width: float


def draw(
    period: Period, now: datetime, counts: StepCounts, changes: Iterable[ChartChange] = ()
) -> Chart:
    """Return the chart of `counts` within the period up to `now`. Other steps are left out."""
    starts = period.starts(now)
    room = PLOT_WIDTH / period.columns
    rows = [tuple(counts.get((start, outcome), 0) for outcome in OUTCOMES) for start in starts]
    values = scale(max(map(sum, rows)))
    columns = [
        _column(
            start, f"{start:{period.column_format}}", LEFT + room * place, room, row, values[-1]
        )
        for place, (start, row) in enumerate(zip(starts, rows, strict=True))
    ]
    return Chart(
        period=period,
        columns=tuple(columns),
        times=tuple(_times(columns, period, room)),
        heights=tuple(_heights(values)),
        marks=tuple(_marks(period, starts[0], changes)),
        legend=tuple(_legend(rows)),
        room=round(room, 2),
        bar=round(room * FILLED, 2),
    )


def changes_of_mode(history: Iterable[RolloutChange]) -> list[ChartChange]:
    """Return the changes of the rollout that changed its mode."""
    return [
        ChartChange(each.created_at, str(each))
        for each in history
        if each.mode != each.previous_mode
    ]


def stripe(counts: Mapping[str, int]) -> tuple[StripePart, ...]:
    """Return how outcomes share a stripe of STRIPE units.

    In proportion to their requests, but wide enough that each outcome that occurred is visible.
    """
    rooms = [(name, counts[name]) for name in OUTCOMES if counts.get(name)]
    every = sum(requests for _, requests in rooms)
    widths = [max(STRIPE * requests / every, LEAST_PART) for _, requests in rooms]
    parts = []
    x = 0.0
    for (outcome, _), width in zip(rooms, widths, strict=True):
        taken = STRIPE * width / sum(widths)
        parts.append(StripePart(outcome, round(x, 2), round(taken, 2)))
        x += taken
    return tuple(parts)


def scale(most: int) -> list[int]:
    """Return round values from 0 to the first that is at least `most`, for about LINES lines."""
    rough = max(most / LINES, 1.0)
    power = 10 ** floor(log10(rough))
    step = next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= rough)
    return list(range(0, step * max(ceil(most / step), 1) + 1, step))


def _column(
    start: datetime, label: str, x: float, room: float, counts: tuple[int, ...], most: int
) -> ChartColumn:
    segments = []
    y = BASE
    for outcome, requests in zip(OUTCOMES, counts, strict=True):
        if requests:
            height = max(PLOT_HEIGHT * requests / most, LEAST_HEIGHT)
            y -= height
            segments.append(ChartSegment(outcome, requests, round(y, 2), round(height, 2)))
    left = round(x + room * (1 - FILLED) / 2, 2)
    return ChartColumn(start, label, left, round(x, 2), tuple(segments), counts)


def _times(columns: list[ChartColumn], period: Period, room: float) -> Iterator[ChartTick]:
    for column in columns:
        if column.starts_at == floor_to(column.starts_at, period.tick_step):
            middle = round(column.room_x + room / 2, 2)
            yield ChartTick(middle, f"{column.starts_at:{period.tick_format}}")


def _heights(values: list[int]) -> Iterator[ChartTick]:
    for value in values:
        yield ChartTick(round(BASE - PLOT_HEIGHT * value / values[-1], 2), f"{value:,}")


def _marks(period: Period, begin: datetime, changes: Iterable[ChartChange]) -> Iterator[ChartTick]:
    for change in changes:
        along = (change.at - begin) / (period.step * period.columns)
        if 0 <= along <= 1:
            yield ChartTick(round(LEFT + PLOT_WIDTH * along, 2), change.sentence)


def _legend(rows: list[tuple[int, ...]]) -> Iterator[LegendShare]:
    every = sum(map(sum, rows))
    totals = map(sum, zip(*rows, strict=True))
    for outcome, requests in zip(OUTCOMES, totals, strict=True):
        yield LegendShare(outcome, requests, 100 * requests / every if every else 0.0)
