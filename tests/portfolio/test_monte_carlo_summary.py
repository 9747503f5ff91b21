"""The summary: complete, small, JSON, and each figure recomputed from the runs."""

import json
import math
from typing import Any

import numpy as np
import pytest

from normalization.stages import Stage
from stagenorm.portfolio.expected_value import expected_tvpi
from stagenorm.portfolio.monte_carlo import SimulationParameters, SimulationResult, simulate
from stagenorm.portfolio.return_profiles import PROFILES
from stagenorm.portfolio.simulation_parameters import parameters_hash
from stagenorm.portfolio.simulation_summary import summarize
from tests.portfolio.fund_cases import EVERY_STAGE

PARAMETERS = SimulationParameters(5000, 8, 25, 42, "market-v1", EVERY_STAGE)


@pytest.fixture(scope="module")
def result() -> SimulationResult:
    return simulate(PARAMETERS)


@pytest.fixture(scope="module")
def summary(result: SimulationResult) -> dict[str, Any]:
    return summarize(result, PARAMETERS, unmodelled_weight=0.25)


def test_the_summary_has_these_members(summary: dict[str, Any]) -> None:
    assert list(summary) == [
        *(
            "seed",
            "parameters_hash",
            "profile",
            "engine",
            "stage_mix",
            "tvpi",
            "dpi",
            "irr",
            "probabilities",
        ),
        *(
            "value_at_risk",
            "expected_shortfall",
            "by_stage",
            "histogram",
            "expected_tvpi_analytic",
        ),
        *("unmodelled_weight", "warnings"),
    ]
    assert (summary["seed"], summary["profile"], summary["engine"]) == (
        42,
        "market-v1",
        "pcg64-blocks-1",
    )
    assert (summary["unmodelled_weight"], summary["warnings"]) == (0.25, [])


@pytest.mark.parametrize("name", ["tvpi", "dpi", "irr"])
def test_mean_error_and_percentiles_are_numpys(
    summary: dict[str, Any], result: SimulationResult, name: str
) -> None:
    runs = getattr(result, name)
    expected = {"mean": runs.mean(), "std_error": runs.std(ddof=1) / math.sqrt(runs.size)}
    expected |= {
        f"p{percent}": np.percentile(runs, percent) for percent in (5, 10, 25, 50, 75, 90, 95)
    }
    assert summary[name] == pytest.approx(expected, rel=1e-8)


def test_probabilities_and_losses_are_those_of_the_runs(
    summary: dict[str, Any], result: SimulationResult
) -> None:
    tvpi = result.tvpi
    expected = {"loss": np.mean(tvpi < 1)} | {
        f"tvpi_gte_{mark}": np.mean(tvpi >= mark) for mark in (1, 2, 3, 5)
    }
    assert summary["probabilities"] == pytest.approx(expected)
    assert summary["value_at_risk"] == pytest.approx(1 - np.percentile(tvpi, 5), rel=1e-8)
    assert summary["expected_shortfall"] == pytest.approx(1 - np.sort(tvpi)[:250].mean(), rel=1e-8)
    assert summary["expected_shortfall"] >= summary["value_at_risk"]


def test_the_histogram_counts_every_run_once(
    summary: dict[str, Any], result: SimulationResult
) -> None:
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    assert (len(edges), len(counts)) == (31, 30)
    assert sum(counts) == 5000
    assert counts[-1] == pytest.approx(50, abs=1)
    below = [int(np.sum(result.tvpi < edge)) for edge in edges[:-1]]
    assert counts == [*np.diff(below).tolist(), 5000 - below[-1]]


def test_by_stage_adds_up_to_the_whole(summary: dict[str, Any]) -> None:
    stages = summary["by_stage"]
    assert [row["stage"] for row in stages] == [stage.value for stage in Stage]
    assert sum(row["companies"] for row in stages) == 125_000
    assert sum(row["share_of_value"] for row in stages) == pytest.approx(1)
    for name in ("tvpi", "dpi"):
        whole = sum(row[name] * row["companies"] for row in stages) / 125_000
        assert whole == pytest.approx(summary[name]["mean"])
    for row in stages:
        assert sum(row["outcomes"].values()) == pytest.approx(1)
        assert row["tvpi"] == pytest.approx(
            expected_tvpi({Stage(row["stage"]): 1.0}, "market-v1", 8), rel=0.05
        )


def test_a_stage_without_a_company_has_no_figures() -> None:
    parameters = SimulationParameters(
        100, 8, 1, 0, "market-v1", {Stage.SEED: 1 - 1e-9, Stage.SERIES_C: 1e-9}
    )
    row = summarize(simulate(parameters), parameters)["by_stage"][1]
    assert (row["companies"], row["tvpi"], row["dpi"], row["share_of_value"]) == (0, None, None, 0)
    assert set(row["outcomes"].values()) == {None}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("horizon_years", [1, 15])
@pytest.mark.parametrize(("runs", "portfolio_size"), [(1, 1), (100, 1), (50_000, 1), (200, 1000)])
def test_any_summary_is_plain_json_under_16_kib(
    profile: str, horizon_years: int, runs: int, portfolio_size: int
) -> None:
    weights = {stage: 1 / 3**n for n, stage in enumerate(Stage)}
    parameters = SimulationParameters(
        runs, horizon_years, portfolio_size, 2**53 - 1, profile, weights
    )
    summary = summarize(simulate(parameters), parameters, unmodelled_weight=1 / 3)
    text = json.dumps(summary, allow_nan=False)
    assert len(text) < 8 * 1024
    assert json.loads(text) == summary
    edges = summary["histogram"]["edges"]
    assert edges == sorted(edges)
    assert sum(summary["histogram"]["counts"]) == runs


def test_a_client_can_repeat_a_simulation_from_its_answer(summary: dict[str, Any]) -> None:
    mix = {Stage(name): weight for name, weight in summary["stage_mix"].items()}
    again = SimulationParameters(5000, 8, 25, summary["seed"], summary["profile"], mix)
    assert summarize(simulate(again), again, unmodelled_weight=0.25) == summary


def test_each_parameter_changes_the_hash_and_the_order_of_the_mix_does_not() -> None:
    others = [
        SimulationParameters(5001, 8, 25, 42, "market-v1", EVERY_STAGE),
        SimulationParameters(5000, 9, 25, 42, "market-v1", EVERY_STAGE),
        SimulationParameters(5000, 8, 26, 42, "market-v1", EVERY_STAGE),
        SimulationParameters(5000, 8, 25, 43, "market-v1", EVERY_STAGE),
        SimulationParameters(5000, 8, 25, 42, "optimistic-v1", EVERY_STAGE),
        SimulationParameters(5000, 8, 25, 42, "market-v1", {Stage.SEED: 1.0}),
    ]
    assert len({parameters_hash(other) for other in [PARAMETERS, *others]}) == 7
    turned = SimulationParameters(
        5000, 8, 25, 42, "market-v1", dict(reversed(EVERY_STAGE.items()))
    )
    assert parameters_hash(turned) == parameters_hash(PARAMETERS)
