"""The stages and the scenarios of a stored simulation as bars, as positions for SVG.

Positions are percentages of the width of the chart. `simulation_charts` has the distribution and
the path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stagenorm.portfolio.market_profiles import BAND_NAMES
from stagenorm.portfolio.simulation_axes import (
    NO_BREAK,
    AxisTick,
    ChartTable,
    axis_ticks,
    break_even_of,
    percent,
    share_of,
    signed,
    times,
)

SCENARIO_HEADINGS: Final = (
    *("scenario", "basis", "TVPI p10", "TVPI p50", "TVPI p90", "TVPI mean"),
    *("median IRR", "lose money"),
)


@dataclass(frozen=True, slots=True)
class StageBar:
    """What a stage puts in and brings back. `weight` and `value` are percentages for bars."""

    stage: str
    weight: float
    value: float
    sentence: str


@dataclass(frozen=True, slots=True)
class StagesChart:
    """All stages of the mix on an axis from 0 to 100 %."""

    bars: Sequence[StageBar]
    ticks: Sequence[AxisTick]
    table: ChartTable


def stages_chart(summary: Mapping[str, Any]) -> StagesChart:
    """Return what each stage of the mix puts in and brings back."""
    names = ("stage", "companies", "value", "TVPI", "DPI", "next round")
    table = ChartTable(
        summary="Show as a table, with outcomes",
        caption="Stages, gross",
        headings=(*names, *(name.replace("_", " ") for name in BAND_NAMES)),
        rows=[_stage_cells(row) for row in summary["by_stage"]],
    )
    ticks = [AxisTick(at, percent(at / 100.0, 0)) for at in (0.0, 25.0, 50.0, 75.0, 100.0)]
    return StagesChart([_stage_bar(row) for row in summary["by_stage"]], ticks, table)


def _stage_bar(row: Mapping[str, Any]) -> StageBar:
    weight, value = percent(row["weight"]), percent(row["share_of_value"])
    return StageBar(
        stage=row["stage"],
        weight=round(100.0 * row["weight"], 3),
        value=round(100.0 * (row["share_of_value"] or 0.0), 3),
        sentence=f"{weight} of the companies, {value} of the value, {times(row['tvpi'])} gross",
    )


def _stage_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["stage"],
        percent(row["weight"]),
        percent(row["share_of_value"]),
        times(row["tvpi"]),
        times(row["dpi"]),
        percent(row.get("graduated")),
        *(percent(row["outcomes"][name]) for name in BAND_NAMES),
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

    @property
    def width(self) -> float:
        """The width of the range from the 10th to the 90th percentile."""
        return round(self.high - self.low, 3)


@dataclass(frozen=True, slots=True)
class ScenariosChart:
    """The base and its scenarios on one axis."""

    bars: Sequence[ScenarioBar]
    ticks: Sequence[AxisTick]
    break_even: float | None
    table: ChartTable


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
    rows = [base, *scenarios]
    end = 1.05 * max(row["tvpi"]["p90"] for row in rows) or 1.0
    table = ChartTable(
        summary="Show as a table",
        caption="The base and its scenarios",
        headings=SCENARIO_HEADINGS,
        rows=[_scenario_cells(row) for row in rows],
    )
    bars = [_scenario_bar(row, end) for row in rows]
    return ScenariosChart(bars, axis_ticks(end, "×"), break_even_of(end), table)


def _scenario_bar(row: Mapping[str, Any], end: float) -> ScenarioBar:
    tvpi = row["tvpi"]
    return ScenarioBar(
        label=row["label"],
        basis=row["basis"],
        low=share_of(tvpi["p10"], end),
        median=share_of(tvpi["p50"], end),
        high=share_of(tvpi["p90"], end),
        sentence=f"median {times(tvpi['p50'])}, {percent(row['loss'])} lose money",
        against=_against(row),
    )


def _against(row: Mapping[str, Any]) -> str:
    """Return the differences from the base as a sentence; empty for the base."""
    difference = row["against_base"]
    if difference is None:
        return ""
    base = "gross base" if row["basis"] == "gross" else "base"
    median, mean = (signed(difference[name]) for name in ("tvpi_p50", "tvpi_mean"))
    error = difference["tvpi_std_error"] or 0.0
    points = signed(100.0 * difference["loss"], 1)
    return (
        f"Against the {base}: median {median}{NO_BREAK}×, mean {mean}{NO_BREAK}×"
        f" (standard error {error:.3f}), losses {points} points"
    )


def _scenario_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["label"],
        row["basis"],
        *(times(row["tvpi"][key]) for key in ("p10", "p50", "p90", "mean")),
        percent(row["irr_p50"]),
        percent(row["loss"]),
    )
