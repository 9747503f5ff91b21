"""Simulating over HTTP: answers, refusals and stored simulations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from stagenorm.portfolio.models import Fund, PortfolioCompany, Simulation

ADDRESS = "/api/monte-carlo/simulate"
DISTRIBUTION = [{"stage": "seed", "weight": 0.5}, {"stage": "series-a", "weight": 0.5}]
SetMode = Callable[..., int]
ApiFor = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def _unlimited(settings: Any) -> None:
    settings.SIMULATE_THROTTLE = ""


def asked(fund: Fund, **members: Any) -> dict[str, Any]:
    return {
        "fund_id": fund.pk,
        "runs": 200,
        "seed": 7,
        "stage_distribution": DISTRIBUTION,
        **members,
    }


def simulated(api: APIClient, content: dict[str, Any]) -> dict[str, Any]:
    answer = api.post(ADDRESS, content)
    assert answer.status_code == 200, answer.json()
    return dict(answer.json())


def items(*pairs: tuple[str, float]) -> list[dict[str, Any]]:
    return [{"stage": stage, "weight": weight} for stage, weight in pairs]


def companies(fund: Fund, *stages: str, **members: Any) -> None:
    PortfolioCompany.objects.bulk_create(
        PortfolioCompany(fund=fund, name=f"c{n}", stage=stage, **members)
        for n, stage in enumerate(stages)
    )


def test_the_answer_has_the_documented_members(api: APIClient, fund: Fund) -> None:
    body = simulated(api, {"fund_id": fund.pk, "stage_distribution": DISTRIBUTION})
    assert set(body) == {
        *(
            "simulation_id",
            "parameters",
            "seed",
            "parameters_hash",
            "profile",
            "engine",
            "stage_mix",
        ),
        *(
            "tvpi",
            "dpi",
            "irr",
            "probabilities",
            "value_at_risk",
            "expected_shortfall",
            "by_stage",
            "histogram",
        ),
        *("expected_tvpi_analytic", "unmodelled_weight", "warnings"),
    }
    for name in ("tvpi", "dpi", "irr"):
        assert set(body[name]) == {
            "mean",
            "std_error",
            "p5",
            "p10",
            "p25",
            "p50",
            "p75",
            "p90",
            "p95",
        }
    assert set(body["probabilities"]) == {
        "loss",
        "tvpi_gte_1",
        "tvpi_gte_2",
        "tvpi_gte_3",
        "tvpi_gte_5",
    }
    assert body["parameters"] == {
        "fund_id": fund.pk,
        "runs": 10_000,
        "horizon_years": 8,
        "portfolio_size": 25,
    }
    assert (body["profile"], body["stage_mix"]) == ("market-v1", {"seed": 0.5, "series-a": 0.5})
    assert (body["unmodelled_weight"], body["warnings"]) == (0, [])
    assert 0 <= body["seed"] < 2**53
    assert (
        abs(body["tvpi"]["mean"] - body["expected_tvpi_analytic"]) < 5 * body["tvpi"]["std_error"]
    )


def test_the_same_seed_gives_the_same_body_and_a_drawn_one_another(
    api: APIClient, fund: Fund
) -> None:
    first, second = simulated(api, asked(fund)), simulated(api, asked(fund))
    assert first.pop("simulation_id") != second.pop("simulation_id")
    assert first == second
    assert [simulated(api, asked(fund, seed=n))["seed"] for n in (0, 2**53 - 1)] == [0, 2**53 - 1]
    without = asked(fund)
    del without["seed"]
    one, other = simulated(api, without), simulated(api, without)
    assert one["seed"] != other["seed"]
    again = simulated(api, {**without, "seed": one["seed"]})
    assert again["tvpi"] == one["tvpi"]


@pytest.mark.parametrize(
    "change",
    [
        {"runs": 201},
        {"horizon_years": 9},
        {"portfolio_size": 26},
        {"seed": 8},
        {"profile": "optimistic-v1"},
        {"stage_distribution": items(("seed", 0.25), ("series-a", 0.75))},
    ],
)
def test_each_parameter_changes_the_hash(
    api: APIClient, fund: Fund, change: dict[str, Any]
) -> None:
    assert (
        simulated(api, asked(fund))["parameters_hash"]
        != simulated(api, asked(fund, **change))["parameters_hash"]
    )


def test_another_notation_of_a_number_keeps_the_hash(api: APIClient, fund: Fund) -> None:
    given = {"runs": 200, "horizon_years": 5, "portfolio_size": 10, "seed": 3}
    floats = {name: float(number) for name, number in given.items()}
    first, second = simulated(api, asked(fund, **given)), simulated(api, asked(fund, **floats))
    assert first["parameters_hash"] == second["parameters_hash"]
    assert first["parameters"] == second["parameters"]


def test_a_simulation_is_kept_and_shown_again(
    api: APIClient, fund: Fund, set_mode: SetMode
) -> None:
    set_mode("warn")
    distribution = items(("Seed Round", 0.25), ("Angel", 0.25), ("series-a", 0.5))
    body = simulated(api, asked(fund, stage_distribution=distribution))
    kept = Simulation.objects.get()
    assert (str(kept.pk), kept.fund, kept.client, kept.seed) == (
        body["simulation_id"],
        fund,
        "tests",
        7,
    )
    assert (kept.parameters_hash, kept.profile) == (body["parameters_hash"], "market-v1")
    assert kept.parameters == {
        "engine": body["engine"],
        "profile": "market-v1",
        "runs": 200,
        "horizon_years": 8,
        "portfolio_size": 25,
        "seed": 7,
        "stage_mix": pytest.approx(body["stage_mix"]),
    }
    again = api.get(f"/api/monte-carlo/simulations/{body['simulation_id']}")
    assert (again.status_code, again.json()) == (200, body)


@pytest.mark.parametrize(
    "simulation_id", ["x", "7d2f6a52-5e0b-4cf4-9d0b-6c6c3a1d7a10", "1", "%00"]
)
def test_a_missing_simulation_is_a_404_problem(api: APIClient, simulation_id: str) -> None:
    answer = api.get(f"/api/monte-carlo/simulations/{simulation_id}")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_a_key_sees_the_funds_of_its_scope_only(
    api: APIClient, api_for: ApiFor, fund: Fund
) -> None:
    other = Fund.objects.create(name="Birch Capital II")
    made = simulated(api, asked(other))["simulation_id"]
    limited = api_for("limited", funds=[fund.pk])
    assert limited.get(f"/api/monte-carlo/simulations/{made}").status_code == 404
    assert limited.post(ADDRESS, asked(other)).status_code == 404
    assert limited.post(ADDRESS, {"fund_id": other.pk, "runs": "x"}).status_code == 404
    assert limited.post(ADDRESS, asked(fund)).status_code == 200


def test_a_read_only_key_may_look_but_not_simulate(
    api: APIClient, api_for: ApiFor, fund: Fund
) -> None:
    made = simulated(api, asked(fund))["simulation_id"]
    reader = api_for("reader", read_only=True)
    assert reader.post(ADDRESS, asked(fund)).status_code == 403
    assert reader.get(f"/api/monte-carlo/simulations/{made}").status_code == 200
    assert Simulation.objects.count() == 1


INVALID: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"runs": 99}, [("/runs", "min_value")]),
    ({"runs": 50_001}, [("/runs", "max_value")]),
    ({"runs": 1000.5}, [("/runs", "invalid")]),
    ({"runs": True}, [("/runs", "invalid")]),
    ({"runs": None}, [("/runs", "null")]),
    ({"runs": "200"}, [("/runs", "invalid")]),
    ({"horizon_years": 0}, [("/horizon_years", "min_value")]),
    ({"horizon_years": 16}, [("/horizon_years", "max_value")]),
    ({"portfolio_size": 0}, [("/portfolio_size", "min_value")]),
    ({"portfolio_size": 1001}, [("/portfolio_size", "max_value")]),
    ({"seed": -1}, [("/seed", "min_value")]),
    ({"seed": 2**53}, [("/seed", "max_value")]),
    ({"seed": 10**400}, [("/seed", "max_value")]),
    ({"seed": None}, [("/seed", "null")]),
    ({"profile": "bull"}, [("/profile", "invalid_choice")]),
    ({"profile": 1}, [("/profile", "invalid_choice")]),
    ({"profile": ["market-v1"]}, [("/profile", "invalid_choice")]),
    ({"colour": 1}, [("/colour", "unknown_field")]),
    ({"stage_distribution": None}, [("/stage_distribution", "null")]),
    ({"stage_distribution": {}}, [("/stage_distribution", "not_a_list")]),
    ({"stage_distribution": []}, [("/stage_distribution", "empty")]),
    ({"stage_distribution": ["seed"]}, [("/stage_distribution/0", "not_an_object")]),
    (
        {"stage_distribution": [{}]},
        [
            ("/stage_distribution/0/stage", "required"),
            ("/stage_distribution/0/weight", "required"),
        ],
    ),
    (
        {"stage_distribution": [{"stage": "seed", "weight": 1, "x/y": 1}]},
        [("/stage_distribution/0/x~1y", "unknown_field")],
    ),
    (
        {"stage_distribution": [{"stage": 3, "weight": 1}]},
        [("/stage_distribution/0/stage", "invalid")],
    ),
    (
        {"stage_distribution": [{"stage": None, "weight": 1}]},
        [("/stage_distribution/0/stage", "null")],
    ),
    (
        {"stage_distribution": items(("x" * 256, 1))},
        [("/stage_distribution/0/stage", "max_length")],
    ),
    (
        {"stage_distribution": items(("a\0", 1))},
        [("/stage_distribution/0/stage", "null_characters_not_allowed")],
    ),
    (
        {"stage_distribution": [{"stage": "seed", "weight": True}]},
        [("/stage_distribution/0/weight", "invalid")],
    ),
    (
        {"stage_distribution": [{"stage": "seed", "weight": "1"}]},
        [("/stage_distribution/0/weight", "invalid")],
    ),
    (
        {"stage_distribution": [{"stage": "seed", "weight": None}]},
        [("/stage_distribution/0/weight", "null")],
    ),
    (
        {"stage_distribution": items(("seed", -0.5), ("series-a", 1.5))},
        [
            ("/stage_distribution/0/weight", "min_value"),
            ("/stage_distribution/1/weight", "max_value"),
        ],
    ),
    (
        {"stage_distribution": items(("seed", 0.5), ("series-a", 0.4))},
        [("/stage_distribution", "weights_not_one")],
    ),
    (
        {"stage_distribution": items(("seed", 0), ("series-a", 0))},
        [("/stage_distribution", "weights_not_one")],
    ),
    (
        {"stage_distribution": items(("Seed", 0.5), ("Seed", 0.5))},
        [("/stage_distribution/1/stage", "duplicate_stage")],
    ),
    (
        {"stage_distribution": items(*((f"s{n}", 1e-4) for n in range(10_001)))},
        [("/stage_distribution", "max_length")],
    ),
    ({"fund_id": "1"}, [("/fund_id", "invalid")]),
    (
        {"fund_id": [], "runs": 1, "stage_distribution": [{"stage": "seed"}, 3]},
        [
            ("/fund_id", "invalid"),
            ("/runs", "min_value"),
            ("/stage_distribution/0/weight", "required"),
            ("/stage_distribution/1", "not_an_object"),
        ],
    ),
]


@pytest.mark.parametrize(("members", "errors"), INVALID)
def test_a_faulty_member_is_named_and_nothing_is_stored(
    api: APIClient, fund: Fund, members: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    answer = api.post(ADDRESS, asked(fund, **members))
    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert [(item["pointer"], item["code"]) for item in answer.json()["errors"]] == errors
    assert not Simulation.objects.exists()


@pytest.mark.parametrize("fund_id", [0, -1, 9_999_999, 2**63, 10**300])
def test_a_missing_fund_is_404_even_if_other_members_are_wrong(
    api: APIClient, fund: Fund, fund_id: int
) -> None:
    assert api.post(ADDRESS, {"fund_id": fund_id, "runs": "x", "more": 1}).status_code == 404


@pytest.mark.parametrize(
    ("distribution", "mix", "unmodelled", "codes"),
    [
        (items(("SEED", 0.5), ("Series A\n", 0.5)), {"seed": 0.5, "series-a": 0.5}, 0, []),
        (items(("Series A", 0.5), ("series_a", 0.5)), {"series-a": 1}, 0, ["duplicate_stage"]),
        (
            items(("seed", 0.2), ("D", 0.5), ("series-b", 0.3)),
            {"seed": 0.4, "series-b": 0.6}, 0.5, ["unknown_stage"],
        ),
        (items(("seed", 1), ("Angel", 0), ("series-a", 0)), {"seed": 1}, 0, ["unknown_stage"]),
        (
            items(("seed", 0.50001), ("series-a", 0.5)),
            {"seed": 0.500005, "series-a": 0.499995}, 0, ["weights_not_one"],
        ),
        (items(("series-c+", 1)), {"series-c+": 1}, 0, []),
    ],
)  # fmt: skip
def test_the_mix_is_that_of_the_known_stages_rescaled(
    api: APIClient,
    fund: Fund,
    set_mode: SetMode,
    distribution: list[dict[str, Any]],
    mix: dict[str, float],
    unmodelled: float,
    codes: list[str],
) -> None:
    set_mode("warn")
    body = simulated(api, asked(fund, stage_distribution=distribution))
    assert body["stage_mix"] == pytest.approx(mix, abs=1e-9)
    assert list(body["stage_mix"]) == list(mix)
    assert body["unmodelled_weight"] == pytest.approx(unmodelled)
    assert [item["code"] for item in body["warnings"]] == codes


@pytest.mark.parametrize(
    "distribution",
    [
        items(("Angel", 1)),
        items(("Angel", 0.5), ("Series X", 0.5)),
        items(("Angel", 1), ("seed", 0)),
    ],
)
def test_a_distribution_without_a_known_stage_is_a_problem(
    api: APIClient, fund: Fund, distribution: list[dict[str, Any]]
) -> None:
    answer = api.post(ADDRESS, asked(fund, stage_distribution=distribution))
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/nothing-to-simulate")
    assert not Simulation.objects.exists()


@pytest.mark.parametrize("mode", ["off", "warn", "enforce"])
def test_without_a_distribution_the_funds_active_companies_are_the_mix(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str
) -> None:
    set_mode(mode)
    companies(
        fund,
        "Seed",
        "seed",
        "SERIES_A",
        "Angel",
        "series-a ",
        "Series X",
        "series a",
        "Seed Round",
    )
    companies(fund, "series-c", "series-c", status="exited")
    companies(Fund.objects.create(name="Birch Capital II"), "series-b")
    content = asked(fund)
    del content["stage_distribution"]
    body = simulated(api, content)
    assert body["stage_mix"] == {"seed": 0.5, "series-a": 0.5}
    assert body["unmodelled_weight"] == 0.25
    [warning] = body["warnings"]
    assert (warning["code"], warning["pointer"], warning["count"]) == (
        "stored_stage_unknown",
        "/stage_distribution",
        2,
    )


@pytest.mark.parametrize("stages", [[], ["Angel", "Series X"]])
def test_a_fund_without_a_modelled_company_is_a_problem(
    api: APIClient, fund: Fund, stages: list[str]
) -> None:
    companies(fund, *stages)
    companies(fund, "seed", status="exited")
    answer = api.post(ADDRESS, {"fund_id": fund.pk})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/nothing-to-simulate")


@pytest.mark.parametrize("mode", ["off", "warn"])
def test_every_body_stays_under_16_kib(
    api: APIClient, fund: Fund, set_mode: SetMode, mode: str
) -> None:
    set_mode(mode)
    widest = "\U0001f4b6" * 240
    unknown = [(f"{widest}{n}", 0.0004) for n in range(1_000)]
    aliases = [
        (f"Series{' ' * (n % 60 + 1)}{'abc'[n % 3]}{' ' * (n // 60)}", 0.0004)
        for n in range(1_500)
    ]
    distribution = items(*unknown, *aliases)
    answer = api.post(ADDRESS, asked(fund, stage_distribution=distribution))
    assert answer.status_code == 200, answer.json()
    assert len(answer.content) < 16 * 1024
    assert answer.json()["unmodelled_weight"] == pytest.approx(0.4)
