"""`manage.py prune_stored`: delete old stored rows. A timer runs it every night."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as StoreError
from rich.table import Table

from ops.pruning import PrunedTable, prune
from stagenorm.terminal import add_row, progress_bar, show, show_json, table


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Delete stored rows that are older than their setting (…_KEPT_DAYS). "
        "Ledgers are never touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--dry-run", action="store_true", help="count the rows, delete none")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        dry_run: bool = options["dry_run"]
        try:
            with progress_bar("rows", quiet=options["json"]) as progress:
                done = prune(dry_run=dry_run, progress=progress)
        except StoreError as fault:
            raise CommandError(
                f"{fault} The finished batches are deleted; run it again for the rest."
            ) from fault
        if options["json"]:
            deleted = sum(each.deleted for each in done)
            tables = [each.to_wire() for each in done]
            show_json(self.stdout, {"dry_run": dry_run, "deleted": deleted, "tables": tables})
        else:
            show(self.stdout, _table(done))
            self.stdout.write(_sentence(done, dry_run))


def _table(done: list[PrunedTable]) -> Table:
    numbers = ("days", "older than", "rows", "deleted")
    drawn = table("table", *numbers, numbers=numbers)
    for each in done:
        until = f"{each.until:%F %R} UTC" if each.until else ""
        add_row(drawn, each.table, str(each.days or "for ever"), until, each.old, each.deleted)
    return drawn


def _sentence(done: list[PrunedTable], dry_run: bool) -> str:
    if dry_run:
        return f"Would delete {sum(each.old for each in done):,} rows; nothing was touched."
    return f"Deleted {sum(each.deleted for each in done):,} rows."
