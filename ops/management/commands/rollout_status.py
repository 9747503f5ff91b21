"""`manage.py rollout_status`: the mode, and the verdict of each gate on more enforcement."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.table import Table

from normalization import rollout_store
from ops.gates import facts
from ops.gates.rules import GateOutcome, GateVerdict, examine
from stagenorm.terminal import add_row, show, show_json, table


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Show the mode and each gate's verdict; exit 1 when more enforcement would be refused."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        now = rollout_store.newest()
        verdicts = examine(facts.collect(now.version))
        held = [verdict.gate for verdict in verdicts if verdict.outcome is not GateOutcome.PASS]
        if options["json"]:
            members = {
                "version": now.version,
                **now.rollout.to_wire(),
                "may_enforce_more": not held,
                "gates": [verdict.to_wire() for verdict in verdicts],
            }
            show_json(self.stdout, members)
        else:
            self.stdout.write(f"The mode is {now.rollout.mode} (version {now.version}).")
            show(self.stdout, _table(verdicts))
        if held:
            raise CommandError(f"More enforcement would be refused by {', '.join(held)}.")


def _table(verdicts: list[GateVerdict]) -> Table:
    drawn = table("gate", "verdict", "sentence", "evidence", ruled=True)
    for verdict in verdicts:
        remedy = [f"→ {verdict.remedy}"] if verdict.remedy else []
        evidence = verdict.to_wire()["evidence"]
        figures = [f"{name}: {value}" for name, value in evidence.items()]
        sentence = [verdict.sentence, *remedy]
        add_row(drawn, verdict.gate, verdict.outcome.value, sentence, figures)
    return drawn
