"""`manage.py stage_clients`: what each client sends, and what enforcement would refuse of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as StoreError
from django.utils import timezone
from rich.table import Table

from normalization import conf, rollout_store
from normalization.rollout import Rollout
from ops.pages.clients import counts
from ops.pages.clients.counts import ClientCounts, ClientList
from ops.pages.clients.enforcement import enforcement_of
from ops.pages.periods import CLIENT_PERIODS
from ops.pages.rollout.changes import percent_text
from stagenorm.terminal import Cell, add_row, show, show_json, table, whole_number

NUMBERS: Final = (
    "requests",
    "canonical",
    "deprecated",
    "outside",
    "unknown",
    "rejected",
    "would be refused",
)


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "List the clients and what they send; those refused most come first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--window",
            choices=list(CLIENT_PERIODS),
            default="7d",
            help="how far to look back (7d)",
        )
        parser.add_argument(
            "--limit",
            type=whole_number(1),
            default=1_000,
            help="how many clients to list (1000)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        period = CLIENT_PERIODS[options["window"]]
        try:
            rollout = rollout_store.newest().rollout
            found = counts.clients(period, timezone.now(), size=options["limit"])
            agents = counts.agents_of(each.client for each in found.listed)
        except StoreError as fault:
            raise CommandError(f"The tallies could not be read: {fault}") from fault
        if options["json"]:
            listed = [
                {**_members(each, rollout), "user_agents": agents.get(each.client, [])}
                for each in found.listed
            ]
            members = {"window": period.name, "mode": rollout.mode.value, "clients": found.every}
            show_json(self.stdout, {**members, "listed": listed})
        else:
            show(self.stdout, _table(found, rollout, agents))
            self.stdout.write(_sentence(found, period.label))


def _table(found: ClientList, rollout: Rollout, agents: Mapping[str, list[str]]) -> Table:
    headings = ("enforced", "last seen (UTC)", "last user agents")
    drawn = table("client", *NUMBERS, *headings, numbers=NUMBERS)
    for each in found.listed:
        add_row(drawn, *_cells(each, rollout), agents.get(each.client, []))
    return drawn


def _sentence(found: ClientList, period: str) -> str:
    refused = found.sentence or "No client sent a stage."
    sentence = f"In the {period}: {refused} {found.silent:,} hold a key and sent nothing."
    more = found.every - len(found.listed)
    return f"{sentence} {more:,} more are not listed: raise --limit." if more else sentence


def _members(each: ClientCounts, rollout: Rollout) -> dict[str, Any]:
    """Return one client for `--json`; `last_seen` is None for a client without a request."""
    enforcement = enforcement_of(rollout, each.client, conf.stage_endpoints())
    return {
        "client": each.client,
        "requests": each.counts.requests,
        **asdict(each.counts),
        "last_seen": each.last_seen and each.last_seen.isoformat(),
        "holds_key": each.holds_key,
        "bucket": enforcement.bucket,
        "enters_at_percent": percent_text(enforcement.enters_at),
        "pilot": enforcement.pilot,
        "holdout": enforcement.holdout,
        "enforced_at": list(enforcement.endpoints),
    }


def _cells(each: ClientCounts, rollout: Rollout) -> Iterator[Cell]:
    counted = each.counts
    yield each.client
    yield from (counted.requests, counted.canonical, counted.normalized)
    yield from (counted.outside, counted.unknown, counted.rejected)
    yield _refusable(each)
    enforcement = enforcement_of(rollout, each.client, conf.stage_endpoints())
    yield enforcement.word + "".join(f" ({role})" for role in enforcement.roles)
    yield f"{each.last_seen:%Y-%m-%d %H:%M}" if each.last_seen else "no request"


def _refusable(each: ClientCounts) -> str:
    if each.counts.refusable:
        return f"{each.counts.percent:.2f} %"
    return "none" if each.counts.requests else ""
