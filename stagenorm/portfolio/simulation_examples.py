"""Requests and an answer for the OpenAPI document; a test holds that the requests give such answers."""

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
        "include": ["path"],
    },
    "A stored strategy, compared with a larger portfolio": {
        "fund_id": 1,
        "profile": "market-v2",
        "strategy_id": 1,
        "target_multiple": 3,
        "scenarios": [{"label": "40 companies", "portfolio_size": 40}],
    },
    "The first generation": {
        "fund_id": 1,
        "stage_distribution": [{"stage": "seed", "weight": 1}],
        "seed": 7,
    },
}
ANSWER_EXAMPLE: Final[dict[str, Any]] = {}
