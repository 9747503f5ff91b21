"""`manage.py verify_backup`: the first check, by signature, identity, size and hash."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.backups import records
from ops.backups.outcomes import BackupRefused, CheckVerdict
from ops.backups.verify import verify
from ops.cli import backups as console


class Command(BaseCommand):
    help = "Check that a backup is the very file that was made: verify_backup [BACKUP | --latest]"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("backup", nargs="?", help="file name; the newest when not given")
        parser.add_argument("--latest", action="store_true", help="the newest, said explicitly")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 1 unless it passed."""
        try:
            backup = records.find(None if options["latest"] else options["backup"])
            with console.bar(quiet=options["json"]) as progress:
                check = verify(backup, progress)
        except BackupRefused as fault:
            raise CommandError(str(fault)) from fault
        if options["json"]:
            self.stdout.write(json.dumps(console.check_json(check)))
        if check.verdict != CheckVerdict.PASSED:
            raise CommandError(console.checked(check))
        if not options["json"]:
            self.stdout.write(console.checked(check))
