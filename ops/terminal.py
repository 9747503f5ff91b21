"""Tables for a terminal: as wide as it is, nothing cut off; unwrapped where output goes to a file or a pipe."""

from __future__ import annotations

import argparse
from typing import Final

from rich.console import Console
from rich.table import Table

WIDE: Final = 200


def seconds(text: str) -> float:
    """Read an argument that is a time: a number above 0. Raises ArgumentTypeError, which argparse shows."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number


def drawn(table: Table) -> str:
    """Return the table as text; what its cells say is text too, brackets and all, and no markup."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    for column in table.columns:
        column.overflow = "fold"  # half a backup's name is nobody's
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
