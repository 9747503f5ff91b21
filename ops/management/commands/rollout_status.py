"""`manage.py rollout_status`: the mode, and what each gate says of more enforcement; exit 1 if it would be refused."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.table import Table

from normalization import rollout_store
from ops.gates import facts
from ops.gates import rules as gates
from ops.terminal import drawn


class Command(BaseCommand):
    help = "Show the mode and what each gate says; exit 1 when more enforcement would be refused."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        now = rollout_store.newest()
        verdicts = gates.examine(facts.collect(now.version))
        held = [
            verdict.gate for verdict in verdicts if verdict.outcome is not gates.GateOutcome.PASS
        ]
        if options["json"]:
            members = {
                "version": now.version,
                **now.rollout.to_wire(),
                "may_enforce_more": not held,
            }
            self.stdout.write(
                json.dumps({**members, "gates": [verdict.to_wire() for verdict in verdicts]})
            )
        else:
            self.stdout.write(f"The mode is {now.rollout.mode} (version {now.version}).")
            self.stdout.write(drawn(_table(verdicts)))
        if held:
            raise CommandError(f"More enforcement would be refused by {', '.join(held)}.")


def _table(verdicts: list[gates.GateVerdict]) -> Table:
    table = Table(show_lines=True)
    for heading in ("gate", "verdict", "sentence", "evidence"):
        table.add_column(heading)
    for verdict in verdicts:
        remedy = f"\n→ {verdict.remedy}" if verdict.remedy else ""
        evidence = "\n".join(
            f"{name}: {value}" for name, value in verdict.to_wire()["evidence"].items()
        )
        table.add_row(verdict.gate, verdict.outcome.value, f"{verdict.sentence}{remedy}", evidence)
    return table
