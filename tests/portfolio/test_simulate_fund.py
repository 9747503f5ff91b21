"""Simulating funds over HTTP with market-v2: the request's members, the stored strategy,
scenarios, and lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, PortfolioCompany, PortfolioStrategy, Simulation
from stagenorm.portfolio.simulation_examples import ANSWER_EXAMPLE, REQUEST_EXAMPLES

ROOT = Path(__file__).parents[2]
ADDRESS = "/api/monte-carlo/simulate"
STRATEGIES = "/api/portfolio/strategies"
SEED_AND_A = [{"stage": "seed", "weight": 0.6}, {"stage": "series-a", "weight": 0.4}]
EVERY_STAGE = [
    {"stage": stage, "weight": weight}
    for stage, weight in {
        "pre-seed": 0.123456789,
        "seed": 0.176543211,
        "series-a": 0.234567891,
        "series-b": 0.165432109,
        "series-c": 0.187654321,
        "series-c+": 0.112345679,
    }.items()
]
SetMode = Callable[..., int]
ApiFor = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def _unlimited(settings: Any) -> None:
    settings.SIMULATE_THROTTLE = ""


def asked(fund: Fund, **members: Any) -> dict[str, Any]:
    return {
        "fund_id": fund.pk,
        "profile": "market-v2",
        "runs": 400,
        "seed": 7,
        "stage_distribution": SEED_AND_A,
        **members,
    }


def simulated(api: APIClient, content: dict[str, Any]) -> dict[str, Any]:
    answer = api.post(ADDRESS, content)
    assert answer.status_code == 200, answer.json()
    return dict(answer.json())


def errors(api: APIClient, content: dict[str, Any]) -> list[tuple[str, str]]:
    answer = api.post(ADDRESS, content)
    assert answer.status_code == 400, answer.json()
    return [(item["pointer"], item["code"]) for item in answer.json()["errors"]]


@pytest.fixture
def strategy(api: APIClient, fund: Fund) -> dict[str, Any]:
    answer = api.post(
        STRATEGIES,
        {
            "fund_id": fund.pk,
            "name": "Early",
            "stage_allocation": {"Seed Round": 0.75, "series-b": 0.25},
            "target_portfolio_size": 12,
            "reserve_ratio": 0.3,
            "deployment_months": 24,
            "check_size": {"min": 1_000_000, "target": 2_500_000, "max": 3_000_000},
            "target_irr": 0.2,
            "target_multiple": 2.5,
        },
    )
    assert answer.status_code == 201, answer.json()
    return dict(answer.json())


def test_the_answer_adds_net_numbers_the_plan_and_their_basis(api: APIClient, fund: Fund) -> None:
    body = simulated(api, asked(fund))
    assert (body["profile"], body["engine"]) == ("market-v2", "pcg64-funds-1")
    assert body["net"]["tvpi"] == body["tvpi"]
    assert body["net"]["irr"] == body["irr"]
    assert set(body["net"]) == {"tvpi", "dpi", "rvpi", "irr"}
    assert body["parameters"] == {
        "fund_id": fund.pk,
        "runs": 400,
        "horizon_years": 12,
        "portfolio_size": 25,
        "reserve_ratio": 0.4,
        "deployment_months": 36,
        "factor_sigma": 0.6,
        "terms": {
            "management_fee": 0.02,
            "fee_full_years": 5,
            "fee_step": 0.9,
            "fund_life_years": 10,
            "carry": 0.2,
        },
        "mix_basis": "companies",
        "strategy_id": None,
        "commitment_usd": None,
        "check_size": {"min": None, "target": None, "max": None},
        "target_multiple": None,
        "target_irr": None,
    }
    assert not {"gross", "path", "scenarios"} & set(body)
    plan = body["plan"]
    assert plan["fees"] == pytest.approx(0.173712, abs=5e-7)
    assert plan["first_cheque"] == pytest.approx(0.6 * plan["investable"] / 25, rel=1e-8)
    assert plan["reserve"] == pytest.approx(0.4 * plan["investable"], rel=1e-8)
    assert (plan["usd"], plan["implied_portfolio_size"]) == (None, None)
    assert body["probabilities"]["reach_target_irr"] is None


def test_basis_names_every_number_as_net_or_gross(api: APIClient, fund: Fund) -> None:
    content = asked(fund, include=["gross", "path"], scenarios=[{"label": "x"}])
    body = simulated(api, content)
    neutral = {
        *("simulation_id", "parameters", "seed", "parameters_hash", "profile", "engine"),
        *("stage_mix", "basis", "unmodelled_weight", "plan", "warnings"),
    }
    assert set(body["basis"]) == set(body) - neutral
    assert set(body["basis"].values()) == {"net", "gross"}
    assert body["basis"]["gross"] == body["basis"]["by_stage"] == "gross"
    assert body["basis"]["tvpi"] == body["basis"]["path"] == "net"


def test_the_same_seed_gives_the_same_body(api: APIClient, fund: Fund) -> None:
    content = asked(
        fund, include=["gross", "path"], scenarios=[{"label": "a", "reserve_ratio": 0}]
    )
    first, second = simulated(api, content), simulated(api, content)
    assert first.pop("simulation_id") != second.pop("simulation_id")
    assert first == second


def test_gross_and_path_come_on_request(api: APIClient, fund: Fund) -> None:
    body = simulated(api, asked(fund, include=["path", "gross"], horizon_years=15))
    assert set(body["gross"]) == {"tvpi", "dpi", "irr"}
    assert body["gross"]["tvpi"]["p50"] > body["tvpi"]["p50"]
    path = body["path"]
    assert path["years"] == list(range(1, 16))
    for name in ("contributions", "distributions", "nav", "tvpi", "dpi", "rvpi"):
        for percentile in ("p10", "p50", "p90"):
            assert len(path[name][percentile]) == 15
    for percentile in ("p10", "p50", "p90"):
        assert path["tvpi"][percentile][-1] == pytest.approx(body["tvpi"][percentile], abs=1e-9)
        assert path["dpi"][percentile][-1] == pytest.approx(body["dpi"][percentile], abs=1e-9)
    alone = simulated(api, asked(fund, horizon_years=15))
    assert alone["tvpi"] == body["tvpi"]


def test_a_year_before_the_first_call_has_no_multiple(api: APIClient, fund: Fund) -> None:
    content = asked(
        fund,
        portfolio_size=1,
        deployment_months=60,
        terms={"management_fee": 0},
        include=["path"],
        horizon_years=4,
    )
    path = simulated(api, content)["path"]
    assert path["tvpi"]["p50"][:2] == [None, None]
    assert path["contributions"]["p50"][:2] == [0, 0]
    assert path["tvpi"]["p50"][2] is not None


def test_a_strategy_feeds_the_simulation(
    api: APIClient, fund: Fund, strategy: dict[str, Any]
) -> None:
    content = asked(fund, strategy_id=strategy["id"], commitment_usd=50_000_000)
    del content["stage_distribution"]
    body = simulated(api, content)
    assert body["stage_mix"] == {"seed": 0.75, "series-b": 0.25}
    parameters = body["parameters"]
    assert {name: parameters[name] for name in ("portfolio_size", "reserve_ratio")} == {
        "portfolio_size": 12,
        "reserve_ratio": 0.3,
    }
    assert parameters["deployment_months"] == 24
    assert (parameters["target_irr"], parameters["target_multiple"]) == (0.2, 2.5)
    assert parameters["check_size"] == {"min": 1e6, "target": 2.5e6, "max": 3e6}
    assert 0 < body["probabilities"]["reach_target_multiple"] < 1
    assert 0 < body["probabilities"]["reach_target_irr"] < 1
    # 70 % of the investable 41.3 million, in cheques of 2.5 million.
    assert body["plan"]["implied_portfolio_size"] == 12
    assert body["plan"]["usd"]["first_cheque"] == pytest.approx(2_410_000, rel=0.01)
    assert body["warnings"] == []
    assert Simulation.objects.get().strategy_id == strategy["id"]


def test_members_of_the_request_win_over_the_strategy(
    api: APIClient, fund: Fund, strategy: dict[str, Any]
) -> None:
    own = {
        "portfolio_size": 30,
        "reserve_ratio": 0,
        "deployment_months": 12,
        "target_irr": 0.1,
        "target_multiple": 4,
        "check_size": {"target": 1_000_000},
    }
    body = simulated(api, asked(fund, strategy_id=strategy["id"], **own))
    assert body["stage_mix"] == {"seed": 0.6, "series-a": 0.4}
    assert {name: body["parameters"][name] for name in own} == {
        **own,
        "check_size": {"min": None, "target": 1e6, "max": None},
    }


def test_a_stage_of_the_strategy_that_is_not_known_is_left_out_in_every_mode(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    allocation = {"seed": 0.5, "Angel": 0.3, "series-a": 0.2}
    made = api.post(
        STRATEGIES, {"fund_id": fund.pk, "name": "x", "stage_allocation": allocation}
    ).json()
    set_mode("enforce")
    content = asked(fund, strategy_id=made["id"])
    del content["stage_distribution"]
    body = simulated(api, content)
    assert body["stage_mix"] == pytest.approx({"seed": 5 / 7, "series-a": 2 / 7})
    assert body["unmodelled_weight"] == pytest.approx(0.3)
    [warning] = body["warnings"]
    assert (warning["code"], warning["pointer"], warning["count"]) == (
        "stored_stage_unknown",
        "/strategy_id",
        1,
    )


@pytest.mark.parametrize(
    ("size", "codes"),
    [
        ({"min": 2_000_000}, ["first_cheque_below_min"]),
        ({"max": 1_000_000}, ["first_cheque_above_max"]),
        ({"min": 1_000_000, "target": 1_500_000, "max": 2_500_000}, []),
        ({"target": 4_957_729}, []),
    ],
)
def test_a_first_cheque_outside_its_range_is_a_warning(
    api: APIClient, fund: Fund, size: dict[str, float], codes: list[str]
) -> None:
    body = simulated(
        api, asked(fund, commitment_usd=100_000_000, portfolio_size=25, check_size=size)
    )
    # 60 % of 82.6 million in 25 cheques: 1,983,092 dollars.
    assert body["plan"]["usd"]["first_cheque"] == pytest.approx(1_983_092, abs=1)
    assert [item["code"] for item in body["warnings"]] == codes
    implied = body["plan"]["implied_portfolio_size"]
    assert implied == (round(49_577_292 / size["target"]) if "target" in size else None)


def test_the_funds_size_is_its_commitment(api: APIClient, fund: Fund) -> None:
    fund.size_usd = 40_000_000
    fund.save()
    body = simulated(api, asked(fund))
    assert body["parameters"]["commitment_usd"] == 40e6
    assert body["plan"]["usd"]["fees"] == pytest.approx(0.173712 * 40e6, rel=1e-5)
    other = simulated(api, asked(fund, commitment_usd=10_000_000))
    assert other["plan"]["usd"]["fees"] == pytest.approx(0.173712 * 10e6, rel=1e-5)
    assert other["tvpi"] == body["tvpi"]


@pytest.mark.parametrize(
    ("basis", "mix"),
    [
        ("companies", {"seed": 2 / 3, "series-a": 1 / 3}),
        ("invested_usd", {"seed": 0.1, "series-a": 0.9}),
    ],
)
def test_the_funds_companies_weigh_by_number_or_by_dollars(
    api: APIClient, fund: Fund, basis: str, mix: dict[str, float]
) -> None:
    dollars = {"seed": 1_000_000, "Series A": 9_000_000}
    for stage, invested in dollars.items():
        PortfolioCompany.objects.create(fund=fund, name=stage, stage=stage, invested_usd=invested)
    PortfolioCompany.objects.create(fund=fund, name="unknown sum", stage="seed")
    content = asked(fund, mix_basis=basis)
    del content["stage_distribution"]
    body = simulated(api, content)
    assert body["stage_mix"] == pytest.approx(mix)
    codes = [(item["code"], item["count"]) for item in body["warnings"]]
    assert codes == ([] if basis == "companies" else [("invested_usd_missing", 1)])


def test_companies_without_dollars_only_are_nothing_to_simulate(
    api: APIClient, fund: Fund
) -> None:
    PortfolioCompany.objects.create(fund=fund, name="x", stage="seed")
    content = asked(fund, mix_basis="invested_usd")
    del content["stage_distribution"]
    answer = api.post(ADDRESS, content)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/nothing-to-simulate")


def test_terms_and_the_factor_change_the_numbers(api: APIClient, fund: Fund) -> None:
    base = simulated(api, asked(fund, include=["gross"]))
    free = simulated(api, asked(fund, terms={"management_fee": 0, "carry": 0}, include=["gross"]))
    assert free["tvpi"] == free["gross"]["tvpi"]
    assert free["tvpi"]["p50"] > base["tvpi"]["p50"]
    assert free["parameters"]["terms"]["fee_step"] == 0.9
    calm = simulated(api, asked(fund, factor_sigma=0))
    assert calm["probabilities"]["loss"] < base["probabilities"]["loss"]
    assert len({each["parameters_hash"] for each in (base, free, calm)}) == 3


def test_a_scenario_equal_to_the_base_has_its_numbers(api: APIClient, fund: Fund) -> None:
    scenarios = [
        {"label": "nothing"},
        {
            "label": "the same",
            "stage_distribution": SEED_AND_A,
            "portfolio_size": 25,
            "reserve_ratio": 0.4,
            "deployment_months": 36,
            "profile": "market-v2",
        },
    ]
    body = simulated(api, asked(fund, scenarios=scenarios, target_multiple=2))
    for row in body["scenarios"]:
        for name in ("mean", "p10", "p50", "p90"):
            assert row["tvpi"][name] == body["tvpi"][name]
        assert row["irr_p50"] == body["irr"]["p50"]
        assert row["dpi_p50"] == body["dpi"]["p50"]
        assert row["loss"] == body["probabilities"]["loss"]
        assert row["reach_target_multiple"] == body["probabilities"]["reach_target_multiple"]
        assert set(row["against_base"].values()) == {0}
    assert body["scenarios"][1]["stage_mix"] == {"seed": 0.6, "series-a": 0.4}
    assert "stage_mix" not in body["scenarios"][0]


def test_a_scenario_is_what_its_own_simulation_gives(api: APIClient, fund: Fund) -> None:
    changes: list[dict[str, Any]] = [
        {"portfolio_size": 60},
        {"reserve_ratio": 0},
        {"deployment_months": 12},
        {"stage_distribution": [{"stage": "series-c", "weight": 1}]},
    ]
    scenarios = [{"label": str(n), **change} for n, change in enumerate(changes)]
    base = simulated(api, asked(fund, scenarios=scenarios))
    for change, row in zip(changes, base["scenarios"], strict=True):
        alone = simulated(api, asked(fund, **change))
        assert row["tvpi"]["p50"] == alone["tvpi"]["p50"]
        assert row["loss"] == alone["probabilities"]["loss"]
        difference = alone["tvpi"]["mean"] - base["tvpi"]["mean"]
        assert row["against_base"]["tvpi_mean"] == pytest.approx(difference, rel=1e-3)


def test_a_scenario_of_the_first_generation_is_compared_gross(api: APIClient, fund: Fund) -> None:
    content = asked(
        fund,
        scenarios=[{"label": "v1", "profile": "market-v1"}],
        include=["gross"],
        horizon_years=8,
    )
    body = simulated(api, content)
    [row] = body["scenarios"]
    first = simulated(api, asked(fund, profile="market-v1"))
    assert (row["basis"], row["tvpi"]["p50"]) == ("gross", first["tvpi"]["p50"])
    gross = body["gross"]["tvpi"]["p50"]
    assert row["against_base"]["tvpi_p50"] == pytest.approx(first["tvpi"]["p50"] - gross, rel=1e-3)
    assert row["against_base"]["irr_p50"] is not None


def test_stages_of_scenarios_pass_the_boundary_with_those_of_the_base(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("enforce")
    scenarios = [
        {"label": "fine", "stage_distribution": [{"stage": "Series A", "weight": 1}]},
        {"label": "not", "stage_distribution": [{"stage": "Seires A", "weight": 1}]},
    ]
    content = asked(
        fund, stage_distribution=[{"stage": "Angle", "weight": 1}], scenarios=scenarios
    )
    answer = api.post(ADDRESS, content)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/unknown-stage")
    assert [(item["pointer"], item["code"]) for item in answer.json()["errors"]] == [
        ("/stage_distribution/0/stage", "unknown_stage"),
        ("/scenarios/1/stage_distribution/0/stage", "unknown_stage"),
    ]
    content["stage_distribution"] = SEED_AND_A
    del content["scenarios"][1]
    accepted = api.post(ADDRESS, content)
    assert accepted.status_code == 200
    assert "normalized=1" in accepted["Stage-Validation"]
    assert accepted.json()["scenarios"][0]["stage_mix"] == {"series-a": 1}


def test_an_unknown_stage_of_a_scenario_is_left_out_in_warn(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    mixed = [{"stage": "seed", "weight": 0.5}, {"stage": "Angel", "weight": 0.5}]
    body = simulated(api, asked(fund, scenarios=[{"label": "x", "stage_distribution": mixed}]))
    assert body["unmodelled_weight"] == 0
    assert body["scenarios"][0]["unmodelled_weight"] == 0.5
    assert [item["pointer"] for item in body["warnings"]] == [
        "/scenarios/0/stage_distribution/1/stage"
    ]
    nothing = [{"stage": "Angel", "weight": 1}]
    answer = api.post(
        ADDRESS, asked(fund, scenarios=[{"label": "x", "stage_distribution": nothing}])
    )
    assert answer.json()["type"] == "/problems/nothing-to-simulate"


def test_cheques_after_the_horizon_are_a_warning(api: APIClient, fund: Fund) -> None:
    body = simulated(api, asked(fund, deployment_months=60, horizon_years=2, portfolio_size=10))
    [warning] = body["warnings"]
    assert (warning["code"], warning["pointer"], warning["count"]) == (
        "deployment_beyond_horizon",
        "/deployment_months",
        6,
    )
    assert sum(row["companies"] for row in body["by_stage"]) == 400 * 4


FUND_MEMBERS: list[tuple[str, Any]] = [
    ("strategy_id", 1),
    ("commitment_usd", 1e6),
    ("mix_basis", "companies"),
    ("reserve_ratio", 0.4),
    ("deployment_months", 36),
    ("check_size", {"min": 1}),
    ("target_multiple", 3),
    ("target_irr", 0.2),
    ("terms", {}),
    ("factor_sigma", 0.6),
    ("include", ["path"]),
    ("scenarios", [{"label": "x"}]),
]


@pytest.mark.parametrize(("name", "value"), FUND_MEMBERS)
@pytest.mark.parametrize("profile", ["market-v1", "optimistic-v1"])
def test_a_member_of_the_second_generation_needs_its_profile(
    api: APIClient, fund: Fund, name: str, value: Any, profile: str
) -> None:
    assert errors(api, asked(fund, profile=profile, **{name: value})) == [
        (f"/{name}", "needs_fund_profile")
    ]
    without = asked(fund, **{name: value})
    del without["profile"]
    assert errors(api, without) == [(f"/{name}", "needs_fund_profile")]


INVALID: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"commitment_usd": 0}, [("/commitment_usd", "min_value")]),
    ({"commitment_usd": 1e13}, [("/commitment_usd", "max_value")]),
    ({"mix_basis": "dollars"}, [("/mix_basis", "invalid_choice")]),
    ({"reserve_ratio": 1.1}, [("/reserve_ratio", "max_value")]),
    ({"reserve_ratio": 1}, [("/reserve_ratio", "no_first_cheque")]),
    ({"deployment_months": 0}, [("/deployment_months", "min_value")]),
    ({"deployment_months": 241}, [("/deployment_months", "max_value")]),
    (
        {"deployment_months": 24, "portfolio_size": 1, "horizon_years": 1},
        [("/deployment_months", "no_first_cheque")],
    ),
    ({"terms": {"management_fee": 0.11}}, [("/terms/management_fee", "max_value")]),
    ({"terms": {"carry": 0.6}}, [("/terms/carry", "max_value")]),
    ({"terms": {"hurdle": 0.08}}, [("/terms/hurdle", "unknown_field")]),
    ({"terms": {"fee_full_years": 1.5}}, [("/terms/fee_full_years", "invalid")]),
    (
        {"terms": {"management_fee": 0.1, "fee_full_years": 20, "fund_life_years": 20}},
        [("/terms", "nothing_to_invest")],
    ),
    ({"factor_sigma": 1.01}, [("/factor_sigma", "max_value")]),
    ({"factor_sigma": True}, [("/factor_sigma", "invalid")]),
    ({"include": "path"}, [("/include", "not_a_list")]),
    ({"include": ["net"]}, [("/include/0", "invalid_choice")]),
    ({"check_size": {"min": 3, "max": 2}}, [("/check_size/min", "out_of_order")]),
    ({"target_irr": -0.1}, [("/target_irr", "min_value")]),
    ({"scenarios": []}, [("/scenarios", "min_length")]),
    ({"scenarios": [{"label": str(n)} for n in range(11)]}, [("/scenarios", "max_length")]),
    ({"scenarios": [{}]}, [("/scenarios/0/label", "required")]),
    ({"scenarios": [{"label": "x" * 41}]}, [("/scenarios/0/label", "max_length")]),
    (
        {"scenarios": [{"label": "x"}, {"label": "x"}]},
        [("/scenarios/1/label", "duplicate_label")],
    ),
    ({"scenarios": [{"label": "x", "runs": 5}]}, [("/scenarios/0/runs", "unknown_field")]),
    (
        {"scenarios": [{"label": "x", "stage_distribution": [{"stage": "seed", "weight": 0.5}]}]},
        [("/scenarios/0/stage_distribution", "weights_not_one")],
    ),
    (
        {"scenarios": [{"label": "x", "profile": "market-v1", "reserve_ratio": 0.2}]},
        [("/scenarios/0/reserve_ratio", "needs_fund_profile")],
    ),
    (
        {"scenarios": [{"label": "x"}, {"label": "y", "reserve_ratio": 1}]},
        [("/scenarios/1/reserve_ratio", "no_first_cheque")],
    ),
    (
        {"runs": 50_000, "portfolio_size": 1000, "scenarios": [{"label": "x"}]},
        [("/runs", "too_many_companies")],
    ),
    (
        {
            "runs": 50_000,
            "portfolio_size": 1,
            "scenarios": [{"label": "x", "portfolio_size": 1000}],
        },
        [("/runs", "too_many_companies")],
    ),
]


@pytest.mark.parametrize(("members", "faults"), INVALID)
def test_a_faulty_member_is_named_and_nothing_is_stored(
    api: APIClient, fund: Fund, members: dict[str, Any], faults: list[tuple[str, str]]
) -> None:
    assert errors(api, asked(fund, **members)) == faults
    assert not Simulation.objects.exists()


def test_a_reserve_of_everything_in_the_strategy_is_named_there(
    api: APIClient, fund: Fund
) -> None:
    made = api.post(
        STRATEGIES,
        {"fund_id": fund.pk, "name": "x", "stage_allocation": {"seed": 1}, "reserve_ratio": 1},
    ).json()
    content = asked(fund, strategy_id=made["id"])
    assert errors(api, content) == [("/strategy_id", "no_first_cheque")]
    assert simulated(api, {**content, "reserve_ratio": 0.5})["parameters"]["reserve_ratio"] == 0.5


@pytest.mark.parametrize("strategy_id", [9_999_999, 2**62])
def test_a_missing_strategy_is_404(api: APIClient, fund: Fund, strategy_id: int) -> None:
    assert api.post(ADDRESS, asked(fund, strategy_id=strategy_id)).status_code == 404


def test_a_strategy_of_another_fund_is_404(
    api: APIClient, api_for: ApiFor, fund: Fund, strategy: dict[str, Any]
) -> None:
    other = Fund.objects.create(name="Birch Capital II")
    assert api.post(ADDRESS, asked(other, strategy_id=strategy["id"])).status_code == 404
    limited = api_for("limited", funds=[other.pk])
    assert limited.post(ADDRESS, asked(other, strategy_id=strategy["id"])).status_code == 404
    assert limited.get(f"{STRATEGIES}/{strategy['id']}/simulations").status_code == 404


@pytest.mark.parametrize("mode", ["off", "warn"])
def test_the_fullest_body_stays_under_16_kib(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str
) -> None:
    set_mode(mode)
    widest = "\U0001f4b6" * 200
    unknown = [{"stage": f"{widest}{n}", "weight": 0.001} for n in range(100)]
    spelled = [
        {"stage": spelling, "weight": 0.9 / 12}
        for stage in ("pre-seed", "seed", "series-a", "series-b", "series-c", "series-c+")
        for spelling in (stage, stage.upper())
    ]
    scenarios = [
        {
            "label": "\U0001f4b6" * 39 + str(n),
            "stage_distribution": [*spelled, *unknown],
            "portfolio_size": 900 + n,
            "reserve_ratio": 0.123456789012345,
            "deployment_months": 200 + n,
            "profile": "market-v2",
        }
        for n in range(10)
    ]
    content = asked(
        fund,
        runs=100,
        horizon_years=15,
        stage_distribution=[*spelled, *unknown],
        scenarios=scenarios,
        include=["gross", "path"],
        commitment_usd=987_654_321.12,
        check_size={"min": 123_456_789.12, "target": 223_456_789.12, "max": 323_456_789.12},
        target_multiple=2.123456789012345,
        target_irr=0.123456789012345,
        factor_sigma=0.123456789012345,
        reserve_ratio=0.345678901234567,
        terms={"management_fee": 0.0212345678912345, "fee_step": 0.912345678912345},
        seed=2**53 - 1,
    )
    answer = api.post(ADDRESS, content)
    assert answer.status_code == 200, answer.json()
    assert len(answer.content) < 16 * 1024
    body = answer.json()
    assert body["warnings"][-1]["code"] == "more_warnings"
    assert len(body["scenarios"]) == 10
    kept = Simulation.objects.get()
    assert json.loads(json.dumps(kept.summary)) == {
        name: value for name, value in body.items() if name != "simulation_id"
    }
    assert api.get(f"/api/monte-carlo/simulations/{kept.pk}").json() == body


def test_the_profiles_have_every_number_and_an_etag(api: APIClient) -> None:
    answer = api.get("/api/monte-carlo/profiles")
    body = answer.json()
    assert (body["default"], body["recommended"]) == ("market-v1", "market-v2")
    profiles = {each["name"]: each for each in body["profiles"]}
    assert list(profiles) == ["market-v1", "optimistic-v1", "market-v2"]
    second = profiles["market-v2"]
    assert set(second["assumptions"]) == {
        *("odds", "factor", "exits", "graduation", "marks", "terms", "reserves"),
    }
    assert all(part["source"] for part in second["assumptions"].values())
    assert second["assumptions"]["odds"]["fail"]["seed"] == 0.61
    assert second["assumptions"]["graduation"]["price_of_round"]["seed"] == pytest.approx(
        1.641, abs=1e-3
    )
    assert second["assumptions"]["terms"]["lifetime_fees"] == pytest.approx(0.173712, abs=1e-6)
    assert {"figure", "model", "published", "source", "year"} == set(second["calibrated_to"][0])
    assert all(each["known_limits"] for each in profiles.values())
    assert profiles["market-v1"]["assumptions"]["odds"]["by_stage"]["seed"]["fail"] == 0.7
    again = api.get("/api/monte-carlo/profiles", HTTP_IF_NONE_MATCH=answer["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert APIClient().get("/api/monte-carlo/profiles").status_code == 401


def listed(api: APIClient, strategy: dict[str, Any], **query: Any) -> dict[str, Any]:
    answer = api.get(f"{STRATEGIES}/{strategy['id']}/simulations", query)
    assert answer.status_code == 200, answer.json()
    return dict(answer.json())


def test_the_simulations_of_a_strategy_are_listed_newest_first(
    api: APIClient, fund: Fund, strategy: dict[str, Any]
) -> None:
    simulated(api, asked(fund))
    made = [simulated(api, asked(fund, strategy_id=strategy["id"], seed=n)) for n in range(5)]
    pages, cursor = [], None
    while True:
        page = listed(api, strategy, limit=2, **({"cursor": cursor} if cursor else {}))
        pages.append(page["simulations"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [len(page) for page in pages] == [2, 2, 1]
    rows = [row for page in pages for row in page]
    assert [row["simulation_id"] for row in rows] == [each["simulation_id"] for each in made[::-1]]
    assert rows[0]["tvpi"] == made[-1]["tvpi"]
    assert rows[0]["parameters"]["strategy_id"] == strategy["id"]
    assert set(rows[0]) >= {"created_at", "profile", "seed", "parameters_hash", "probabilities"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "min_value"),
        ({"limit": "201"}, "max_value"),
        ({"cursor": "x"}, "invalid_cursor"),
        ({"fund_id": "1"}, "unknown_parameter"),
    ],
)
def test_a_faulty_query_of_the_list_is_named(
    api: APIClient, strategy: dict[str, Any], query: dict[str, str], code: str
) -> None:
    answer = api.get(f"{STRATEGIES}/{strategy['id']}/simulations", query)
    assert answer.status_code == 400
    assert [item["code"] for item in answer.json()["errors"]] == [code]


def test_a_deleted_strategy_leaves_its_simulations(
    api: APIClient, fund: Fund, strategy: dict[str, Any]
) -> None:
    made = simulated(api, asked(fund, strategy_id=strategy["id"]))
    assert api.delete(f"{STRATEGIES}/{strategy['id']}").status_code == 204
    assert not PortfolioStrategy.objects.exists()
    again = api.get(f"/api/monte-carlo/simulations/{made['simulation_id']}")
    assert again.json() == made


def test_a_dry_run_checks_the_plan_and_stores_nothing(api: APIClient, fund: Fund) -> None:
    prefer: dict[str, Any] = {"HTTP_PREFER": "handling=dry-run"}
    answer = api.post(ADDRESS, asked(fund), **prefer)
    assert (answer.status_code, answer.json()["accepted"]) == (202, True)
    assert api.post(ADDRESS, asked(fund, reserve_ratio=1), **prefer).status_code == 400
    assert not Simulation.objects.exists()


@pytest.mark.parametrize("name", REQUEST_EXAMPLES)
def test_the_requests_of_the_document_are_accepted(
    api: APIClient, fund: Fund, strategy: dict[str, Any], name: str
) -> None:
    content = {**REQUEST_EXAMPLES[name], "fund_id": fund.pk}
    if "strategy_id" in content:
        content["strategy_id"] = strategy["id"]
    simulated(api, content)


def test_the_answer_of_the_document_is_that_of_its_request(api: APIClient, fund: Fund) -> None:
    request = next(iter(REQUEST_EXAMPLES.values()))
    body = simulated(api, {**request, "fund_id": fund.pk})
    body["simulation_id"] = ANSWER_EXAMPLE["simulation_id"]
    body["parameters"]["fund_id"] = 1
    assert body == ANSWER_EXAMPLE


def test_every_answer_conforms_to_the_document(api: APIClient, fund: Fund) -> None:
    document = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text("utf-8"))
    components = {"components": _with_null_types(document["components"])}
    full = asked(
        fund,
        include=["gross", "path"],
        scenarios=[{"label": "x", "profile": "market-v1"}, {"label": "y"}],
        commitment_usd=1e8,
    )
    for body in (simulated(api, full), simulated(api, asked(fund)), ANSWER_EXAMPLE):
        schema = {"$ref": "#/components/schemas/SimulationAnswer", **components}
        jsonschema.validate(body, schema)
    profiles = api.get("/api/monte-carlo/profiles").json()
    jsonschema.validate(profiles, {"$ref": "#/components/schemas/Profiles", **components})


def _with_null_types(node: Any) -> Any:
    """Return the schema with `nullable` of OpenAPI 3.0 as JSON Schema writes it."""
    if isinstance(node, list):
        return [_with_null_types(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: _with_null_types(value) for name, value in node.items() if name != "nullable"}
    return {"anyOf": [found, {"type": "null"}]} if node.get("nullable") is True else found
