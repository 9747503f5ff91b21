"""Tables for a terminal: as wide as it is, and unwrapped where output goes to a file or a pipe."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table

WIDE: Final = 200


def drawn(table: Table) -> str:
    """Return the table as text."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
