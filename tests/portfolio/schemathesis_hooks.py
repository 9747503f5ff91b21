"""Rules of the API that JSON Schema cannot express, for schemathesis (`SCHEMATHESIS_HOOKS`).

schemathesis generates requests that fit the schema, and expects the service to accept them. Some
rules relate members to each other, to earlier answers or to stored data. `fit` changes a generated
request so that it keeps the common ones; accepted requests are tested then, too. `keep_failure`
drops the failure of a request that was refused only for the rules of `CODES` or `TYPES`.
"""

from __future__ import annotations

import json
from typing import Any

import schemathesis

# Code of an item → why the schema does not have the rule.
CODES = {
    "ambiguous_plus": "It is about the encoded text of the address.",
    "duplicate_stage": "A list cannot demand that one member of its items is unique.",
    "duplicate_label": "A list cannot demand that one member of its items is unique.",
    "out_of_order": "A PATCH is compared with what is stored.",
    "too_many_companies": "A schema cannot multiply.",
    "nothing_to_invest": "A schema cannot multiply.",
    "no_first_cheque": "A schema cannot divide.",
    "needs_fund_profile": "A scenario is compared with the whole request.",
    # Of mode enforce. Decisions about spellings are data.
    "unknown_stage": "The known spellings are data.",
    "more_unknown_stages": "The known spellings are data.",
}
# Type of a problem without items → why the schema does not have the rule.
TYPES = {
    "/problems/idempotency-mismatch": "It is about an earlier request.",
    "/problems/nothing-to-simulate": "It is about the stored companies.",
}
PORTFOLIO_SIZES = ("target_portfolio_size", "max_portfolio_size")
CHECK_SIZES = ("min", "target", "max")
# Members of a simulation that need a profile of the second generation.
OF_FUND_PROFILE = {
    *("strategy_id", "commitment_usd", "mix_basis", "reserve_ratio", "deployment_months"),
    *("check_size", "target_multiple", "target_irr", "terms", "factor_sigma"),
    *("include", "scenarios"),
}

_cursors: dict[str, str] = {}


@schemathesis.hook("before_call")
def fit(context: Any, case: Any, kwargs: Any) -> None:
    """Change a request that fits the schema: weights sum to 1, sizes are in order, a cursor is
    one of an earlier answer, and a simulation has a stage that is known.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict):
        case.body = _fitted(case.body)
        if case.operation.path.endswith("/simulate") and OF_FUND_PROFILE & case.body.keys():
            case.body["profile"] = "market-v2"
    if "cursor" in (case.query or {}):
        query = {name: value for name, value in case.query.items() if name != "cursor"}
        known = _cursors.get(_list_of(case))
        case.query = query if known is None else {**query, "cursor": known}


@schemathesis.hook("after_call")
def remember_cursor(context: Any, case: Any, response: Any) -> None:
    """Keep the cursor of the next page of this list."""
    body = json.loads(response.content) if response.status_code == 200 else None
    if isinstance(body, dict) and body.get("next_cursor"):
        _cursors[_list_of(case)] = body["next_cursor"]


def _list_of(case: Any) -> str:
    filters = {k: v for k, v in (case.query or {}).items() if k not in ("cursor", "limit")}
    return json.dumps([case.operation.path, case.path_parameters, filters], default=str)


def _fitted(body: dict[str, Any]) -> dict[str, Any]:
    fitted = dict(body)
    if "stage_allocation" in body:
        fitted["stage_allocation"] = _shares(body["stage_allocation"])
    if sum(body.get("sector_allocation", {}).values()) > 1:
        fitted["sector_allocation"] = _shares(body["sector_allocation"])
    if "stage_distribution" in body:
        items = body["stage_distribution"]
        weights = _shares({i: item["weight"] for i, item in enumerate(items)})
        fitted["stage_distribution"] = [
            {**item, "weight": weights[i]} for i, item in enumerate(items)
        ]
        fitted["stage_distribution"][0]["stage"] = "Seed"
    if "scenarios" in body:
        fitted["scenarios"] = [_fitted(scenario) for scenario in body["scenarios"]]
    if isinstance(body.get("check_size"), dict):
        fitted["check_size"] = body["check_size"] | _ordered(body["check_size"], *CHECK_SIZES)
    return fitted | _ordered(body, *PORTFOLIO_SIZES)


def _shares(weights: dict[Any, float]) -> dict[Any, float]:
    total = sum(weights.values())
    if total == 0:
        return {name: 1 / len(weights) for name in weights}
    return {name: weight / total for name, weight in weights.items()}


def _ordered(body: dict[str, Any], *names: str) -> dict[str, Any]:
    given = [name for name in names if body.get(name) is not None]
    return dict(zip(given, sorted(body[name] for name in given), strict=True))


@schemathesis.hook("filter_failure")
def keep_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Return whether it is a failure, not a refusal by one of the rules above."""
    if "positive_data_acceptance" not in failure.checks:
        return True
    problem = json.loads(response.content)
    codes = {item["code"] for item in problem.get("errors", ())}
    by_items = bool(codes) and codes <= CODES.keys()
    return not by_items and problem["type"] not in TYPES
