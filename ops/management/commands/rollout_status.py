"""`manage.py rollout_status`: the plan, its step in force, and each gate's verdict on the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.table import Table

from normalization import rollout_steps, rollout_store
from normalization.management.rendering import mode_in_words, plan_members, plan_table
from normalization.rollout_plan import StepVerdict
from normalization.rollout_steps import StepStanding
from ops.gates import facts
from ops.gates.rules import GateOutcome, GateVerdict, examine
from stagenorm.terminal import add_row, show, show_json, table


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Show the mode, the plan, how long its step has run, and each gate's verdict on the next "
        "step; exit 1 when more enforcement would be refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        now = rollout_store.newest()
        found = rollout_steps.standing(now)
        verdicts = _verdicts(now, found)
        held = [verdict.gate for verdict in verdicts if verdict.outcome != GateOutcome.PASS]
        if options["json"]:
            members = {
                "version": now.version,
                **now.rollout.to_wire(),
                **plan_members(found),
                "may_enforce_more": not held,
                "gates": [verdict.to_wire() for verdict in verdicts],
            }
            show_json(self.stdout, members)
        else:
            self.stdout.write(f"The mode is {mode_in_words(now.rollout)} (version {now.version}).")
            show(self.stdout, plan_table(found), _table(verdicts))
            if found.next is not None:
                self.stdout.write(f"Next: {found.next.name}, with manage.py stage_mode next.")
        if held:
            raise CommandError(f"More enforcement would be refused by {', '.join(held)}.")


def _verdicts(
    now: rollout_store.Snapshot, found: StepStanding
) -> Sequence[GateVerdict | StepVerdict]:
    """Return what `stage_mode next` would ask: the gates, and last the step in force."""
    step = found.plan.next_enforcing(now.rollout)
    asked = step.applied_to(now.rollout) if step is not None else None
    verdicts = examine(facts.collect(now.version, asked))
    asks_step = found.next is not None and found.verdict is not None
    return [*verdicts, found.verdict] if asks_step and found.verdict else verdicts


def _table(verdicts: Sequence[GateVerdict | StepVerdict]) -> Table:
    drawn = table("gate", "verdict", "sentence", "evidence", ruled=True)
    for verdict in verdicts:
        remedy = [f"→ {verdict.remedy}"] if verdict.remedy else []
        evidence = verdict.to_wire()["evidence"]
        figures = [f"{name}: {value}" for name, value in evidence.items()]
        sentence = [verdict.sentence, *remedy]
        add_row(drawn, verdict.gate, str(verdict.outcome), sentence, figures)
    return drawn
