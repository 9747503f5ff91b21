"""A consumer's session with the client that openapi-python-client generated.

Usage: python_session.py ADDRESS FACTS, where FACTS is the JSON file that the test wrote. It calls
every operation, provokes every kind of problem that a client can provoke, and ends with `done`.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from generated import AuthenticatedClient, Client
from generated.api.companies import list_fund_companies
from generated.api.funds import list_funds
from generated.api.monte_carlo import get_simulation, list_profiles, simulate
from generated.api.stages import deprecations, list_stages, normalize_stages
from generated.api.strategies import (
    change_strategy,
    create_strategy,
    delete_strategy,
    get_strategy,
    list_simulations_of_strategy,
    list_strategies,
)
from generated.models import (
    Companies,
    Deprecations,
    DryRun,
    FundPage,
    IssueCodeEnum,
    ListFundCompaniesFieldsItem,
    ListFundCompaniesSort,
    Meanings,
    PatchedStrategyPatchRequest,
    Problem,
    ProblemTypeEnum,
    ProfileEnum,
    Profiles,
    SimulationAnswer,
    SimulationPage,
    SimulationRequest,
    SimulationRequestStageDistributionItem,
    SpellingsRequest,
    StageEnum,
    Stages,
    StageStatusEnum,
    StrategyAnswer,
    StrategyPage,
    StrategyRequest,
    StrategyRequestStageAllocation,
)
from generated.types import Response

T = TypeVar("T")
address, facts_file = sys.argv[1:]
facts = json.loads(Path(facts_file).read_text("utf-8"))
fund: int = facts["fund"]


def client_of(key: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=address, token=key, prefix="Api-Key")


def expect(kind: type[T], answer: Response[Any]) -> T:
    assert isinstance(answer.parsed, kind), (answer.status_code, answer.content)
    return answer.parsed


def problem(answer: Response[Any], kind: ProblemTypeEnum) -> Problem:
    assert isinstance(answer.parsed, Problem), (answer.status_code, answer.content)
    assert answer.parsed.type_ is kind, answer.parsed
    met.add(kind)
    return answer.parsed


met: set[ProblemTypeEnum] = set()
client, reader = client_of(facts["key"]), client_of(facts["read_only_key"])

# The six stages have distinct names, and every answer keeps series-c and series-c+ apart.
assert len({stage.name for stage in StageEnum}) == len({stage.value for stage in StageEnum}) == 6
stages = expect(Stages, list_stages.sync_detailed(client=Client(base_url=address)))
assert [each.stage for each in stages.stages][-2:] == [StageEnum.SERIES_C, StageEnum.SERIES_C_PLUS]
listing = expect(Deprecations, deprecations.sync_detailed(client=client))
assert "series c+" in {each.spelling for each in listing.deprecated}
spellings = SpellingsRequest(["Series C", "series c+", "Seires A"])
meanings = expect(Meanings, normalize_stages.sync_detailed(client=client, body=spellings))
assert [each.stage for each in meanings.results] == [
    StageEnum.SERIES_C,
    StageEnum.SERIES_C_PLUS,
    None,
]
assert meanings.results[2].suggestions == [StageEnum.SERIES_A]

# Companies, also those without a stage, of which only some members are asked for.
assert expect(FundPage, list_funds.sync_detailed(client=client)).funds[0].id == fund
whole = expect(Companies, list_fund_companies.sync_detailed(fund, client=client)).companies
assert [each.stage for each in whole] == [StageEnum.SERIES_C, StageEnum.SERIES_C_PLUS, None]
assert whole[2].stage_status is StageStatusEnum.UNDECIDED
partly = list_fund_companies.sync_detailed(
    fund,
    client=client,
    fields=[ListFundCompaniesFieldsItem.ID, ListFundCompaniesFieldsItem.STAGE],
    updated_since=datetime.now(UTC) - timedelta(days=1),
    sort=ListFundCompaniesSort.ID_DESCENDING,
)
assert [each.to_dict() for each in expect(Companies, partly).companies] == [
    {"id": each.id, "stage": each.to_dict()["stage"]} for each in reversed(whole)
]

# A strategy: a minimal body, a dry run, a round trip, one changed member, and its end.
weights = StrategyRequestStageAllocation.from_dict({"series-c": 0.75, "series-c+": 0.25})
body = StrategyRequest(fund_id=fund, name="first", stage_allocation=weights)
dry = create_strategy.sync_detailed(client=client, body=body, prefer="handling=dry-run")
assert expect(DryRun, dry).accepted
made = expect(
    StrategyAnswer, create_strategy.sync_detailed(client=client, body=body, idempotency_key="a")
)
again = create_strategy.sync_detailed(client=client, body=body, idempotency_key="a")
assert expect(StrategyAnswer, again).id == made.id
assert [each.stage for each in made.stages] == [StageEnum.SERIES_C, StageEnum.SERIES_C_PLUS]
kept = StrategyRequestStageAllocation.from_dict(made.stage_allocation.to_dict())
sent_back = PatchedStrategyPatchRequest.from_dict({"stage_allocation": kept.to_dict()})
expect(StrategyAnswer, change_strategy.sync_detailed(made.id, client=client, body=sent_back))
renamed = PatchedStrategyPatchRequest(name="second")
changed = expect(
    StrategyAnswer, change_strategy.sync_detailed(made.id, client=client, body=renamed)
)
read = expect(StrategyAnswer, get_strategy.sync_detailed(made.id, client=client))
assert read == changed
before, after = made.to_dict(), read.to_dict()
assert {name for name in before if before[name] != after[name]} == {"name", "updated_at"}
assert expect(StrategyPage, list_strategies.sync_detailed(client=client)).strategies == [read]

# A simulation of that strategy.
assert expect(Profiles, list_profiles.sync_detailed(client=client)).recommended == "market-v2"
asked = SimulationRequest(fund, profile=ProfileEnum.MARKET_V2, strategy_id=made.id, runs=100)
simulated = expect(SimulationAnswer, simulate.sync_detailed(client=client, body=asked))
shown = get_simulation.sync_detailed(simulated.simulation_id, client=client)
assert expect(SimulationAnswer, shown) == simulated
assert simulated.stage_mix.to_dict() == {"series-c": 0.75, "series-c+": 0.25}
of_strategy = list_simulations_of_strategy.sync_detailed(made.id, client=client)
[row] = expect(SimulationPage, of_strategy).simulations
assert row.simulation_id == simulated.simulation_id

# Problems.
unknown = StrategyRequestStageAllocation.from_dict({"Seires A": 1})
refused = problem(
    create_strategy.sync_detailed(client=client, body=StrategyRequest(fund, "x", unknown)),
    ProblemTypeEnum.UNKNOWN_STAGE,
)
assert isinstance(refused.errors, list)
assert refused.errors[0].code is IssueCodeEnum.UNKNOWN_STAGE
assert refused.errors[0].suggestions == [StageEnum.SERIES_A]
percent = StrategyRequestStageAllocation.from_dict({"seed": 0.5, "series-a": 0.2})
problem(
    create_strategy.sync_detailed(client=client, body=StrategyRequest(fund, "x", percent)),
    ProblemTypeEnum.INVALID_REQUEST,
)
long = SpellingsRequest(["x" * 2_000] * 5_000)  # more than the service keeps
problem(normalize_stages.sync_detailed(client=client, body=long), ProblemTypeEnum.BODY_TOO_LARGE)
problem(list_funds.sync_detailed(client=client_of("a.b")), ProblemTypeEnum.NOT_AUTHENTICATED)
problem(create_strategy.sync_detailed(client=reader, body=body), ProblemTypeEnum.FORBIDDEN)
problem(get_strategy.sync_detailed(10**9, client=client), ProblemTypeEnum.NOT_FOUND)
other = StrategyRequest(fund_id=fund, name="other", stage_allocation=weights)
problem(
    create_strategy.sync_detailed(client=client, body=other, idempotency_key="a"),
    ProblemTypeEnum.IDEMPOTENCY_MISMATCH,
)
empty = SimulationRequest(facts["empty_fund"])
problem(simulate.sync_detailed(client=client, body=empty), ProblemTypeEnum.NOTHING_TO_SIMULATE)
item = SimulationRequestStageDistributionItem("seed", 1)
quick = SimulationRequest(fund, runs=100, stage_distribution=[item])
for _ in range(facts["simulations_a_minute"]):
    limited = simulate.sync_detailed(client=client, body=quick)
problem(limited, ProblemTypeEnum.TOO_MANY_REQUESTS)

# What a typed client does not send, and documents that no client can provoke.
http = client.get_httpx_client()
raw = {
    ProblemTypeEnum.MALFORMED_BODY: http.post(
        "/api/stages/normalize", content=b"{", headers={"Content-Type": "application/json"}
    ),
    ProblemTypeEnum.METHOD_NOT_ALLOWED: http.put("/api/funds"),
    ProblemTypeEnum.NOT_ACCEPTABLE: http.get("/api/funds", headers={"Accept": "text/csv"}),
    ProblemTypeEnum.UNSUPPORTED_MEDIA_TYPE: http.post(
        "/api/stages/normalize", content=b"a", headers={"Content-Type": "text/csv"}
    ),
}
for kind, answer in raw.items():
    assert Problem.from_dict(answer.json()).type_ is kind, answer.text
    met.add(kind)
for document in facts["other_problems"]:
    met.add(Problem.from_dict(document).type_)
assert met == set(ProblemTypeEnum), set(ProblemTypeEnum) - met

gone = delete_strategy.sync_detailed(made.id, client=client)
assert (gone.status_code, gone.content) == (HTTPStatus.NO_CONTENT, b"")
problem(delete_strategy.sync_detailed(made.id, client=client), ProblemTypeEnum.NOT_FOUND)
print("done")
