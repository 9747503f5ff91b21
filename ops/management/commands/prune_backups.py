"""`manage.py prune_backups`: remove old backups, never the newest valid one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ops.backups.cycle import prune
from ops.cli import backups as cli
from stagenorm.terminal import show_json


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Remove old backups, never the newest valid one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        cli.declare_kept(parser)
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        with cli.operation(options) as progress:
            done = prune(options["keep"], options["keep_days"], progress)
        if options["json"]:
            show_json(self.stdout, cli.pruned_json(done))
        else:
            self.stdout.write(cli.pruned(done))
