"""How `prune_stored` looks: a bar a table on a terminal, then a table or one JSON object on standard output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Display
from rich.table import Table

from ops.pruning import Progress, Pruned


@contextlib.contextmanager
def bar(*, quiet: bool) -> Iterator[Progress]:
    """Yield a progress callback that draws on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Display(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as display:
        tasks: dict[str, Any] = {}

        def progress(table: str, old: int, deleted: int) -> None:
            if table not in tasks:
                tasks[table] = display.add_task(table, total=old)
            display.update(tasks[table], completed=deleted)

        yield progress


def to_wire(done: list[Pruned], dry_run: bool) -> dict[str, Any]:
    """Return what became of each table, for `--json`."""
    tables = [
        {
            "table": each.table,
            "days": each.days,
            "until": each.until.isoformat() if each.until else None,
            "old": each.old,
            "deleted": each.deleted,
        }
        for each in done
    ]
    return {"dry_run": dry_run, "deleted": sum(each.deleted for each in done), "tables": tables}


def drawn(done: list[Pruned]) -> Table:
    """Return the table of what became of each table."""
    table = Table()
    for heading in ("table", "days", "older than", "rows", "deleted"):
        table.add_column(heading, justify="left" if heading == "table" else "right")
    for each in done:
        until = f"{each.until:%F %R} UTC" if each.until else ""
        table.add_row(
            each.table, str(each.days or "for ever"), until, f"{each.old:,}", f"{each.deleted:,}"
        )
    return table


def sentence(done: list[Pruned], dry_run: bool) -> str:
    """Say what was done in all."""
    if dry_run:
        return f"Would delete {sum(each.old for each in done):,} rows; nothing was touched."
    return f"Deleted {sum(each.deleted for each in done):,} rows."
