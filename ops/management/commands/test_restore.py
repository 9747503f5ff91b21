"""`manage.py test_restore`: the second check, a compared restore into a scratch database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ops.backups import records
from ops.backups.restore import TIME_LIMIT_SECONDS, restore
from ops.cli import backups as cli


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Restore a backup into a scratch database and compare everything: "
        "test_restore [BACKUP | --latest]"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        cli.declare_backup(parser)
        cli.declare_time_limit(parser, "pg_restore", TIME_LIMIT_SECONDS)
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 1 unless it passed."""
        with cli.operation(options) as progress:
            backup = records.find(None if options["latest"] else options["backup"])
            check = restore(backup, time_limit=options["time_limit"], progress=progress)
        cli.print_check(self, check, as_json=options["json"])
