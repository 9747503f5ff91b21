"""Numbers as text, and the axes and tables that the charts of a simulation share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NO_BREAK: Final = "\u00a0"
# At most this many steps between the labels of an axis.
MOST_STEPS: Final = 6
# Steps between labels are these numbers times a power of ten.
_ROUND_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_MINUS: Final = "\u2212"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage; a dash for None."""
    if share is None:
        return "–"
    # Adding zero turns a negative zero into a positive one.
    number = round(100.0 * share, digits) + 0.0
    return f"{number:.{digits}f}{NO_BREAK}%".replace("-", _MINUS)


def times(multiple: float | None) -> str:
    """Return a multiple; a dash for None."""
    return "–" if multiple is None else f"{multiple:.2f}{NO_BREAK}×"


def signed(value: float | None, digits: int = 2) -> str:
    """Return a difference with its sign, none for zero; a dash for None."""
    if value is None:
        return "–"
    number = round(value, digits)
    return f"{number:+.{digits}f}".replace("-", _MINUS) if number else f"{0.0:.{digits}f}"


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A label at an axis; `at` in percent."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class ChartTable:
    """The numbers of a chart as a table. The first cell of a row is its header."""

    summary: str
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def share_of(value: float, whole: float) -> float:
    """Return a position in percent, at most 100."""
    return round(min(100.0 * value / whole, 100.0), 3)


def axis_ticks(end: float, unit: str, most: int = MOST_STEPS) -> list[AxisTick]:
    """Return labels from 0 up to below the end, at round numbers."""
    magnitude = 10.0 ** math.floor(math.log10(end / most))
    step = next(n * magnitude for n in _ROUND_STEPS if end <= most * n * magnitude * (1 + 1e-9))
    number = int(end / step * (1.0 - 1e-9)) + 1
    return [
        AxisTick(share_of(n * step, end), f"{n * step:g}{NO_BREAK}{unit}") for n in range(number)
    ]


def upwards(ticks: Sequence[AxisTick]) -> list[AxisTick]:
    """Return the labels for an axis that points upwards."""
    return [AxisTick(round(100.0 - tick.at, 3), tick.label) for tick in ticks]


def break_even_of(end: float) -> float | None:
    """Return the position of a multiple of 1; None if the axis ends before it."""
    return share_of(1.0, end) if end >= 1.0 else None
