"""`manage.py record_drill`: record the result of a drill on a staging server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ops.backups import staging
from ops.cli import backups as cli


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Record the result file that test_restore --result wrote on a staging server."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, help="the result file")
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 1 unless the drill passed."""
        with cli.operation(options):
            check = staging.record_result(options["file"].absolute())
        cli.print_check(self, check, as_json=options["json"])
