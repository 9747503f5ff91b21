"""`manage.py backup_status`: every backup and its validity; exit 1 if no valid one is fresh."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.cli import backups as cli
from stagenorm.terminal import show, show_json


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Show the backups; exit 1 when no valid one is fresh."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        found = cli.status()
        if options["json"]:
            show_json(self.stdout, found.to_wire())
        else:
            show(self.stdout, cli.status_table(found))
            if found.restore_seconds is not None:
                taken = f"{found.restore_seconds:.1f} s"
                self.stdout.write(f"A restore takes about {taken}, as the last drill measured.")
        if not found.fresh:
            remedy = f" To fix: {found.verdict.remedy}" if found.verdict.remedy else ""
            raise CommandError(f"{found.verdict.sentence}{remedy}")
        if not options["json"]:
            self.stdout.write(found.verdict.sentence)
