"""What `stage_mode` prints: tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import IO, Any, cast

from rich.console import Console, RenderableType
from rich.table import Table

from normalization.instances import Instance
from normalization.rollout import Rollout
from normalization.rollout_store import Snapshot


def rollout_lines(snapshot: Snapshot, change: Any) -> Table:
    """Return the rollout as two columns; `change` is the row that made it, or None."""
    rollout = snapshot.rollout
    table = Table.grid(padding=(0, 2))
    table.add_row("mode", f"[bold]{rollout.mode}[/bold]")
    table.add_row("version", str(snapshot.version))
    if rollout.enforce_percent != 100:
        table.add_row("share enforced", f"{rollout.enforce_percent.normalize():f} % of clients")
    for name, value in _lists(rollout):
        table.add_row(name, value)
    if change is not None:
        table.add_row("since", f"{change.created_at:%F %T} UTC, by {change.actor} ({change.source})")
        table.add_row("reason", change.reason)
    return table


def instance_table(instances: Iterable[Instance], version: int) -> Table:
    """Return one row for each process that reported; those behind `version` are marked."""
    table = Table(title="Instances", title_justify="left")
    for heading in ("host", "pid", "version", "mode", "age"):
        table.add_column(heading, justify="right" if heading in ("pid", "version", "age") else "left")
    for one in instances:
        style = "yellow" if one.version < version else None
        table.add_row(one.host, str(one.pid), str(one.version), one.mode, f"{one.age:.1f} s", style=style)
    return table


def show(stream: object, *parts: RenderableType) -> None:
    """Print to a command's output; plain text unless that is a terminal."""
    console = Console(file=cast(IO[str], stream), highlight=False, width=None if _is_terminal(stream) else 120)
    for part in parts:
        console.print(part)


def _is_terminal(stream: object) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _lists(rollout: Rollout) -> Iterable[tuple[str, str]]:
    if rollout.pilots:
        yield "pilots", ", ".join(sorted(rollout.pilots))
    if rollout.holdouts:
        yield "holdouts", ", ".join(sorted(rollout.holdouts))
    if rollout.overrides:
        yield "overrides", ", ".join(f"{name} → {mode}" for name, mode in sorted(rollout.overrides.items()))
    if rollout.enforce_at:
        yield "enforce date announced", _moment(rollout.enforce_at)


def _moment(at: datetime) -> str:
    return at.isoformat(" ", "minutes")
