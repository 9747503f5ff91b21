"""What `stage_mode` prints: tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import IO, Any, cast

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from normalization.instances import Instance
from normalization.rollout import Rollout
from normalization.rollout_store import Snapshot


def rollout_lines(snapshot: Snapshot, change: Any) -> Table:
    """Return the rollout as two columns; `change` is the row that made it, or None."""
    rollout = snapshot.rollout
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("mode", Text(rollout.mode, "bold"))
    table.add_row("version", str(snapshot.version))
    if rollout.enforce_percent != 100:
        table.add_row("share enforced", f"{rollout.enforce_percent.normalize():f} % of clients")
    for name, value in _lists(rollout):
        table.add_row(name, plain(value))
    if change is not None:
        table.add_row(
            "since", f"{change.created_at:%F %T} UTC, by {plain(change.actor)} ({change.source})"
        )
        table.add_row("reason", plain(change.reason))
    return table


def instance_table(instances: Iterable[Instance], version: int) -> Table:
    """Return one row for each process that reported; those behind `version` are marked."""
    table = Table(title="Instances", title_justify="left")
    for heading in ("host", "pid", "version", "mode", "age"):
        table.add_column(
            heading, justify="right" if heading in ("pid", "version", "age") else "left"
        )
    for one in instances:
        style = "yellow" if one.version < version else None
        table.add_row(
            plain(one.host),
            str(one.pid),
            str(one.version),
            one.mode,
            f"{one.age:.1f} s",
            style=style,
        )
    return table


def plain(text: str) -> str:
    """Return `text` with its control characters spelled out: an escape sequence would reach the operator's terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def show(stream: object, *parts: RenderableType) -> None:
    """Print to a command's output; plain text unless that is a terminal."""
    width = None if _is_terminal(stream) else 120
    # People typed what is shown: brackets are brackets, and no markup.
    console = Console(
        file=cast(IO[str], stream), highlight=False, markup=False, emoji=False, width=width
    )
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
        yield (
            "overrides",
            ", ".join(f"{name} → {mode}" for name, mode in sorted(rollout.overrides.items())),
        )
    if rollout.enforce_at:
        yield "enforce date announced", _moment(rollout.enforce_at)


def _moment(at: datetime) -> str:
    return at.isoformat(" ", "minutes")
