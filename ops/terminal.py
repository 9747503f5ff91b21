"""`drawn` for `normalize_stages` until it prints with `stagenorm.terminal.show`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stagenorm.terminal import WIDTH_WITHOUT_TERMINAL


def drawn(table: Table) -> str:
    """Return the table as text."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    for column in table.columns:
        column.overflow = "fold"
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
