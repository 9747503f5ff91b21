"""What `stage_mode` prints: the rollout and its instances as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from rich.table import Table

from normalization.instances import ServingProcess
from normalization.rollout import Rollout
from normalization.rollout_store import Snapshot
from stagenorm.terminal import add_row, pairs, table


def rollout_lines(snapshot: Snapshot, change: Any) -> Table:
    """Return the rollout as two columns; `change` is the row that made it, or None."""
    return pairs(_members(snapshot, change))


def instance_table(instances: Iterable[ServingProcess], version: int) -> Table:
    """Return one row for each process; those behind `version`, or silent, are yellow."""
    names = ("host", "pid", "version", "mode", "age", "guard", "clock")
    found = table(*names, title="Instances", numbers=("pid", "version", "age", "clock"))
    for one in instances:
        style = "yellow" if one.version < version or one.silent else None
        cells = (one.host, str(one.pid), str(one.version), one.mode, f"{one.age:.1f} s")
        add_row(found, *cells, guard_in_words(one), f"{one.skew:+.1f} s", style=style)
    return found


def guard_in_words(one: ServingProcess) -> str:
    """Return whether the guard of a process ticks."""
    if one.guard == "off":
        return "off"
    if one.guard_age is None:
        return "not yet"
    ticks = f"ticked {one.guard_age:.0f} s ago"
    return ticks if one.guard == "act" else f"{ticks}, {one.guard} only"


def _members(snapshot: Snapshot, change: Any) -> Iterator[tuple[str, str]]:
    rollout = snapshot.rollout
    yield "mode", rollout.mode
    yield "version", str(snapshot.version)
    if rollout.enforce_percent != 100:
        yield "share enforced", f"{rollout.enforce_percent.normalize():f} % of clients"
    yield from _lists(rollout)
    if change is not None:
        yield "since", f"{change.created_at:%F %T} UTC, by {change.actor} ({change.source})"
        yield "reason", change.reason


def _lists(rollout: Rollout) -> Iterator[tuple[str, str]]:
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
