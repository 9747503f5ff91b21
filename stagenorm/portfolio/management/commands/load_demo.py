"""`manage.py load_demo`: printed output of `demonstration`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from stagenorm.portfolio import demonstration


class Command(BaseCommand):
    """Loads the demonstration and prints its credentials; in debug mode only."""

    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Load demonstration data, an operator's account and an API key (with DJANGO_DEBUG=1 only)."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load the missing data and print the credentials."""
        if not settings.DEBUG:
            raise CommandError(
                "load_demo creates an account and prints secrets: it needs DJANGO_DEBUG=1."
            )
        loaded = demonstration.load()
        password = (
            loaded.password or "(unchanged; manage.py changepassword operator sets a new one)"
        )
        self.stdout.write(f"Data      {loaded.companies} companies in {loaded.funds} funds")
        self.stdout.write(f"Operator  {demonstration.OPERATOR}  {password}")
        self.stdout.write(f"API key   {loaded.key}")
