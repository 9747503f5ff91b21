"""`manage.py backup_cycle`: create, verify, restore, prune; what a timer runs every 20 minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.backups import cycle, prune, restore
from ops.backups.create import Wish
from ops.backups.outcomes import BackupFailed, BackupRefused
from ops.cli import backups as console
from ops.terminal import seconds


class Command(BaseCommand):
    help = "Make a backup, put it to both checks, take old ones away."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--directory", type=Path, default=settings.BACKUP_DIR, help="instead of BACKUP_DIR"
        )
        parser.add_argument(
            "--accept-fewer-rows",
            default="",
            metavar="REASON",
            help="half the rows are gone on purpose",
        )
        parser.add_argument(
            "--keep", type=int, default=prune.KEEP, help="how many of the newest to keep"
        )
        parser.add_argument(
            "--keep-days",
            type=int,
            default=prune.KEEP_DAYS,
            help="days to keep one valid backup of",
        )
        parser.add_argument(
            "--time-limit",
            type=seconds,
            default=restore.TIME_LIMIT_SECONDS,
            help="seconds for pg_restore",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 1 unless the new backup counts."""
        wish = Wish(options["directory"].absolute(), options["accept_fewer_rows"])
        names = ("keep", "keep_days", "time_limit")
        try:
            with console.bar(quiet=options["json"]) as progress:
                done = cycle.run(
                    wish, progress=progress, **{name: options[name] for name in names}
                )
        except (BackupRefused, BackupFailed, OSError) as fault:
            raise CommandError(str(fault)) from fault
        self.stdout.write(
            json.dumps(console.cycle_json(done)) if options["json"] else console.cycle(done)
        )
        if not done.passed:
            raise CommandError(
                f"{done.backup.name} does not count: {done.checks[-1].reason}. Nothing was taken away."
            )
