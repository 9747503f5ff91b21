"""The README's lines do what it says when they are sent as printed, in each of the three modes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests

from stagenorm.portfolio.keys import create_key
from stagenorm.portfolio.models import Fund, PortfolioCompany, PortfolioStrategy, Simulation
from tests.alert_path import figure
from tests.servers import Service, wait_until

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
CURLS = re.findall(r"^\$ (curl .*)$", README, re.MULTILINE)


def send(line: str, key: str, server: Service) -> requests.Response:
    """Send what curl would send: options -s -i, -H and -d, one address."""
    words = shlex.split(line.replace("$KEY", key))[1:]
    options = [(words[i], words[i + 1]) for i in range(len(words) - 1) if words[i] in {"-H", "-d"}]
    headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
    body = next((value for option, value in options if option == "-d"), None)
    [address] = [word for word in words if word.startswith("http")]
    address = address.replace("http://127.0.0.1:8000", server.address)
    return requests.request(
        "POST" if body else "GET", address, headers=headers, data=body, timeout=60
    )


@pytest.mark.django_db(transaction=True)
def test_the_curl_lines_do_in_each_mode_what_the_readme_says(
    granian_server: Callable[..., Service], set_mode: Callable[..., int]
) -> None:
    fund = Fund.objects.create(pk=1, name="Demonstration")
    PortfolioCompany.objects.create(fund=fund, name="x", stage="Seires A")
    key = create_key("me")[1]
    server = granian_server(env={"STAGE_MODE_TTL_SECONDS": "0.1"})
    answers: dict[str, list[requests.Response]] = {}
    for mode in ("off", "warn", "enforce"):
        if mode != "off":
            version = set_mode(mode)
            wait_until(partial(agree, server, key, version), "the mode in every worker")
        answers[mode] = [send(line, key, server) for line in CURLS]

    assert len(CURLS) == 3
    assert [answer.status_code for answer in answers["off"]] == [201, 200, 200]
    assert [answer.status_code for answer in answers["warn"]] == [201, 200, 200]
    assert [answer.status_code for answer in answers["enforce"]] == [400, 400, 400]
    assert not any("Deprecation" in answer.headers for answer in answers["off"])
    assert all("Deprecation" in answer.headers for answer in answers["warn"])
    for answer in answers["warn"]:
        [warning] = [each for each in answer.json()["warnings"] if each["code"] == "unknown_stage"]
        assert warning["suggestions"] == ["series-a"]
    for answer in answers["enforce"]:
        problem = answer.json()
        assert (problem["type"], problem["errors"][0]["received"]) == (
            "/problems/unknown-stage",
            "Seires A",
        )
    strategy = answers["off"][0].json()
    assert [(row["spelling"], row["stage"]) for row in strategy["stages"]] == [
        ("Seed Funding Round", "seed"),
        ("SERIES_A", "series-a"),
        ("Seires A", None),
    ]
    assert (PortfolioStrategy.objects.count(), Simulation.objects.count()) == (2, 2)


def agree(server: Service, key: str, version: int) -> bool:
    """Whether every worker serves that version, and ten requests in a row are checked under it."""
    address, headers = (
        f"{server.address}/api/funds/1/companies",
        {"Authorization": f"Api-Key {key}"},
    )
    answers = [requests.get(address, headers=headers, timeout=60) for _ in range(10)]
    said = all(
        f"policy={version};" in answer.headers.get("Stage-Validation", "") for answer in answers
    )
    return said and figure(server.address, "stage_mode_version") == version


def test_the_bodies_that_the_readme_prints_are_json() -> None:
    bodies = [body for line in CURLS for body in re.findall(r"-d '([^']*)'", line)]
    assert [sorted(json.loads(body)) for body in bodies] == [
        ["fund_id", "name", "stage_allocation"],
        ["fund_id", "stage_distribution"],
    ]
