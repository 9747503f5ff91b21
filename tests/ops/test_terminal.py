"""Output of commands: tables that cut nothing off, the progress bar, JSON, types of arguments."""

import argparse
import io
import json
import re
from collections.abc import Callable

import pytest
from rich.table import Table

from stagenorm.terminal import (
    add_row,
    pairs,
    positive_number,
    progress_bar,
    seconds,
    show,
    show_json,
    table,
    whole_number,
)

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def _terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


def printed(*parts: Table | str) -> str:
    out = io.StringIO()
    show(out, *parts)
    return out.getvalue()


def first_cells(drawn: Table) -> list[str]:
    """The text of the first column, its lines joined."""
    text = ESCAPES.sub("", printed(drawn))
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    return ["".join(lines)]


@pytest.mark.usefixtures("_terminal_of_80_columns")
def test_a_long_name_is_wrapped_and_never_cut_off() -> None:
    name = "stagenorm-20261124T151720Z-e710a8a1.dump"
    drawn = table("backup", *(f"column {number}" for number in range(6)))
    add_row(drawn, name, *["1234567"] * 6)
    assert first_cells(drawn) == [name]


@pytest.mark.usefixtures("_terminal_of_80_columns")
@pytest.mark.parametrize("typed", ["[/x]", "[red]", ":smile:", "[bold]a[/bold]"])
def test_typed_text_is_shown_as_it_was_typed(typed: str) -> None:
    drawn = table("reason")
    add_row(drawn, typed)
    assert first_cells(drawn) == [typed]
    assert typed in printed(pairs([("reason", typed)]))


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("two\nlines", r"two\nlines"),
        ("\u202edesrever", r"\u202e"),
    ],
)
def test_control_characters_are_spelled_out(typed: str, shown: str) -> None:
    drawn = table("client")
    add_row(drawn, typed)
    assert shown in printed(drawn)
    assert shown in printed(pairs([("client", typed)]))


def test_a_pipe_gets_plain_text_that_is_not_wrapped_at_80_columns() -> None:
    drawn = table("name", "rows", "notes", title="Rows", numbers=("rows",))
    add_row(drawn, "x" * 100, 1234567, ["first", "second"], style="yellow")
    text = printed(drawn)
    assert "\x1b" not in text
    row, following = (line for line in text.splitlines() if line.startswith("│"))
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["x" * 100, "1,234,567", "first"]
    assert following.split("│")[3].strip() == "second"


def test_json_is_one_object_on_one_line() -> None:
    out = io.StringIO()
    show_json(out, {"stage": "séries\n"})
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue()) == {"stage": "séries\n"}


@pytest.mark.usefixtures("_terminal_of_80_columns")
@pytest.mark.parametrize(
    ("unit", "expected"), [("rows", "500 of 2,000"), ("bytes", "500/2,000 bytes")]
)
def test_a_terminal_shows_a_bar_for_each_task(unit: str, expected: str) -> None:
    out = io.StringIO()
    with progress_bar(unit, stream=out) as report:
        report("companies", 0, 2000)
        report("companies", 500, 2000, note="waits for a [lock]")
        report("strategies", 7)
    last = ESCAPES.sub("", out.getvalue()).replace("0.5/2.0 kB", "500/2,000 bytes")
    assert "companies" in last
    assert "strategies" in last
    assert expected in last
    assert "waits for a [lock]" in re.sub(r"\s+", " ", last)


@pytest.mark.parametrize("quiet", [False, True])
def test_nothing_is_drawn_without_a_terminal_or_when_it_is_to_be_quiet(
    monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    if quiet:
        monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    with progress_bar("rows", stream=out, quiet=quiet) as report:
        report("companies", 500, 2000)
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        *((seconds, text, "a number of seconds above 0") for text in ("0", "-3", "nan", "soon")),
        *((positive_number, text, "a number above 0") for text in ("0", "-1", "inf", "")),
        (whole_number(0), "-1", "a whole number of at least 0"),
        (whole_number(1), "0", "a whole number of at least 1"),
        (whole_number(1), "1.5", "a whole number of at least 1"),
    ],
)
def test_an_argument_out_of_range_is_refused(
    read: Callable[[str], float], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{text!r} is not {message}$"):
        read(text)


def test_an_argument_in_range_is_read() -> None:
    assert seconds("0.5") == 0.5
    assert positive_number("3") == 3.0
    assert whole_number(0)("0") == 0
