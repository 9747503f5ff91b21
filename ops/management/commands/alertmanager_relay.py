"""`manage.py alertmanager_relay`: signs Alertmanager's deliveries and passes them on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.alerts import relay, serving

WEBHOOK = "/_ops/stage-validation/auto-downgrade"


class Command(BaseCommand):
    help = "Take Alertmanager's deliveries on loopback, sign them and pass them on to the service's webhook."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare where to listen, where to send, and who may send."""
        parser.add_argument(
            "--listen",
            default="127.0.0.1:19095",
            metavar="HOST:PORT",
            help="where Alertmanager sends",
        )
        parser.add_argument(
            "--target",
            required=True,
            metavar="URL",
            help=f"the service, as http://127.0.0.1:8000{WEBHOOK}",
        )
        parser.add_argument(
            "--token-file", required=True, type=Path, help="holds the bearer token; read each time"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check what was given, then serve until SIGINT or SIGTERM."""
        target, token_file = urlsplit(options["target"]), options["token_file"].absolute()
        host, _, port = options["listen"].rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise CommandError("--listen is malformed: use HOST:PORT, as 127.0.0.1:19095.")
        if target.scheme not in ("http", "https") or not target.hostname or target.query:
            raise CommandError(
                f"--target is malformed: use the address of the webhook, as http://127.0.0.1:8000{WEBHOOK}."
            )
        try:
            relay.read_token(token_file)
        except (OSError, ValueError) as fault:
            raise CommandError(f"--token-file cannot be used: {fault}") from fault
        if not serving.is_free(host, int(port)):
            raise CommandError(
                f"{options['listen']} is taken, perhaps by another relay: end that, or choose another port."
            )
        secret = settings.ALERTMANAGER_WEBHOOK_SECRETS[0]
        self.stdout.write(
            f"Relaying from http://{host}:{port}/ to {target.geturl()}. Ctrl-C ends it."
        )
        self.stdout.flush()
        serving.serve(host, int(port), partial(relay.Relay, _targets(target), token_file, secret))
        self.stdout.write("The relay has ended.")


def _targets(target: SplitResult) -> dict[str, SplitResult]:
    """Map the relay's paths to the service's: `/` is the webhook, `/heartbeat` its neighbour."""
    path = target.path if target.path.strip("/") else WEBHOOK
    webhook = target._replace(path=path)
    heartbeat = target._replace(path=path.rpartition("/")[0] + "/heartbeat")
    return {"/": webhook, "/auto-downgrade": webhook, "/heartbeat": heartbeat}
