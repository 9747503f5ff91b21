"""`manage.py prune_stored`: delete stored rows that have had their time; what a timer runs every night."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as StoreError

from ops import pruning
from ops.cli import pruning as pruning_console
from ops.terminal import drawn


class Command(BaseCommand):
    help = "Delete stored rows that are older than their setting (…_KEPT_DAYS) says. Ledgers are never touched."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--dry-run", action="store_true", help="count the rows, delete none")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        dry_run: bool = options["dry_run"]
        try:
            with pruning_console.bar(quiet=options["json"]) as progress:
                done = pruning.prune(dry_run=dry_run, progress=progress)
        except StoreError as fault:
            raise CommandError(
                f"{fault} Batches that were finished are gone; run it again for the rest."
            ) from fault
        if options["json"]:
            self.stdout.write(json.dumps(pruning_console.to_wire(done, dry_run)))
        else:
            self.stdout.write(drawn(pruning_console.drawn(done)))
            self.stdout.write(pruning_console.sentence(done, dry_run))
