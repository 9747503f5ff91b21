"""`manage.py stage_clients` prints what the page of clients shows."""

import json
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from normalization.rollout import enters_at
from stagenorm.portfolio.keys import create_key
from tests.observed import DAY, break_table, counted, used

pytestmark = pytest.mark.django_db


def shown(*options: str) -> str:
    out = StringIO()
    call_command("stage_clients", *options, stdout=out)
    return out.getvalue()


def test_the_table_has_every_client_those_refused_most_first(set_mode: Callable[..., int]) -> None:
    set_mode("enforce", pilots=frozenset({"[red]desk[/red]"}))
    # A name that rich would read as markup.
    counted("canonical", 996, client="[red]desk[/red]")
    counted("rejected", 4, client="[red]desk[/red]", mode="enforce")
    counted("normalized", 7, client="portal")
    create_key("silent")
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in shown().splitlines()
        if "│" in line
    ]
    assert lines[0][:9] == [
        "[red]desk[/red]",
        "1,000",
        "996",
        "0",
        "0",
        "0",
        "4",
        "0.40 %",
        "enforced now (pilot)",
    ]
    assert lines[1][:8] == ["portal", "7", "0", "7", "0", "0", "0", "none"]
    assert (lines[2][0], lines[2][9]) == ("silent", "no request")
    assert (
        "In the last 7 days: 1 of 2 clients would be refused: 4 of 1,007 requests (0.40 %)."
        in shown()
    )
    assert "1 hold a key and sent nothing" in shown()


def test_json_has_the_same_figures() -> None:
    counted("unknown", 1, client="desk")
    counted("unknown", 2, client="desk", minutes=2 * DAY)
    used("desk/1", "desk", minutes=5)
    used("desk/2", "desk")
    answer = json.loads(shown("--json", "--window", "24h"))
    (client,) = answer.pop("listed")
    assert answer == {"window": "24h", "mode": "off", "clients": 1}
    assert client.pop("last_seen").endswith("+00:00")
    at = enters_at("desk")
    assert client == {
        "client": "desk",
        "requests": 1,
        "canonical": 0,
        "normalized": 0,
        "outside": 0,
        "unknown": 1,
        "rejected": 0,
        "refusable": 1,
        "holds_key": False,
        "bucket": at * 100 - 1,
        "enters_at_percent": f"{at.normalize():f}",
        "pilot": False,
        "holdout": False,
        "enforced_at": [],
        "user_agents": ["desk/2", "desk/1"],
    }
    assert json.loads(shown("--json"))["listed"][0]["requests"] == 3


def test_a_limit_shows_how_many_clients_are_left_out() -> None:
    for number in range(3):
        counted("canonical", 1, client=f"client-{number}")
    assert "1 more are not listed" in shown("--limit", "2")
    with pytest.raises(CommandError, match="at least 1"):
        shown("--limit", "0")


def test_tallies_that_cannot_be_read_are_an_error() -> None:
    break_table("normalization_outcometally")
    with pytest.raises(CommandError, match="could not be read"):
        shown()
