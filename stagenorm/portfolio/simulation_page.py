"""The page of a stored simulation: its sentences, figures and charts, ready for the template.

`simulation_charts` and `simulation_bars` place the charts. Simulations of both generations of
profiles have the same page, without the parts that a summary lacks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stagenorm.portfolio.models import Simulation
from stagenorm.portfolio.simulation_axes import percent, times
from stagenorm.portfolio.simulation_bars import (
    ScenariosChart,
    StagesChart,
    scenarios_chart,
    stages_chart,
)
from stagenorm.portfolio.simulation_charts import (
    DistributionChart,
    PathChart,
    distribution_chart,
    path_chart,
)

# What a summary needs for the page; older or foreign summaries are shown as they are stored.
NEEDED: Final = frozenset(
    ("tvpi", "dpi", "irr", "probabilities", "histogram", "by_stage", "parameters")
)


@dataclass(frozen=True, slots=True)
class FigureTile:
    """One figure of the first row, with a note."""

    name: str
    figure: str
    note: str


@dataclass(frozen=True, slots=True)
class SimulationPage:
    """All that the page shows. `basis` is net or gross."""

    heading: str
    lede: str
    basis: str
    tiles: Sequence[FigureTile]
    distribution: DistributionChart
    path: PathChart | None
    path_wanted: bool
    stages: StagesChart
    scenarios: ScenariosChart | None
    plan: Sequence[tuple[str, str]]
    assumptions: Sequence[tuple[str, str]]
    warnings: Sequence[str]


def simulation_page(simulation: Simulation) -> SimulationPage | None:
    """Return the page, or None for a summary that lacks what the page needs."""
    summary = simulation.summary
    if not summary.keys() >= NEEDED:
        return None
    basis = "net" if "basis" in summary else "gross"
    return SimulationPage(
        heading=_heading(summary),
        lede=_lede(simulation, basis),
        basis=basis,
        tiles=_tiles(summary, basis),
        distribution=distribution_chart(summary, basis),
        path=path_chart(summary),
        path_wanted=basis == "net",
        stages=stages_chart(summary),
        scenarios=scenarios_chart(summary),
        plan=_plan(summary),
        assumptions=_assumptions(simulation),
        warnings=[item.get("detail") or item["code"] for item in summary.get("warnings", ())],
    )


def _heading(summary: Mapping[str, Any]) -> str:
    loss = percent(summary["probabilities"]["loss"], 0)
    median = times(summary["tvpi"]["p50"])
    return f"{loss} of the funds lose money; the median fund returns {median}"


def _lede(simulation: Simulation, basis: str) -> str:
    asked = simulation.summary["parameters"]
    companies = _counted(asked["portfolio_size"], "company", "companies")
    years = _counted(asked["horizon_years"], "year", "years")
    funds = f"{asked['runs']:,} funds of {companies} over {years}"
    text = f"{funds}, simulated with {simulation.profile}."
    if basis == "net":
        return f"{text} Multiples and rates are net of fees and carry."
    return f"{text} Every number is gross: before fees and carry."


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _tiles(summary: Mapping[str, Any], basis: str) -> list[FigureTile]:
    tvpi, dpi, irr = summary["tvpi"], summary["dpi"], summary["irr"]
    chances = summary["probabilities"]
    tiles = [
        FigureTile(
            f"Median {basis} TVPI",
            times(tvpi["p50"]),
            f"half of the funds: {times(tvpi['p25'])} to {times(tvpi['p75'])}",
        ),
        FigureTile(
            "Lose money",
            percent(chances["loss"]),
            _worst_twentieth(summary["expected_shortfall"]),
        ),
        FigureTile(
            f"Median {basis} IRR",
            percent(irr["p50"]),
            f"half of the funds: {percent(irr['p25'])} to {percent(irr['p75'])}",
        ),
    ]
    return [*tiles, _target_tile(summary) or _cash_tile(dpi)]


def _worst_twentieth(shortfall: float) -> str:
    change = "loses" if shortfall >= 0 else "gains"
    return f"the worst twentieth {change} {percent(abs(shortfall), 0)} on average"


def _cash_tile(dpi: Mapping[str, Any]) -> FigureTile:
    return FigureTile("Median paid back (DPI)", times(dpi["p50"]), "cash, without what is held")


def _target_tile(summary: Mapping[str, Any]) -> FigureTile | None:
    asked, chances = summary["parameters"], summary["probabilities"]
    multiple, rate = asked.get("target_multiple"), asked.get("target_irr")
    if multiple is not None:
        note = "" if rate is None else f"{percent(chances['reach_target_irr'])} reach the IRR of "
        note += "" if rate is None else percent(rate, 0)
        reached = percent(chances["reach_target_multiple"])
        return FigureTile(f"Reach the target of {multiple:g}\u00a0×", reached, note)
    if rate is not None:
        reached = percent(chances["reach_target_irr"])
        return FigureTile(f"Reach the target of {percent(rate, 0)} IRR", reached, "")
    return None


def _plan(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    plan = summary.get("plan")
    if plan is None:
        return []
    names = {
        "fees": "Fees over the fund's life",
        "investable": "Left for companies",
        "first_cheque": "One first cheque",
        "reserve": "Kept for follow-ons",
        "paid_in_p50": "Paid in by the horizon, median",
    }
    dollars = plan["usd"] or {}
    rows = []
    for name, label in names.items():
        amount = f" ({dollars[name]:,.0f}\u00a0USD)" if name in dollars else ""
        rows.append((label, f"{percent(plan[name])}{amount}"))
    if plan["implied_portfolio_size"] is not None:
        rows.append(("First cheques of the target size", str(plan["implied_portfolio_size"])))
    return rows


def _assumptions(simulation: Simulation) -> list[tuple[str, str]]:
    summary = simulation.summary
    asked = summary["parameters"]
    # `by_stage` is a list and keeps its order in the database, unlike the members of `stage_mix`.
    mix = ", ".join(f"{row['stage']} {percent(row['weight'], 0)}" for row in summary["by_stage"])
    rows = [("Fund", str(simulation.fund)), ("Stages", mix)]
    if simulation.strategy is not None:
        rows.append(("Strategy", str(simulation.strategy)))
    if "terms" in asked:
        terms = asked["terms"]
        rows += [
            ("Reserve", f"{percent(asked['reserve_ratio'], 0)} of the money for companies"),
            ("Deployment", f"{asked['deployment_months']} months"),
            ("Fee", f"{percent(terms['management_fee'])} a year of the commitment"),
            ("Carry", f"{percent(terms['carry'], 0)}, no hurdle"),
            ("Common factor", f"sigma {asked['factor_sigma']:g}"),
        ]
    engine = summary.get("engine", "")
    return [
        *rows,
        ("Seed and engine", f"{simulation.seed}, {engine}"),
        ("Client", simulation.client),
    ]
