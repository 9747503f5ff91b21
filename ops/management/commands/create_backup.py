"""`manage.py create_backup`: dump the database. Both checks then make it valid."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ops.backups.create import TIME_LIMIT_SECONDS, BackupRequest, create
from ops.cli import backups as cli
from stagenorm.terminal import show_json


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Make a backup of the database; it is valid after verify_backup and test_restore."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        cli.declare_new_backup(parser)
        cli.declare_time_limit(parser, "pg_dump", TIME_LIMIT_SECONDS)
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        request = BackupRequest(
            options["directory"].absolute(), options["accept_fewer_rows"], options["time_limit"]
        )
        with cli.operation(options) as progress:
            backup = create(request, progress)
        if options["json"]:
            show_json(self.stdout, cli.backup_json(backup))
        else:
            self.stdout.write(cli.created(backup))
