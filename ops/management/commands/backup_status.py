"""`manage.py backup_status`: every backup and whether it counts; exit 1 when no valid one is fresh."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.cli import backups as console
from ops.cli.backup_status import status
from ops.terminal import drawn


class Command(BaseCommand):
    help = "Show the backups; exit 1 when no valid one is fresh."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        found = status()
        if options["json"]:
            members = {
                "fresh": found.fresh,
                "sentence": found.verdict.sentence,
                "restore_seconds": found.restore_seconds,
            }
            self.stdout.write(
                json.dumps({**members, "backups": [line.to_wire() for line in found.lines]})
            )
        else:
            self.stdout.write(drawn(console.status_table(found)))
            if found.restore_seconds is not None:
                self.stdout.write(
                    f"A restore takes about {found.restore_seconds:.1f} s, as the last drill measured."
                )
        if not found.fresh:
            remedy = f" To fix: {found.verdict.remedy}" if found.verdict.remedy else ""
            raise CommandError(f"{found.verdict.sentence}{remedy}")
        if not options["json"]:
            self.stdout.write(found.verdict.sentence)
