"""`manage.py prune_backups`: take old backups away, never the last one that counts."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.backups import prune
from ops.backups.outcomes import BackupRefused
from ops.cli import backups as console


class Command(BaseCommand):
    help = "Take old backups away, never the last one that counts."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--keep", type=int, default=prune.KEEP, help="how many of the newest to keep"
        )
        parser.add_argument(
            "--keep-days",
            type=int,
            default=prune.KEEP_DAYS,
            help="days to keep one valid backup of",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        try:
            with console.bar(quiet=options["json"]) as progress:
                done = prune.prune(options["keep"], options["keep_days"], progress)
        except (BackupRefused, OSError) as fault:
            raise CommandError(str(fault)) from fault
        self.stdout.write(
            json.dumps(console.pruned_json(done)) if options["json"] else console.pruned(done)
        )
