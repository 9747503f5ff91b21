"""`manage.py stage_clients`: what each client sends, and what enforcement would refuse of it."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as StoreError
from django.utils import timezone

from normalization import rollout_store
from ops.cli import clients as terminal
from ops.pages.clients import counts
from ops.pages.periods import CLIENT_PERIODS
from ops.terminal import drawn


class Command(BaseCommand):
    help = "List the clients and what they send, those that enforcement would refuse most first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--window",
            choices=list(CLIENT_PERIODS),
            default="7d",
            help="how far to look back (7d)",
        )
        parser.add_argument(
            "--limit", type=int, default=1_000, help="clients listed at most (1000)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        if options["limit"] < 1:
            raise CommandError("--limit must be at least 1.")
        period = CLIENT_PERIODS[options["window"]]
        try:
            rollout = rollout_store.newest().rollout
            found = counts.clients(period, timezone.now(), size=options["limit"])
        except StoreError as fault:
            raise CommandError(f"The tallies could not be read: {fault}") from fault
        if options["json"]:
            members = {"window": period.name, "mode": rollout.mode.value, "clients": found.every}
            self.stdout.write(json.dumps({**members, "listed": terminal.to_wire(found, rollout)}))
        else:
            self.stdout.write(drawn(terminal.drawn(found, rollout)))
            self.stdout.write(terminal.sentence(found, period.label))
