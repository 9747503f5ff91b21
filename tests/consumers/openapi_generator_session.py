"""A session with the Python client of openapi-generator: it loses no stage, member or problem.

Usage: openapi_generator_session.py ADDRESS FACTS, with `openapi_client` on the path.
"""

import json
import sys
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
strategies, fund = api.StrategiesApi(client), facts["fund"]

assert len({stage.name for stage in api.StageEnum}) == 6
listed = api.CompaniesApi(client).list_fund_companies(fund, fields=["id", "stage"]).companies
assert [each.stage for each in listed] == ["series-c", "series-c+", None]
weights = {"series-c": 0.75, "series-c+": 0.25}
body = api.StrategyRequest(fund_id=fund, name="first", stage_allocation=weights)
made = strategies.create_strategy(body)
assert [each.stage for each in made.stages] == ["series-c", "series-c+"]
changed = strategies.change_strategy(
    made.id, patched_strategy_patch_request=api.PatchedStrategyPatchRequest(name="second")
)
before, after = made.to_dict(), changed.to_dict()
assert {name for name in before if before[name] != after[name]} == {"name", "updated_at"}
assert strategies.get_strategy(made.id).to_dict() == after
try:
    strategies.create_strategy(
        api.StrategyRequest(fund_id=fund, name="x", stage_allocation={"Seires A": 1})
    )
except api.ApiException as error:
    refused = error
else:
    raise AssertionError("not refused")
problem = api.Problem.from_json(refused.body)
assert (refused.status, problem.type) == (400, "/problems/unknown-stage")
assert problem.errors[0].suggestions == [api.StageEnum.SERIES_A]
assert strategies.delete_strategy_with_http_info(made.id).status_code == 204
print("done")
