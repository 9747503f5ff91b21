"""`manage.py verify_backup`: the first check, by signature, identity, size and hash."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ops.backups import records
from ops.backups.verify import verify
from ops.cli import backups as cli


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Check that a backup is the file that was made: verify_backup [BACKUP | --latest]"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        cli.declare_backup(parser)
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 1 unless it passed."""
        with cli.operation(options) as progress:
            backup = records.find(None if options["latest"] else options["backup"])
            check = verify(backup, progress)
        cli.print_check(self, check, as_json=options["json"])
