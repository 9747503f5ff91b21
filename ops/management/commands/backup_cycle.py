"""`manage.py backup_cycle`: create, verify, restore, prune. A timer runs it every 20 minutes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.backups import cycle
from ops.backups.create import BackupRequest
from ops.backups.restore import TIME_LIMIT_SECONDS
from ops.cli import backups as cli
from stagenorm.terminal import show_json


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Make a backup, verify it, test its restore, remove old ones."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        cli.declare_new_backup(parser)
        cli.declare_kept(parser)
        cli.declare_into(parser)
        cli.declare_time_limit(parser, "pg_restore", TIME_LIMIT_SECONDS)
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 1 unless the new backup is valid."""
        request = BackupRequest(options["directory"].absolute(), options["accept_fewer_rows"])
        with cli.operation(options) as progress:
            done = cycle.run(
                request,
                keep=options["keep"],
                keep_days=options["keep_days"],
                into=cli.into(options),
                time_limit=options["time_limit"],
                progress=progress,
            )
        if options["json"]:
            show_json(self.stdout, cli.cycle_json(done))
        else:
            self.stdout.write(cli.cycle(done))
        if not done.passed:
            reason = done.checks[-1].reason
            raise CommandError(f"{done.backup.name} is not valid: {reason}. Nothing was removed.")
