"""`manage.py test_restore`: the second check, a compared restore into a scratch database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.backups import records, staging
from ops.backups.restore import TIME_LIMIT_SECONDS, restore
from ops.backups.source import elsewhere
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
        cli.declare_into(parser)
        parser.add_argument(
            "--result",
            type=Path,
            metavar="FILE",
            help="write a signed result for record_drill; BACKUP is the path of the dump",
        )
        cli.declare_time_limit(parser, "pg_restore", TIME_LIMIT_SECONDS)
        cli.declare_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 1 unless it passed."""
        if options["result"]:
            self._drill_copy(options)
            return
        with cli.operation(options) as progress:
            backup = records.find(None if options["latest"] else options["backup"])
            check = restore(
                backup,
                into=cli.into(options),
                time_limit=options["time_limit"],
                progress=progress,
            )
        cli.print_check(self, check, as_json=options["json"])

    def _drill_copy(self, options: dict[str, Any]) -> None:
        if not (options["into"] and options["backup"]):
            raise CommandError("--result needs --into and the path of the dump.")
        with cli.operation(options) as progress:
            result = staging.drill_copy(
                Path(options["backup"]).absolute(),
                elsewhere(options["into"]),
                time_limit=options["time_limit"],
                progress=progress,
            )
            result.write(options["result"].absolute())
        cli.print_result(self, result, options["result"], as_json=options["json"])
