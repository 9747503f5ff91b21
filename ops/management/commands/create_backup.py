"""`manage.py create_backup`: dump the database; the backup counts once verify_backup and test_restore have passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.backups import create
from ops.backups.outcomes import BackupFailed, BackupRefused
from ops.cli import backups as console
from ops.terminal import seconds


class Command(BaseCommand):
    help = "Make a backup of the database; verify_backup and test_restore make it count."

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
            "--time-limit",
            type=seconds,
            default=create.TIME_LIMIT_SECONDS,
            help="seconds for pg_dump",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        wish = create.Wish(
            options["directory"].absolute(), options["accept_fewer_rows"], options["time_limit"]
        )
        try:
            with console.bar(quiet=options["json"]) as progress:
                backup = create.create(wish, progress)
        except (BackupRefused, BackupFailed) as fault:
            raise CommandError(str(fault)) from fault
        self.stdout.write(
            json.dumps(console.backup_json(backup)) if options["json"] else console.created(backup)
        )
