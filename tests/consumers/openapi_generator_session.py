"""A session with the Python client of openapi-generator: it loses no stage, member or problem.

Usage: openapi_generator_session.py ADDRESS FACTS, with `openapi_client` on the path. It calls
every operation, and provokes every kind of problem that this client can provoke.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openapi_client as api

address, facts_file = sys.argv[1:]
facts: dict[str, Any] = json.loads(Path(facts_file).read_text("utf-8"))
configuration = api.Configuration(
    host=address,
    api_key={"ApiKeyAuth": facts["key"]},
    api_key_prefix={"ApiKeyAuth": "Api-Key"},
)
client = api.ApiClient(configuration)
strategies, stages = api.StrategiesApi(client), api.StagesApi(client)
simulations, funds = api.MonteCarloApi(client), api.FundsApi(client)
fund = facts["fund"]
met: set[str] = set()


def problem(kind: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Expect the call to be refused with that kind of problem, and return the document."""
    try:
        call(*arguments, **options)
    except api.ApiException as error:
        found = api.Problem.from_json(error.body)
    else:
        raise AssertionError("not refused")
    assert found.type == f"/problems/{kind}", found
    met.add(kind)
    return found


assert len({stage.name for stage in api.StageEnum}) == 6
assert [each.stage for each in stages.list_stages().stages][-2:] == ["series-c", "series-c+"]
assert "series c+" in {each.spelling for each in stages.deprecations().deprecated}
texts = api.SpellingsRequest(spellings=["Series C", "series c+", "Seires A"])
meanings = stages.normalize_stages(texts).results
assert [each.stage for each in meanings] == ["series-c", "series-c+", None]
assert funds.list_funds().funds[0].id == fund
listed = api.CompaniesApi(client).list_fund_companies(fund, fields=["id", "stage"]).companies
assert [each.stage for each in listed] == ["series-c", "series-c+", None]

weights = {"series-c": 0.75, "series-c+": 0.25}
body = api.StrategyRequest(fund_id=fund, name="first", stage_allocation=weights)
dry = strategies.create_strategy_with_http_info(body, prefer="handling=dry-run")
assert (dry.status_code, dry.data.accepted) == (202, True)
made = strategies.create_strategy(body, idempotency_key="a")
assert strategies.create_strategy(body, idempotency_key="a") == made
assert [each.stage for each in made.stages] == ["series-c", "series-c+"]


def change(**members: Any) -> Any:
    patch = api.PatchedStrategyPatchRequest(**members)
    return strategies.change_strategy(made.id, patched_strategy_patch_request=patch)


assert change(stage_allocation=made.stage_allocation).stages == made.stages
changed = change(name="second")
before, after = made.to_dict(), changed.to_dict()
assert {name for name in before if before[name] != after[name]} == {"name", "updated_at"}
assert strategies.get_strategy(made.id).to_dict() == after
assert [each.to_dict() for each in strategies.list_strategies().strategies] == [after]

assert simulations.list_profiles().recommended == "market-v2"
asked = api.SimulationRequest(fund_id=fund, profile="market-v2", strategy_id=made.id, runs=100)
simulated = simulations.simulate(asked)
assert simulated.stage_mix == weights
assert simulations.get_simulation(simulated.simulation_id) == simulated
[row] = strategies.list_simulations_of_strategy(made.id).simulations
assert row.simulation_id == simulated.simulation_id


def strategy(**members: Any) -> Any:
    return api.StrategyRequest(**{**body.to_dict(), **members})


unknown = strategy(stage_allocation={"Seires A": 1})
refused = problem("unknown-stage", strategies.create_strategy, unknown)
assert (refused.status, refused.errors[0].code) == (400, "unknown_stage")
assert refused.errors[0].suggestions == [api.StageEnum.SERIES_A]
percent = strategy(stage_allocation={"seed": 0.5, "series-a": 0.2})
problem("invalid-request", strategies.create_strategy, percent)
other = strategy(name="other")
problem("idempotency-mismatch", strategies.create_strategy, other, idempotency_key="a")
long = api.SpellingsRequest(spellings=["é" * 2_000] * 600)  # more than the service keeps
problem("body-too-large", stages.normalize_stages, long)
empty = api.SimulationRequest(fund_id=facts["empty_fund"])
problem("nothing-to-simulate", simulations.simulate, empty)
for _ in range(facts["simulations_a_minute"] - 2):
    simulations.simulate(api.SimulationRequest(fund_id=fund, runs=100))
problem("too-many-requests", simulations.simulate, asked)
configuration.api_key["ApiKeyAuth"] = facts["read_only_key"]
problem("forbidden", strategies.create_strategy, body)
configuration.api_key["ApiKeyAuth"] = "a.b"
problem("not-authenticated", funds.list_funds)
configuration.api_key["ApiKeyAuth"] = facts["key"]

# What a typed client does not send, and documents that no client can provoke.
for document in facts["other_problems"]:
    assert api.Problem.from_dict(document).type == document["type"]
    met.add(document["type"].removeprefix("/problems/"))

assert strategies.delete_strategy_with_http_info(made.id).status_code == 204
problem("not-found", strategies.delete_strategy, made.id)
untyped = {"malformed-body", "method-not-allowed", "not-acceptable", "unsupported-media-type"}
every = {kind.value.removeprefix("/problems/") for kind in api.ProblemTypeEnum}
assert met == every - untyped, every - met
print("done")
