"""Charts of a stored simulation, as positions for SVG.

Everything here is computed from the stored summary. Horizontal positions are percentages, so that
a chart fills any width and its text keeps its size. Vertical positions are percentages of the
plot. Texts are ready to print.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

# The axis of the distribution ends where this share of the runs is shown.
SHOWN_SHARE: Final = 0.975
# Multiples at which the tone of the distribution changes.
MARKS: Final = (1.0, 3.0)
# At most about this many labels at an axis.
MOST_TICKS: Final = 6
_NICE_STEPS: Final = (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0, 100.0)
_NO_BREAK: Final = "\u00a0"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage; a dash for None."""
    if share is None:
        return "–"
    # Adding zero turns a negative zero into a positive one.
    number = round(100.0 * share, digits) + 0.0
    return f"{number:.{digits}f}{_NO_BREAK}%".replace("-", "\u2212")


def times(multiple: float | None) -> str:
    """Return a multiple; a dash for None."""
    return "–" if multiple is None else f"{multiple:.2f}{_NO_BREAK}×"


def signed(value: float | None, digits: int = 2) -> str:
    """Return a difference with its sign; a dash for None."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\u2212")


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A label at an axis; `at` in percent."""

    at: float
    label: str


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
    """A quartile of the distribution. `row` is the line of its label, from the top."""

    x: float
    row: int
    label: str

    @property
    def before(self) -> bool:
        """Whether the label ends at the mark, to stay inside the chart."""
        return self.x > 50.0


@dataclass(frozen=True, slots=True)
class DistributionChart:
    """Runs by TVPI. `rows` are the same as a table: from, to, funds, share."""

    bars: Sequence[HistogramBar]
    marks: Sequence[QuartileMark]
    ticks: Sequence[AxisTick]
    break_even: float
    legend: Sequence[tuple[str, str, str]]
    beyond: str
    description: str
    rows: Sequence[tuple[str, str, str, str]]


def distribution_chart(summary: Mapping[str, Any]) -> DistributionChart:
    """Return the chart of the distribution of TVPI, with quartiles and the share of losses."""
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    runs = sum(counts)
    shown = _bins_shown(counts, runs)
    end = edges[shown]
    # The last bin is wider than the others: no bar can show it to scale.
    tallest = max(counts[:shown]) or 1
    bars: list[HistogramBar] = []
    for (low, high), count in zip(pairwise(edges[: shown + 1]), counts, strict=False):
        label = f"{times(low)} to {times(high)}: {count:,} funds, {percent(count / runs)}"
        height = round(100.0 * count / tallest, 3)
        bars.extend(_bars(low, high, end, height, label))
    tvpi, chances = summary["tvpi"], summary["probabilities"]
    names = (("p25", "a quarter below", 2), ("p50", "median", 1), ("p75", "a quarter above", 0))
    marks = [
        QuartileMark(_share(tvpi[key], end), row, f"{name} {times(tvpi[key])}")
        for key, name, row in names
    ]
    middle = 1.0 - chances["loss"] - chances["tvpi_gte_3"]
    legend = [
        ("loss", "lose money", percent(chances["loss"])),
        ("gain", "return 1 × to 3 ×", percent(middle)),
        ("high", "return 3 × and more", percent(chances["tvpi_gte_3"])),
    ]
    return DistributionChart(
        bars=bars,
        marks=marks,
        ticks=_ticks(end, "×"),
        break_even=_share(1.0, end),
        legend=legend,
        beyond=_beyond(edges, counts, shown),
        description=(
            f"{percent(chances['loss'])} of {runs:,} funds return less than was paid in. The"
            f" median is {times(tvpi['p50'])}, the quartiles are {times(tvpi['p25'])} and"
            f" {times(tvpi['p75'])}."
        ),
        rows=[
            (times(low), times(high), f"{count:,}", percent(count / runs))
            for (low, high), count in zip(pairwise(edges), counts, strict=True)
        ],
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
        HistogramBar(_share(a, end), _share(b - a, end), height, _tone(b), label)
        for a, b in pairwise(cuts)
    ]


def _tone(high: float) -> str:
    break_even, success = MARKS
    if high <= break_even:
        return "loss"
    return "gain" if high <= success else "high"


def _beyond(edges: Sequence[float], counts: Sequence[int], shown: int) -> str:
    rest = sum(counts[shown:])
    if not rest:
        return ""
    return f"{percent(rest / sum(counts))} of the funds return more, up to {times(edges[-1])}."


def _share(value: float, whole: float) -> float:
    return round(min(100.0 * value / whole, 100.0), 3)


def _ticks(end: float, unit: str) -> list[AxisTick]:
    """Return labels from 0 up to below the end, at round numbers."""
    step = next((step for step in _NICE_STEPS if end / step <= MOST_TICKS), end)
    number = int(end / step * (1.0 - 1e-9)) + 1
    return [
        AxisTick(_share(n * step, end), f"{n * step:g}{_NO_BREAK}{unit}") for n in range(number)
    ]


@dataclass(frozen=True, slots=True)
class PathChart:
    """A fund year by year. Bands and lines are points of a plot of 100 × 100.

    `rows` are the same as a table: year, TVPI (p10, median, p90), DPI (p10, median, p90), paid in.
    """

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
    rows: Sequence[Sequence[str]]


def path_chart(summary: Mapping[str, Any]) -> PathChart | None:
    """Return the J-curve, or None for a simulation without a path."""
    path = summary.get("path")
    if path is None:
        return None
    years, tvpi, dpi = path["years"], path["tvpi"], path["dpi"]
    top = 1.08 * max(1.5, *(value or 0.0 for value in tvpi["p90"]))
    across = [100.0 * (year - 1) / max(len(years) - 1, 1) for year in years]
    step = -(-len(years) // 8)
    low_year, low = min(
        ((year, value) for year, value in zip(years, tvpi["p50"], strict=True) if value),
        key=lambda point: point[1],
    )
    return PathChart(
        tvpi_band=_band(across, tvpi, top),
        tvpi_line=_line(across, tvpi["p50"], top),
        dpi_band=_band(across, dpi, top),
        dpi_line=_line(across, dpi["p50"], top),
        heights=[AxisTick(round(100.0 - t.at, 3), t.label) for t in _ticks(top, "×")],
        years=[
            AxisTick(round(at, 3), str(year))
            for at, year in zip(across, years, strict=True)
            if (years[-1] - year) % step == 0
        ],
        break_even=_down(1.0, top),
        last_tvpi=times(tvpi["p50"][-1]),
        last_dpi=times(dpi["p50"][-1]),
        description=(
            f"The median TVPI is lowest in year {low_year}, at {times(low)}, and"
            f" {times(tvpi['p50'][-1])} in year {years[-1]}. By then the median fund has paid back"
            f" {times(dpi['p50'][-1])} of what was paid in."
        ),
        rows=_path_rows(path),
    )


def _path_rows(path: Mapping[str, Any]) -> list[list[str]]:
    columns = [path["tvpi"][key] for key in ("p10", "p50", "p90")]
    columns += [path["dpi"][key] for key in ("p10", "p50", "p90")]
    return [
        [
            str(year),
            *(times(column[place]) for column in columns),
            percent(path["contributions"]["p50"][place]),
        ]
        for place, year in enumerate(path["years"])
    ]


def _down(value: float, top: float) -> float:
    return round(100.0 - _share(value, top), 3)


def _line(across: Sequence[float], values: Sequence[float | None], top: float) -> str:
    points = list(zip(across, values, strict=True))
    if len(points) == 1:  # a line needs two points
        points.append((100.0, values[0]))
    return " ".join(f"{x:.3f},{_down(value, top)}" for x, value in points if value is not None)


def _band(across: Sequence[float], bands: Mapping[str, Sequence[Any]], top: float) -> str:
    there = _line(across, bands["p90"], top)
    back = _line(across, bands["p10"], top).split()
    return " ".join([there, *back[::-1]])


@dataclass(frozen=True, slots=True)
class StageBar:
    """What a stage puts in and brings back. `weight` and `value` are percentages for bars."""

    stage: str
    weight: float
    value: float
    sentence: str
    cells: Sequence[str]


def stage_bars(summary: Mapping[str, Any]) -> list[StageBar]:
    """Return a row for each stage of the mix."""
    return [_stage_bar(row) for row in summary["by_stage"]]


def _stage_bar(row: Mapping[str, Any]) -> StageBar:
    outcomes = row["outcomes"]
    weight, value = percent(row["weight"]), percent(row["share_of_value"])
    return StageBar(
        stage=row["stage"],
        weight=round(100.0 * row["weight"], 3),
        value=round(100.0 * (row["share_of_value"] or 0.0), 3),
        sentence=f"{weight} of the companies, {value} of the value, {times(row['tvpi'])} gross",
        cells=[
            weight,
            value,
            times(row["tvpi"]),
            times(row["dpi"]),
            percent(row.get("graduated")),
            *(percent(outcomes[name]) for name in outcomes),
        ],
    )


@dataclass(frozen=True, slots=True)
class ScenarioBar:
    """A scenario, or the base, beside the others. Positions are percentages of a common axis."""

    label: str
    basis: str
    low: float
    median: float
    high: float
    sentence: str
    against: str
    cells: Sequence[str]

    @property
    def width(self) -> float:
        """The width of the range from the 10th to the 90th percentile."""
        return round(self.high - self.low, 3)


@dataclass(frozen=True, slots=True)
class ScenariosChart:
    """The base and its scenarios on one axis."""

    bars: Sequence[ScenarioBar]
    ticks: Sequence[AxisTick]
    break_even: float


def scenarios_chart(summary: Mapping[str, Any]) -> ScenariosChart | None:
    """Return the base and its scenarios side by side, or None without scenarios."""
    scenarios = summary.get("scenarios")
    if not scenarios:
        return None
    base = {
        "label": "The base",
        "basis": "net",
        "tvpi": summary["tvpi"],
        "irr_p50": summary["irr"]["p50"],
        "loss": summary["probabilities"]["loss"],
        "against_base": None,
    }
    end = 1.05 * max(row["tvpi"]["p90"] for row in (base, *scenarios))
    bars = [_scenario_bar(row, end) for row in (base, *scenarios)]
    return ScenariosChart(bars, _ticks(end, "×"), _share(1.0, end))


def _scenario_bar(row: Mapping[str, Any], end: float) -> ScenarioBar:
    tvpi, difference = row["tvpi"], row["against_base"]
    against = ""
    if difference is not None:
        points = signed(100.0 * difference["loss"], 1)
        against = (
            f"Against the base: median {signed(difference['tvpi_p50'])}, mean"
            f" {signed(difference['tvpi_mean'])} (standard error"
            f" {difference['tvpi_std_error'] or 0.0:.3f}), losses {points} points"
        )
    return ScenarioBar(
        label=row["label"],
        basis=row["basis"],
        low=_share(tvpi["p10"], end),
        median=_share(tvpi["p50"], end),
        high=_share(tvpi["p90"], end),
        sentence=f"median {times(tvpi['p50'])}, {percent(row['loss'])} lose money",
        against=against,
        cells=[
            row["basis"],
            *(times(tvpi[key]) for key in ("p10", "p50", "p90", "mean")),
            percent(row["irr_p50"]),
            percent(row["loss"]),
        ],
    )
