"""`manage.py preflight`: what the service and the rollout depend on, each with its remedy."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.table import Table

from ops import preflight
from ops.preflight import PreflightOutcome, PreflightResult
from stagenorm.terminal import add_row, show, show_json

MARKS: Final = {
    PreflightOutcome.OK: "✓ ok",
    PreflightOutcome.WARNING: "! warning",
    PreflightOutcome.FAILED: "✗ failed",
}
STYLES: Final = {
    PreflightOutcome.OK: None,
    PreflightOutcome.WARNING: "yellow",
    PreflightOutcome.FAILED: "red",
}


class Command(BaseCommand):
    requires_system_checks = ()  # preflight runs them itself and shows them as one line
    help = "Check what the service and the rollout depend on; exit 1 if a check fails."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        results = preflight.examine()
        failed = [each.name for each in results if each.outcome is PreflightOutcome.FAILED]
        if options["json"]:
            wire = [each.to_wire() for each in results]
            show_json(self.stdout, {"passed": not failed, "checks": wire})
        else:
            show(self.stdout, _lines(results))
        if failed:
            named = ", ".join(map(_title, failed))
            raise CommandError(f"Checks that failed: {len(failed)} ({named}).")
        if not options["json"]:
            counts = Counter(each.outcome for each in results)
            warnings = counts[PreflightOutcome.WARNING]
            self.stdout.write(
                f"Checks that passed: {counts[PreflightOutcome.OK]}. Warnings: {warnings}."
            )


def _lines(results: list[PreflightResult]) -> Table:
    drawn = Table.grid(padding=(0, 2))
    for heading in ("outcome", "check"):
        drawn.add_column(heading, no_wrap=True)
    drawn.add_column("sentence", overflow="fold")
    for each in results:
        remedy = [f"→ {each.remedy}"] if each.remedy else []
        cells = [each.sentence, *remedy]
        add_row(drawn, MARKS[each.outcome], _title(each.name), cells, style=STYLES[each.outcome])
    return drawn


def _title(name: str) -> str:
    return name.replace("_", " ")
