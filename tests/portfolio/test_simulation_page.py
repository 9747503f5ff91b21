"""The admin page of a stored simulation: charts with their text, for both generations."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, Simulation
from stagenorm.portfolio.simulation_axes import axis_ticks, percent, signed
from stagenorm.portfolio.simulation_bars import scenarios_chart, stages_chart
from stagenorm.portfolio.simulation_charts import distribution_chart, path_chart

SEED_AND_A = [{"stage": "seed", "weight": 0.6}, {"stage": "series-a", "weight": 0.4}]
FUND: dict[str, Any] = {
    "profile": "market-v2",
    "target_multiple": 3,
    "include": ["path"],
    "scenarios": [
        {"label": "<b>40</b> companies", "portfolio_size": 40},
        {"label": "first generation", "profile": "market-v1"},
    ],
}
SMALLEST: dict[str, Any] = {
    "profile": "market-v2",
    "portfolio_size": 1,
    "horizon_years": 1,
    "deployment_months": 12,
    "include": ["path"],
}


@pytest.fixture(autouse=True)
def _unlimited(settings: Any) -> None:
    settings.SIMULATE_THROTTLE = ""


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("operator"))
    return client


def stored(api: APIClient, fund: Fund, **members: Any) -> Simulation:
    content = {"fund_id": fund.pk, "runs": 400, "seed": 7, "stage_distribution": SEED_AND_A}
    answer = api.post("/api/monte-carlo/simulate", {**content, **members})
    assert answer.status_code == 200, answer.json()
    return Simulation.objects.get(pk=answer.json()["simulation_id"])


def shown(operator: Client, simulation: Simulation) -> str:
    answer = operator.get(reverse("admin:portfolio_simulation_change", args=[simulation.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def charts(page: str) -> list[ElementTree.Element]:
    found = re.findall(r'<svg class="chart.*?(?=<svg class="chart|</section>)', page, re.DOTALL)
    assert found
    whole = [each[: each.rindex("</svg>") + len("</svg>")] for each in found]
    return [ElementTree.fromstring(each) for each in whole]


@pytest.mark.parametrize(
    ("members", "headings"),
    [
        (FUND, ["How the funds end", "Year by year", "What each stage brings", "Scenarios side"]),
        (SMALLEST, ["How the funds end", "Year by year", "What each stage brings"]),
        ({}, ["How the funds end", "What each stage brings"]),
    ],
)
def test_every_chart_has_a_title_and_a_table(
    operator: Client, api: APIClient, fund: Fund, members: dict[str, Any], headings: list[str]
) -> None:
    page = shown(operator, stored(api, fund, **members))
    assert all(heading in page for heading in headings)
    assert page.count("Show as a table") == len(headings)
    assert not re.search(r"\sstyle=|\son\w+=", page.split('<article class="simulation">')[1])
    for chart in charts(page):
        titles = [each for each in chart.iter("text") if each.get("class") == "axis"]
        if "plot" in (chart.get("class") or ""):
            assert len(titles) == 2
        if chart.get("aria-hidden") != "true":
            assert chart.get("role") == "img"
            named = {each.get("id") for each in chart.iter() if each.get("id")}
            assert set((chart.get("aria-labelledby") or "").split()) == named


def test_labels_of_clients_are_escaped(operator: Client, api: APIClient, fund: Fund) -> None:
    page = shown(operator, stored(api, fund, **FUND))
    assert "<b>40</b>" not in page
    assert "&lt;b&gt;40&lt;/b&gt; companies" in page


def test_a_first_generation_simulation_is_gross(
    operator: Client, api: APIClient, fund: Fund
) -> None:
    page = shown(operator, stored(api, fund))
    assert "Every number is gross" in page
    assert "Year by year" not in page


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"portfolio_size": 1}, r"the worst twentieth loses \d+\s%"),
        ({"portfolio_size": 200}, r"the worst twentieth gains \d+\s%"),
    ],
    ids=["one company", "many companies"],
)
def test_the_worst_twentieth_loses_or_gains(
    operator: Client, api: APIClient, fund: Fund, members: dict[str, int], sentence: str
) -> None:
    assert re.search(sentence, shown(operator, stored(api, fund, **members)))


def test_a_simulation_without_its_path_has_a_note_about_it(
    operator: Client, api: APIClient, fund: Fund
) -> None:
    assert "stored without its path" in shown(operator, stored(api, fund, profile="market-v2"))


def test_bars_cover_the_shown_axis_and_change_tone_at_one_and_three(
    api: APIClient, fund: Fund
) -> None:
    summary = stored(api, fund, **FUND).summary
    chart = distribution_chart(summary, "net")
    assert chart.bars[0].x == 0
    for bar, following in zip(chart.bars, chart.bars[1:], strict=False):
        assert following.x == pytest.approx(bar.x + bar.width, abs=0.01)
    losing = [bar for bar in chart.bars if bar.tone == "loss"]
    assert losing[-1].x + losing[-1].width == pytest.approx(chart.break_even, abs=0.01)
    assert max(bar.height for bar in chart.bars) == 100
    assert sum(int(row[2].replace(",", "")) for row in chart.table.rows) == 400


def test_path_and_scenarios_stay_inside_their_plots(api: APIClient, fund: Fund) -> None:
    summary = stored(api, fund, **FUND).summary
    path, scenarios = path_chart(summary), scenarios_chart(summary)
    assert path is not None
    assert scenarios is not None
    lines = (path.tvpi_band, path.tvpi_line, path.dpi_band, path.dpi_line)
    for line in lines:
        numbers = [float(number) for number in re.split("[ ,]", line)]
        assert all(0 <= number <= 100 for number in numbers)
    assert scenarios.bars[0].label == "The base"
    assert all(0 <= bar.low <= bar.median <= bar.high <= 100 for bar in scenarios.bars)
    assert [bar.basis for bar in scenarios.bars] == ["net", "net", "gross"]


def test_quartiles_begin_below_each_other_and_name_their_side(api: APIClient, fund: Fund) -> None:
    marks = distribution_chart(stored(api, fund, **FUND).summary, "net").marks
    assert [mark.main for mark in marks] == [False, True, False]
    assert [mark.label.split("\u00a0")[0] for mark in marks] == ["25", "median", "25"]
    assert marks[0].y < marks[1].y < marks[2].y
    assert [mark.before for mark in marks] == [mark.x > 50 for mark in marks]


def test_outcomes_are_in_the_order_of_their_bands(api: APIClient, fund: Fund) -> None:
    # The database does not keep the order of the members of a JSON object.
    chart = stages_chart(stored(api, fund, **FUND).summary)
    bands = ("fail", "modest", "good", "home run", "unicorn")
    assert tuple(chart.table.headings[-5:]) == bands
    assert all(len(row) == len(chart.table.headings) for row in chart.table.rows)


@pytest.mark.parametrize(
    ("end", "labels"),
    [
        (1.62, ["0", "0.5", "1", "1.5"]),
        (8.3, ["0", "2", "4", "6", "8"]),
        (0.04, ["0", "0.01", "0.02", "0.03"]),
        (12_000, ["0", "2000", "4000", "6000", "8000", "10000"]),
    ],
)
def test_axes_have_round_labels(end: float, labels: list[str]) -> None:
    ticks = axis_ticks(end, "×")
    assert [tick.label for tick in ticks] == [f"{label}\u00a0×" for label in labels]
    assert all(0 <= tick.at < 100 for tick in ticks)


def test_a_zero_has_no_sign() -> None:
    assert (signed(-0.001), signed(0.05), signed(-0.05)) == ("0.00", "+0.05", "\u22120.05")
    assert percent(-0.0001) == "0.0\u00a0%"
