"""`manage.py page_test`: send a test page through Alertmanager and wait until it is accepted."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.alerts import page_test
from ops.alerts.page_test import PageDelivery, PageTest, PageTestFailed
from stagenorm.terminal import seconds, show_json


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Send a test page through Alertmanager to the operator's receiver, wait until each of its "
        "integrations accepted it, and on a terminal ask for the code on the page."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare where Alertmanager is, and how long to wait."""
        parser.add_argument(
            "--alertmanager",
            default="http://127.0.0.1:9093",
            metavar="URL",
            help="Alertmanager's address",
        )
        parser.add_argument(
            "--timeout", type=seconds, default=60.0, help="seconds to wait for the integrations"
        )
        parser.add_argument("--no-input", action="store_true", help="do not ask for the code")
        parser.add_argument("--json", action="store_true", help="print one JSON object; no input")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        address = urlsplit(options["alertmanager"])
        if address.scheme not in ("http", "https") or not address.hostname:
            raise CommandError("--alertmanager is malformed: use http://127.0.0.1:9093.")
        test = PageTest(options["alertmanager"])
        try:
            delivery = page_test.send(test, options["timeout"])
        except PageTestFailed as fault:
            raise CommandError(str(fault)) from fault
        asks = sys.stdin.isatty() and not (options["no_input"] or options["json"])
        if options["json"]:
            show_json(self.stdout, _wire(test, delivery))
            return
        accepted = f"{', '.join(delivery.receivers)} ({', '.join(delivery.integrations)})"
        self.stdout.write(f"Accepted after {delivery.seconds:.1f} s by {accepted}.")
        if asks:
            self._confirm(test)
        else:
            self.stdout.write(f"The page shows the code {test.code}.")

    def _confirm(self, test: PageTest) -> None:
        typed = input("Type the code on the page, or press Enter if none came: ")
        if typed.strip().lower() != test.code:
            raise CommandError(
                "The page was accepted and is not confirmed: look at what the receiver did with "
                f"the alert {page_test.TEST_ALERT}."
            )
        self.stdout.write("The page arrived.")


def _wire(test: PageTest, delivery: PageDelivery) -> dict[str, Any]:
    return {
        "code": test.code,
        "receivers": list(delivery.receivers),
        "integrations": list(delivery.integrations),
        "seconds": round(delivery.seconds, 3),
    }
