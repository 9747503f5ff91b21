"""`manage.py calibration_table`: the calibration of a market profile as a Markdown table.

The table in docs/simulation.md is its output; a test compares them.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from stagenorm.portfolio.market_calibration import calibration_table
from stagenorm.portfolio.market_v2 import MARKET_PROFILES, MARKET_V2


class Command(BaseCommand):
    """Simulates the base case of a profile and prints its figures beside the published ones."""

    requires_system_checks = ()  # `check` and the service run them
    help = "Simulate the base case of a market profile; print its figures and the published ones."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--profile", choices=list(MARKET_PROFILES), default=MARKET_V2.name, help="The profile."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the table."""
        self.stdout.write(calibration_table(MARKET_PROFILES[options["profile"]]))
