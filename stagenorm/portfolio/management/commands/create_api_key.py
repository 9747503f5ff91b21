"""`manage.py create_api_key NAME`: arguments and printed output of `keys.create_key`."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from stagenorm.portfolio.keys import KeyRefused, create_key


class Command(BaseCommand):
    """Creates an API key and prints only the key to standard output."""

    requires_system_checks = ()  # `check` and the service run them
    help = "Create an API key for a client and print only the key. It is shown only once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "name",
            help="The client: 1 to 50 printable ASCII characters. Names it in logs and tallies.",
        )
        parser.add_argument(
            "--fund",
            type=int,
            action="append",
            default=[],
            metavar="N",
            help="Limit the key to this fund; repeatable.",
        )
        parser.add_argument("--read-only", action="store_true", help="The key may only read.")
        parser.add_argument(
            "--operator", action="store_true", help="The key also opens the operator's endpoints."
        )
        parser.add_argument(
            "--expires",
            metavar="DATE",
            help="Last day or moment on which the key is valid (ISO 8601).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Create and print the key."""
        expires = _moment(options["expires"]) if options["expires"] else None
        try:
            _, text = create_key(
                options["name"],
                funds=options["fund"],
                read_only=options["read_only"],
                operator=options["operator"],
                expires=expires,
            )
        except KeyRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text)


def _moment(text: str) -> datetime:
    """Read a date as the end of that day, and a time without zone as UTC.

    Raises `CommandError` for other text and for a moment in the past.
    """
    try:
        day = date.fromisoformat(text)
        moment = datetime.combine(day, time.max)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise CommandError(f"--expires {text!r} is not a date: write 2027-01-31.") from error
    aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    if aware <= timezone.now():
        raise CommandError(f"--expires {text} is past: the key would never be valid.")
    return aware
