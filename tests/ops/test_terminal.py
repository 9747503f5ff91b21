"""Tables on a terminal of 80 columns: nothing is cut off, and what people typed is no markup."""

import argparse
import re

import pytest
from rich.table import Table

from ops.terminal import drawn, seconds


@pytest.fixture(autouse=True)
def _terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


def cells(table: Table) -> list[str]:
    """The text of the first column, its lines joined."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", drawn(table))
    assert max(map(len, text.splitlines())) <= 80
    return [
        "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    ]


def test_a_long_name_is_wrapped_and_never_cut_off() -> None:
    name = "stagenorm-20261124T151720Z-e710a8a1.dump"
    table = Table("backup", *(f"column {number}" for number in range(6)))
    table.add_row(name, *["1234567"] * 6)
    assert cells(table) == [name]


@pytest.mark.parametrize("typed", ["[/x]", "[red]", ":smile:", "[bold]a[/bold]"])
def test_what_people_typed_is_shown_as_they_typed_it(typed: str) -> None:
    table = Table("reason")
    table.add_row(typed)
    assert cells(table) == [typed]


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "soon"])
def test_a_time_limit_is_a_number_of_seconds_above_0(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no number of seconds above 0"):
        seconds(text)
    assert seconds("0.5") == 0.5
