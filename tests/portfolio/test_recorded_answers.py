"""Every operation answers, logs and counts as recorded, byte for byte but for ids and times.

The recording in tests/data/recorded_answers.json is of the code before requests were made cheaper.
If an answer changes on purpose, record it anew and review the difference:

    RECORD_ANSWERS=1 .venv/bin/python -m pytest tests/portfolio/test_recorded_answers.py -n0
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from prometheus_client import REGISTRY

from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund, PortfolioCompany
from tests.logs import Logged

FILE = Path(__file__).parents[1] / "data" / "recorded_answers.json"
FUND = 9001
LISTED = f"/api/funds/{FUND}/companies"
SIMULATE = "/api/monte-carlo/simulate"
STRATEGIES = "/api/portfolio/strategies"
MODE = "/_ops/stage-validation/mode"
JSON = "application/json"
# Text that renderers and loggers escape in different ways.
NAMES = ['Zoë "Ω" \\ Labs', "line\u2028para\u2029sep", "tab\tnul\x01del\x7f", "😀 </script>&amp;"]
RAWS = ["seed", "Seed Round", "Series C+", "Seires A", "Angel\n"]
WEIGHTS = {"Seed Round": 0.1, "series-a": 1e-7, "series-b": 0.8999999}
CREATED = datetime(2025, 3, 4, 5, 6, 7, 80_900, tzinfo=UTC)
# Bodies that depend on the rest of the code or on the moment: only status, headers and log count.
BODIES_LEFT_OUT = ("/metrics", "/api/schema", "/api/monte-carlo/profiles", "/admin/login/")
MASKED = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "<time>"),
    (r'("next_cursor":\s*)"[^"]*"', r'\1"<cursor>"'),
    (r'("(id|fund_id|strategy_id)":\s*)\d+', r"\1<number>"),
    # The version of the rollout is an id too: other tests have advanced its sequence.
    (r'(policy=|"(policy_version|version)":\s*)[1-9]\d*', r"\g<1>1"),
    (r"/strategies/\d+", "/strategies/<number>"),
    (r"nonce(-|=\")[\w+/=]+", r"nonce\1<nonce>"),
    (r"csrftoken=\w+", "csrftoken=<token>"),
    (r"expires=[^;]+", "expires=<time>"),
    (r"\w{3}, \d\d \w{3} 20\d\d \d\d:\d\d:\d\d GMT", "<time>"),
    # A test that ran before may have collected the static files; their names have a hash then.
    (r"(/static/[\w/.-]+?)\.[0-9a-f]{12}(\.\w+)", r"\1\2"),
    (r'("duration_ms":\s*)[\d.]+', r"\1<number>"),
]


def requests(strategy: Callable[[], int]) -> Iterator[tuple[str, str, str, Any, dict[str, str]]]:
    """Yield (key, method, path, body, headers): every operation, served and refused."""
    yield from _reading()
    for mode in ("off", "warn", "enforce"):
        yield "", "MODE", mode, None, {}
        yield from _with_stages(mode)
    made = f"{STRATEGIES}/{strategy()}"
    changes = {"name": "Später", "stage_allocation": {"seed": 1}}
    yield "web", "GET", made, None, {}
    yield "web", "PATCH", made, changes, {}
    yield "web", "PATCH", made, {"nme": 1}, {}
    yield "web", "GET", f"{made}/simulations", None, {}
    yield "web", "GET", STRATEGIES, None, {}
    yield "web", "GET", f"{STRATEGIES}?limit=0", None, {}
    yield "web", "DELETE", made, None, {}
    yield "web", "GET", made, None, {}


def _reading() -> Iterator[tuple[str, str, str, Any, dict[str, str]]]:
    for path in ("/healthz", "/readyz", "/metrics", "/api/schema", "/api/docs", "/", "/nowhere"):
        yield "", "GET", path, None, {}
    for path in ("/problems/unknown-stage", "/problems/none", "/admin/", "/admin/login/"):
        yield "", "GET", path, None, {}
    yield "", "POST", "/healthz", None, {}
    yield "", "POST", "/admin/login/", {}, {}
    page = {"Accept": "text/html"}
    for key, headers in (("", {}), ("", page), ("web", {}), ("", {"Accept": "application/xml"})):
        yield key, "GET", "/api/deprecations", None, headers
    yield "", "OPTIONS", "/api/deprecations", None, page
    yield "", "HEAD", "/api/deprecations", None, {}
    yield "web", "GET", "/api/monte-carlo/profiles", None, {}
    yield "web", "OPTIONS", LISTED, None, {}
    yield "web", "HEAD", LISTED, None, {}
    yield "", "GET", LISTED, None, {}
    yield "web", "GET", f"{LISTED}/", None, {}
    for scheme in ("Bearer x", "Api-Key x", "Api-Key aaaaaaaa.bbbbbbbb"):
        yield "", "GET", LISTED, None, {"Authorization": scheme}
    yield "other", "GET", LISTED, None, {}
    yield "web", "GET", "/api/funds/999999/companies", None, {}
    for query in ("sort=-name", "limit=2", "limit=0", "q=zo%C3%AB", "sector=%E2%82%AC", "x=1"):
        yield "web", "GET", f"{LISTED}?{query}", None, {}
    yield "web", "GET", LISTED, None, {"Accept": "application/json; indent=2"}
    yield "", "GET", MODE, None, {}
    yield "web", "GET", MODE, None, {}
    yield "operator", "GET", MODE, None, {}
    yield "operator", "PUT", MODE, {"mode": "warn", "reason": "x"}, {}
    yield "", "POST", "/_ops/stage-validation/auto-downgrade", {}, {}
    yield "", "GET", "/_ops/stage-validation/heartbeat", None, {}


def _with_stages(mode: str) -> Iterator[tuple[str, str, str, Any, dict[str, str]]]:
    for stage in ("seed", "Seed+Round", "Seires+A"):
        yield "web", "GET", f"{LISTED}?stage={stage}&sort=name", None, {}
    yield "web", "GET", f"{LISTED}?stage=Angel", None, {"Prefer": "stage-validation=enforce"}
    mix = [{"stage": stage, "weight": 0.5} for stage in ("Seed Round", "series-a")]
    simulation = {"fund_id": FUND, "runs": 200, "seed": 7, "stage_distribution": mix}
    strategy = {"fund_id": FUND, "name": NAMES[0] + mode, "stage_allocation": WEIGHTS}
    yield "web", "POST", SIMULATE, simulation, {}
    unknown = [{"stage": "Seires A", "weight": 1}]
    yield "web", "POST", SIMULATE, {**simulation, "stage_distribution": unknown}, {}
    yield "reader", "POST", SIMULATE, simulation, {}
    yield "web", "POST", SIMULATE, {"runs": "x", "what": NAMES[1]}, {}
    once = {"Idempotency-Key": f"once-{mode}"}
    yield "web", "POST", STRATEGIES, strategy, once
    yield "web", "POST", STRATEGIES, strategy, once
    yield "web", "POST", STRATEGIES, {**strategy, "name": "else"}, once
    yield "web", "POST", STRATEGIES, {**strategy, "stage_allocation": {"Seires A": 1}}, {}
    yield "web", "POST", STRATEGIES, strategy, {"Prefer": "handling=dry-run"}
    yield "web", "POST", STRATEGIES, b'{"a": NaN}', {}
    yield "web", "POST", STRATEGIES, b"{}", {"Content-Type": "text/plain"}
    yield "web", "DELETE", STRATEGIES, None, {}


@pytest.mark.django_db(transaction=True)
def test_every_operation_answers_logs_and_counts_as_recorded(
    settings: Any, set_mode: Callable[..., int], logged: Logged
) -> None:
    settings.SIMULATE_THROTTLE = ""
    cache.clear()
    keys = _stored()
    client = Client(raise_request_exception=False)
    client.get("/nowhere")  # loads the URL configuration
    logged.take()
    recorded: list[dict[str, Any]] = []
    before = _counters()
    for key, method, path, body, headers in requests(_newest_strategy):
        if method == "MODE":
            set_mode(path)
            logged.take()
            continue
        if key:
            headers = {**headers, "Authorization": f"Api-Key {keys[key]}"}
        sent = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        kind = headers.pop("Content-Type", JSON)
        answer = client.generic(method, path, sent, kind, headers=headers)
        recorded.append(
            {"request": _masked(f"{key} {method} {path}"), **_answered(answer, path, logged)}
        )
    counted = {
        name: count - before.get(name, 0)
        for name, count in sorted(_counters().items())
        if count != before.get(name, 0)
    }
    _compare({"answers": recorded, "counted": counted})


def _compare(found: dict[str, Any]) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=True) + "\n"
    if os.environ.get("RECORD_ANSWERS") == "1":
        FILE.write_text(text, "utf-8")
    recorded = json.loads(FILE.read_text("utf-8"))
    for one, other in zip(found["answers"], recorded["answers"], strict=True):
        assert one == other
    assert found["counted"] == recorded["counted"]


def _stored() -> dict[str, str]:
    """Store a fund with companies; return the text of each key by its client's name."""
    fund = Fund.objects.create(pk=FUND, name="Alder Ventures")
    Fund.objects.create(pk=FUND + 1, name="Birch")
    for number, raw in enumerate(RAWS):
        PortfolioCompany.objects.create(
            pk=FUND + number,
            fund=fund,
            name=NAMES[number % len(NAMES)] + str(number),
            stage=raw,
            sector="€" if number % 2 else "",
            invested_usd=None if number == 3 else f"{10**number}.{number}5",
            invested_at=None if number == 2 else date(2024, 1, 1 + number),
        )
    PortfolioCompany.objects.update(created_at=CREATED, updated_at=CREATED)
    return {
        "web": create_key("web")[1],
        "other": create_key("other", funds=[FUND + 1])[1],
        "reader": create_key("reader", read_only=True)[1],
        "operator": create_key("operator", operator=True)[1],
    }


def _newest_strategy() -> int:
    from stagenorm.portfolio.models import PortfolioStrategy

    return PortfolioStrategy.objects.latest("pk").pk


def _answered(answer: Any, path: str, logged: Logged) -> dict[str, Any]:
    content = answer.content
    headers: dict[str, Any] = {name: _masked(value) for name, value in sorted(answer.items())}
    # Django-CSP writes the directives in any order.
    headers["Content-Security-Policy"] = sorted(headers["Content-Security-Policy"].split("; "))
    length = answer.get("Content-Length")
    assert length is None or answer.wsgi_request.method == "HEAD" or int(length) == len(content)
    left_out = path.startswith(BODIES_LEFT_OUT)
    return {
        "status": answer.status_code,
        "headers": {k: v for k, v in headers.items() if k not in ("Content-Length", "ETag")},
        "cookies": [_masked(str(cookie)) for cookie in answer.cookies.values()],
        "body": "" if left_out else _masked(content.decode()),
        "log": list(_records(logged.take())),
    }


def _records(lines: str) -> Iterator[dict[str, Any]]:
    """Yield the records, members sorted: their order follows the addresses of context variables.

    Records of a sample depend on what the process logged before.
    """
    for line in lines.splitlines():
        record = json.loads(_masked(line))
        if "sampling_rate" not in record:
            yield dict(sorted(record.items()))


def _masked(text: str) -> str:
    for pattern, replacement in MASKED:
        text = re.sub(pattern, replacement, text)
    return text


def _counters() -> dict[str, float]:
    """Return the samples of every counter, and the number of observations of each histogram."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for metric in REGISTRY.collect()
        if metric.name.startswith(("django_http", "stage_validation"))
        for sample in metric.samples
        if sample.name.endswith(("_total", "_count"))
    }
