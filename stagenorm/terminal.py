"""Output of the management commands: tables, one progress bar, JSON, and the types of arguments.

Every command prints through this module, so that all of them look and behave alike. A table is as
wide as the terminal and wraps long cells; nothing is cut off. Output to a pipe or a file is plain
text. Text that people typed is shown as they typed it: rich's markup is off, and control
characters are spelled out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final, Protocol, TextIO, cast

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_TERMINAL: Final = 200
SPEED_OVER_SECONDS: Final = 30.0  # the rate and the time left come from the last half minute

Cell = str | int | Iterable[str]


def table(
    *headings: str, title: str = "", numbers: Collection[str] = (), ruled: bool = False
) -> Table:
    """Return an empty table; fill it with `add_row`.

    Columns named in `numbers` are right-aligned. `ruled` draws a line between rows, for rows of
    several lines.
    """
    made = Table(title=title or None, title_justify="left", show_lines=ruled)
    for heading in headings:
        justify = "right" if heading in numbers else "left"
        made.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return made


def add_row(to: Table, *cells: Cell, style: str | None = None) -> None:
    """Add a row to a table.

    An `int` gets thousands separators; several strings are lines of one cell.
    """
    to.add_row(*map(_cell, cells), style=style)


def pairs(members: Iterable[tuple[str, str]]) -> Table:
    """Return names and values as two columns without borders."""
    made = Table.grid(padding=(0, 2))
    made.add_column()
    made.add_column(overflow="fold")
    for name, value in members:
        made.add_row(name, Text(plain(value)))
    return made


def plain(text: str) -> str:
    """Return `text` with its control characters spelled out, so that none reaches the terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def show(stream: object, *parts: RenderableType) -> None:
    """Print tables or text to a command's output, for example `show(self.stdout, rows)`."""
    console = Console(file=cast(IO[str], stream), markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    for part in parts:
        console.print(part)


def show_json(stream: TextIO | Any, members: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    stream.write(json.dumps(members) + "\n")


class ReportProgress(Protocol):
    """What a long operation calls as it proceeds.

    `task` names the step, `done` and `total` count its bytes or rows; `total` is None when it is
    unknown. `note` is one remark, such as what the step waits for.
    """

    def __call__(self, task: str, done: int, total: int | None = None, /, note: str = "") -> None:
        """Report how far the step is."""


def no_progress(task: str, done: int, total: int | None = None, /, note: str = "") -> None:
    """Report nothing: the default of operations that take a `ReportProgress`."""


@contextmanager
def progress_bar(
    unit: str, *, stream: TextIO | None = None, quiet: bool = False
) -> Iterator[ReportProgress]:
    """Yield the callback that draws a progress bar for each task; the bars vanish at the end.

    `unit` is "bytes" or the plural of what is counted, such as "rows". The bars go to `stream`,
    standard error by default. Without a terminal, or with `quiet`, nothing is drawn.
    """
    console = Console(file=stream or sys.stderr, markup=False, emoji=False, highlight=False)
    if quiet or not console.is_terminal:
        yield no_progress
        return
    display = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        *_amounts(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="yellow", markup=False),
        console=console,
        transient=True,
        speed_estimate_period=SPEED_OVER_SECONDS,
    )
    with display:
        yield _Bars(display)


def seconds(text: str) -> float:
    """Read an argument that is a number of seconds above 0. Raises ArgumentTypeError."""
    return _positive(text, "a number of seconds above 0")


def positive_number(text: str) -> float:
    """Read an argument that is a finite number above 0. Raises ArgumentTypeError."""
    return _positive(text, "a number above 0")


def whole_number(least: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number of at least `least`."""

    def whole(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return number

    return whole


def _positive(text: str, wanted: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return number


def _cell(cell: Cell) -> Text:
    if isinstance(cell, int):
        return Text(f"{cell:,}")
    lines = [cell] if isinstance(cell, str) else cell
    return Text("\n".join(map(plain, lines)))


def _amounts(unit: str) -> tuple[ProgressColumn, ...]:
    if unit == "bytes":
        return DownloadColumn(), TransferSpeedColumn()
    return _Counted(), _Rate(unit)


class _Counted(ProgressColumn):
    """How many of how many."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else f"{task.total:,.0f}"
        return Text(f"{task.completed:,.0f} of {total}")


class _Rate(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        super().__init__()

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self.unit}/s")


class _Bars:
    """One bar for each task, added when the task first reports."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, task: str, done: int, total: int | None = None, /, note: str = "") -> None:
        if task not in self._tasks:
            # A task that resumes starts where it stopped: those rows do not belong to its speed.
            self._tasks[task] = self._display.add_task(
                task, total=total, completed=done, note=note
            )
        self._display.update(self._tasks[task], completed=done, total=total, note=note)
