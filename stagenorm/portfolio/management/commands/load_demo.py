"""manage.py load_demo"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from stagenorm.portfolio import demonstration


class Command(BaseCommand):
    """Loads the demonstration and prints how to get in. Never outside debug: it makes an account and shows secrets."""

    help = (
        "Load demonstration data, an operator's account and an API key (with DJANGO_DEBUG=1 only)."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load what is missing."""
        if not settings.DEBUG:
            raise CommandError(
                "load_demo makes an account and prints secrets: it runs with DJANGO_DEBUG=1 only."
            )
        loaded = demonstration.load()
        password = (
            loaded.password or "(as it was set; manage.py changepassword operator sets another)"
        )
        self.stdout.write(f"Data      {loaded.companies} companies in {loaded.funds} funds")
        self.stdout.write(f"Operator  {demonstration.OPERATOR}  {password}")
        self.stdout.write(f"API key   {loaded.key}")
