"""What `stage_mode` and `rollout_status` print: the rollout, its instances and its plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from rich.table import Table

from normalization.instances import ServingProcess
from normalization.rollout import Mode, Rollout
from normalization.rollout_plan import PlanStep, spoken
from normalization.rollout_steps import StepStanding
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


def mode_in_words(rollout: Rollout) -> str:
    """Return the mode, with the share where not every client is enforced."""
    if rollout.mode is not Mode.ENFORCE or rollout.enforce_percent == 100:
        return str(rollout.mode)
    return f"{rollout.mode} for {rollout.enforce_percent.normalize():f} % of the clients"


def plan_table(found: StepStanding) -> Table:
    """Return the steps of the plan: which one is in force, for how long, and which is next."""
    numbers = ("least requests", "requests")
    names = ("step", "state", "least time", "least requests", "time", "requests")
    drawn = table(*names, title="Plan", numbers=numbers)
    for step in found.plan.steps:
        style = "bold" if step == found.current else None
        least = spoken(step.least_seconds) if step.least_seconds else "none"
        add_row(
            drawn, step.name, _state(found, step), least, step.least_requests or "none",
            *_so_far(found, step), style=style,
        )  # fmt: skip
    return drawn


def plan_members(found: StepStanding) -> dict[str, Any]:
    """Return the plan as JSON: its steps, the one in force with its run, and the next one."""
    run = found.run
    return {
        "plan": [{**step.to_wire(), "state": _state(found, step)} for step in found.plan.steps],
        "step": found.current.name if found.current else None,
        "since": run.since.isoformat() if run and run.since else None,
        "seconds": round(run.seconds, 1) if run else None,
        "requests": run.requests if run else None,
        "next_step": found.next.name if found.next else None,
        "step_proven": found.verdict.to_wire() if found.verdict else None,
    }


def _state(found: StepStanding, step: PlanStep) -> str:
    if step == found.current:
        return "here"
    if step == found.next:
        return "next"
    here = found.current
    return "done" if here is not None and step.rank < here.rank else "later"


def _so_far(found: StepStanding, step: PlanStep) -> tuple[str, str]:
    run = found.run
    if step != found.current or run is None:
        return "", ""
    reached = step.least_requests and run.requests >= step.least_requests
    return spoken(run.seconds), f"{run.requests:,}{' or more' if reached else ''}"


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
