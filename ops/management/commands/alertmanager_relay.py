"""`manage.py alertmanager_relay`: sign Alertmanager's deliveries and forward them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.alerts import relay

WEBHOOK = "/_ops/stage-validation/auto-downgrade"


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Accept Alertmanager's deliveries on loopback, sign them and forward them to the webhook."
    )

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
            "--token-file",
            required=True,
            type=Path,
            help="file with the bearer token; read at each request",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Validate the arguments, then serve until SIGINT or SIGTERM."""
        target, token_file = urlsplit(options["target"]), options["token_file"].absolute()
        host, _, port = options["listen"].rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise CommandError("--listen is malformed: use HOST:PORT, as 127.0.0.1:19095.")
        if target.scheme not in ("http", "https") or not target.hostname or target.query:
            raise CommandError(
                "--target is malformed: use the address of the webhook, as "
                f"http://127.0.0.1:8000{WEBHOOK}."
            )
        try:
            relay.read_token(token_file)
        except (OSError, ValueError) as fault:
            raise CommandError(f"--token-file cannot be used: {fault}") from fault
        if not relay.is_free(host, int(port)):
            raise CommandError(
                f"{options['listen']} is in use, perhaps by another relay: stop it, or choose "
                "another port."
            )
        secret = settings.ALERTMANAGER_WEBHOOK_SECRETS[0]
        self.stdout.write(
            f"Relaying from http://{host}:{port}/ to {target.geturl()}. Press Ctrl-C to stop."
        )
        self.stdout.flush()
        build = partial(relay.Relay, _targets(target), token_file, secret)
        relay.serve(host, int(port), build)
        self.stdout.write("The relay has stopped.")


def _targets(target: SplitResult) -> dict[str, SplitResult]:
    """Map the relay's paths to the service's: `/` is the webhook, `/heartbeat` the heartbeat."""
    path = target.path if target.path.strip("/") else WEBHOOK
    webhook = target._replace(path=path)
    heartbeat = target._replace(path=path.rpartition("/")[0] + "/heartbeat")
    return {"/": webhook, "/auto-downgrade": webhook, "/heartbeat": heartbeat}
