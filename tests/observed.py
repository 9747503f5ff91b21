"""Rows that requests leave in the database, as the consumer audit writes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from normalization import rollout_steps
from normalization.models import ClientAgent, ObservedSpelling, OutcomeTally, ServingInstance
from normalization.rollout import Rollout
from normalization.rollout_plan import RolloutPlan, parse_step
from normalization.rollout_store import Snapshot

DAY = 24 * 60  # minutes


def counted(
    outcome: str,
    requests: int,
    minutes: int = 0,
    client: str = "importer",
    mode: str = "warn",
    endpoint: str = "fund-companies",
    now: datetime | None = None,
) -> None:
    """Add requests of one outcome, `minutes` ago."""
    minute = (now or timezone.now()).replace(second=0, microsecond=0) - timedelta(minutes=minutes)
    OutcomeTally.objects.create(
        minute=minute,
        endpoint=endpoint,
        client=client,
        mode=mode,
        outcome=outcome,
        requests=requests,
    )


def saw(
    spelling: str, count: int = 1, stage: str = "", days: int = 0, client: str = "importer"
) -> None:
    """Add a spelling that was sent `count` times, `days` ago; `stage` is "" for an unknown one."""
    at = timezone.now() - timedelta(days=days)
    ObservedSpelling.objects.create(
        day=at.date(),
        spelling=spelling,
        stage=stage,
        endpoint="fund-companies",
        client=client,
        count=count,
        first_seen=at,
        last_seen=at,
    )


def used(agent: str, client: str = "importer", minutes: int = 0) -> None:
    """Add a user agent of a client, `minutes` ago."""
    at = timezone.now() - timedelta(minutes=minutes)
    ClientAgent.objects.create(client=client, user_agent=agent, first_seen=at, last_seen=at)


def serves(
    version: int,
    name: str = "web:1",
    age: float = 0.5,
    guard: str = "act",
    guard_age: float = 0.5,
    store: str = "",
) -> None:
    """Register a serving process of another host that reported just now."""
    host, _, pid = name.partition(":")
    ServingInstance.objects.update_or_create(
        name=name,
        defaults={
            "host": host,
            "pid": int(pid),
            "version": version,
            "mode": "warn",
            "age_seconds": age,
            "guard": guard,
            "guard_age_seconds": guard_age,
            "skew_seconds": 0.0,
            "store": store,
            "seen_at": timezone.now(),
        },
    )


def break_table(table: str) -> None:
    """Make reads of `table` fail until the test's transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO not_there")


def plan_of(*steps: str) -> None:
    """Record a plan of steps in their short form, such as `10:24h:1000`."""
    rollout_steps.change_plan(
        RolloutPlan(tuple(map(parse_step, steps))), actor="ann", source="tests", reason="a test"
    )


def plan_without_waiting() -> None:
    """Record the default steps without a least time and least requests."""
    plan_of("warn", "10", "25", "50", "100")


def no_gate(before: Snapshot, new: Rollout) -> list[Any]:
    """Pass every change: a gatekeeper for tests in which only the plan can hold a step."""
    return []
