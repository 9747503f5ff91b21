"""`manage.py backup_key`: print the key with which others check what this installation signs."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from ops.backups import signing


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = "Print the public key for BACKUP_VERIFICATION_KEYS or BACKUP_DRILL_KEYS elsewhere."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the key alone."""
        self.stdout.write(signing.own_key())
