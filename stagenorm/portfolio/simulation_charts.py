"""The distribution and the path of a stored simulation, as positions for SVG.

Everything here is computed from the stored summary. Horizontal positions are percentages, so that
a chart fills any width and its text keeps its size. Vertical positions are percentages of the
plot. Texts are ready to print. `simulation_bars` has the charts of stages and scenarios.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from stagenorm.portfolio.simulation_axes import (
    NO_BREAK,
    AxisTick,
    ChartTable,
    axis_ticks,
    break_even_of,
    percent,
    share_of,
    times,
    upwards,
)

# The axis of the distribution ends where this share of the runs is shown.
SHOWN_SHARE: Final = 0.975
# Multiples at which the tone of the distribution changes.
MARKS: Final = (1.0, 3.0)
# Where the labels of the quartiles are, in pixels from the top of the chart.
FIRST_LABEL: Final = 30
LABEL_HEIGHT: Final = 21
# At most this many steps between the labels of these axes.
MOST_STEPS_OF_SHARES: Final = 4
MOST_YEARS: Final = 8


@dataclass(frozen=True, slots=True)
class HistogramBar:
    """A bar of the distribution; a bar that crosses one of MARKS is drawn as two.

    `tone` is loss, gain or high.
    """

    x: float
    width: float
    height: float
    tone: str
    label: str

    @property
    def y(self) -> float:
        """The upper edge, in percent from the top."""
        return round(100.0 - self.height, 3)


@dataclass(frozen=True, slots=True)
class QuartileMark:
    """A quartile of the distribution; `main` is the median.

    `y` is the top of its line and the place of its label, in pixels. The label lies to the right
    of the line or, with `before`, to the left.
    """

    x: float
    y: int
    before: bool
    main: bool
    label: str


@dataclass(frozen=True, slots=True)
class DistributionChart:
    """Runs by TVPI.

    `ticks` are at the axis of TVPI, `heights` at that of the share of the funds in a bar. Bars of
    no height are not drawn.
    """

    bars: Sequence[HistogramBar]
    marks: Sequence[QuartileMark]
    ticks: Sequence[AxisTick]
    heights: Sequence[AxisTick]
    break_even: float | None
    legend: Sequence[tuple[str, str, str]]
    beyond: str
    description: str
    table: ChartTable


def distribution_chart(summary: Mapping[str, Any], basis: str) -> DistributionChart:
    """Return the chart of the distribution of TVPI, with quartiles and the share of losses.

    `basis` is net or gross.
    """
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    runs = sum(counts)
    shown = _bins_shown(counts, runs)
    end = edges[shown] or 1.0
    # The last bin is wider than the others: no bar can show it to scale.
    tallest = max(counts[:shown]) or 1
    bars: list[HistogramBar] = []
    for (low, high), count in zip(pairwise(edges[: shown + 1]), counts, strict=False):
        label = f"{times(low)} to {times(high)}: {count:,} funds, {percent(count / runs)}"
        height = round(100.0 * count / tallest, 3)
        bars.extend(_bars(low, high, end, height, label))
    return DistributionChart(
        bars=bars,
        marks=_quartiles(summary["tvpi"], end),
        ticks=axis_ticks(end, "×"),
        heights=upwards(axis_ticks(100.0 * tallest / runs, "%", MOST_STEPS_OF_SHARES)),
        break_even=break_even_of(end),
        legend=_legend(summary["probabilities"]),
        beyond=_beyond(edges, counts, shown),
        description=_distribution_description(summary, basis),
        table=ChartTable(
            summary="Show as a table",
            caption=f"Funds by {basis} TVPI",
            headings=("from", "below", "funds", "share"),
            rows=[
                (times(low), times(high), f"{count:,}", percent(count / runs))
                for (low, high), count in zip(pairwise(edges), counts, strict=True)
            ],
        ),
    )


def _legend(chances: Mapping[str, float]) -> list[tuple[str, str, str]]:
    middle = 1.0 - chances["loss"] - chances["tvpi_gte_3"]
    return [
        ("loss", "lose money", percent(chances["loss"])),
        ("gain", "return 1 × to 3 ×", percent(middle)),
        ("high", "return 3 × and more", percent(chances["tvpi_gte_3"])),
    ]


def _distribution_description(summary: Mapping[str, Any], basis: str) -> str:
    tvpi, runs = summary["tvpi"], sum(summary["histogram"]["counts"])
    cost = "paid in" if basis == "net" else "invested"
    return (
        f"{percent(summary['probabilities']['loss'])} of {runs:,} funds return less than was"
        f" {cost}. The median is {times(tvpi['p50'])}, the quartiles are {times(tvpi['p25'])} and"
        f" {times(tvpi['p75'])}."
    )


def _bins_shown(counts: Sequence[int], runs: int) -> int:
    """Return how many of the equal bins are drawn."""
    seen = 0
    for number, count in enumerate(counts[:-1], start=1):
        seen += count
        if seen >= SHOWN_SHARE * runs:
            return number
    return len(counts) - 1


def _bars(low: float, high: float, end: float, height: float, label: str) -> list[HistogramBar]:
    cuts = [low, *(mark for mark in MARKS if low < mark < high), high]
    return [
        HistogramBar(share_of(a, end), share_of(b - a, end), height, _tone(b), label)
        for a, b in pairwise(cuts)
    ]


def _tone(high: float) -> str:
    break_even, success = MARKS
    if high <= break_even:
        return "loss"
    return "gain" if high <= success else "high"


def _quartiles(tvpi: Mapping[str, float], end: float) -> list[QuartileMark]:
    """Return the marks from the top row down.

    Each line begins at its own label. The order of the rows keeps lines out of the labels of other
    marks, as far as possible.
    """
    names = {"p25": "25 % below", "p50": "median", "p75": "25 % above"}
    found = [(share_of(tvpi[key], end), key) for key in names]
    right = [(x, key) for x, key in found if x <= 50.0]
    left = [(x, key) for x, key in found if x > 50.0]
    return [
        QuartileMark(
            x=x,
            y=FIRST_LABEL + row * LABEL_HEIGHT,
            before=x > 50.0,
            main=key == "p50",
            label=f"{names[key]} {times(tvpi[key])}".replace(" ", NO_BREAK),
        )
        for row, (x, key) in enumerate([*right, *reversed(left)])
    ]


def _beyond(edges: Sequence[float], counts: Sequence[int], shown: int) -> str:
    rest = sum(counts[shown:])
    if not rest:
        return ""
    return f"{percent(rest / sum(counts))} of the funds return more, up to {times(edges[-1])}."


@dataclass(frozen=True, slots=True)
class PathChart:
    """A fund year by year. Bands and lines are points of a plot of 100 × 100."""

    tvpi_band: str
    tvpi_line: str
    dpi_band: str
    dpi_line: str
    heights: Sequence[AxisTick]
    years: Sequence[AxisTick]
    break_even: float
    last_tvpi: str
    last_dpi: str
    description: str
    table: ChartTable


def path_chart(summary: Mapping[str, Any]) -> PathChart | None:
    """Return the J-curve, or None for a simulation without a path."""
    path = summary.get("path")
    if path is None:
        return None
    years, tvpi, dpi = path["years"], path["tvpi"], path["dpi"]
    top = 1.08 * max(1.5, *(value or 0.0 for value in tvpi["p90"]))
    across = [100.0 * (year - 1) / max(len(years) - 1, 1) for year in years]
    step = -(-len(years) // MOST_YEARS)
    return PathChart(
        tvpi_band=_band(across, tvpi, top),
        tvpi_line=_line(across, tvpi["p50"], top),
        dpi_band=_band(across, dpi, top),
        dpi_line=_line(across, dpi["p50"], top),
        heights=upwards(axis_ticks(top, "×")),
        years=[
            AxisTick(round(at, 3), str(year))
            for at, year in zip(across, years, strict=True)
            if (years[-1] - year) % step == 0
        ],
        break_even=_down(1.0, top),
        last_tvpi=times(tvpi["p50"][-1]),
        last_dpi=times(dpi["p50"][-1]),
        description=_path_description(path),
        table=_path_table(path),
    )


def _path_description(path: Mapping[str, Any]) -> str:
    medians = {
        year: value
        for year, value in zip(path["years"], path["tvpi"]["p50"], strict=True)
        if value is not None
    }
    last = path["years"][-1]
    lowest = min(medians, key=lambda year: medians[year])
    turn = f"is lowest in year {lowest}, at {times(medians[lowest])}, and "
    if lowest == last:
        turn = "falls to " if len(medians) > 1 else "is "
    return (
        f"The median TVPI {turn}{times(medians[last])} in year {last}. By then the median fund has"
        f" paid back {times(path['dpi']['p50'][-1])} of what was paid in."
    )


def _path_table(path: Mapping[str, Any]) -> ChartTable:
    names = [(part, key) for part in ("tvpi", "dpi") for key in ("p10", "p50", "p90")]
    columns = [path[part][key] for part, key in names]
    paid_in = path["contributions"]["p50"]
    return ChartTable(
        summary="Show as a table",
        caption="Net multiples and the share of the commitment that is paid in, by year",
        headings=("year", *(f"{part.upper()} {key}" for part, key in names), "paid in"),
        rows=[
            (str(year), *(times(column[place]) for column in columns), percent(paid_in[place]))
            for place, year in enumerate(path["years"])
        ],
    )


def _down(value: float, top: float) -> float:
    return round(100.0 - share_of(value, top), 3)


def _line(across: Sequence[float], values: Sequence[float | None], top: float) -> str:
    points = list(zip(across, values, strict=True))
    if len(points) == 1:  # a line needs two points
        points.append((100.0, values[0]))
    return " ".join(f"{x:.3f},{_down(value, top)}" for x, value in points if value is not None)


def _band(across: Sequence[float], bands: Mapping[str, Sequence[Any]], top: float) -> str:
    there = _line(across, bands["p90"], top)
    back = _line(across, bands["p10"], top).split()
    return " ".join([there, *back[::-1]])
