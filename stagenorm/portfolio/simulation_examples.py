"""Requests and an answer for the OpenAPI document. Tests check that they are valid."""

import json
from pathlib import Path
from typing import Any, Final

REQUEST_EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "The recommended profile": {
        "fund_id": 1,
        "profile": "market-v2",
        "stage_distribution": [
            {"stage": "seed", "weight": 0.6},
            {"stage": "series-a", "weight": 0.4},
        ],
        "commitment_usd": 100_000_000,
        "check_size": {"min": 1_000_000, "target": 2_000_000, "max": 3_000_000},
        "target_multiple": 3,
        "target_irr": 0.2,
        "include": ["path"],
        "seed": 7,
    },
    "A stored strategy, and what else it could be": {
        "fund_id": 1,
        "profile": "market-v2",
        "strategy_id": 1,
        "terms": {"management_fee": 0.025},
        "scenarios": [
            {"label": "40 companies", "portfolio_size": 40},
            {"label": "no reserve", "reserve_ratio": 0},
        ],
    },
    "The first generation": {
        "fund_id": 1,
        "stage_distribution": [{"stage": "seed", "weight": 1}],
        "seed": 7,
    },
}
# The answer to the first of them, except for the id.
ANSWER_EXAMPLE: Final[dict[str, Any]] = json.loads(
    Path(__file__).with_name("simulation_example.json").read_text("utf-8")
)
