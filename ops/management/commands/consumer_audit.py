"""`manage.py consumer_audit`: who calls the endpoints, and the decision about it."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from normalization import conf
from ops import clock
from ops.cli import consumers as output
from ops.consumers import audit, code_search, deciding
from ops.consumers.audit import ConsumerAudit
from ops.consumers.code_search import CodeSearch
from ops.gates.consumers_rule import ConsumerVerdict, KnownConsumers
from stagenorm.terminal import progress_bar, show, show_json, whole_number

DAYS = 7
ROWS = 20


class Command(BaseCommand):
    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Read access logs and search code for who calls the endpoints; "
        "with --decide, record the decision that the gate consumers_known asks for."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--access-log",
            nargs="+",
            type=Path,
            action="extend",
            default=[],
            metavar="FILE",
            help="combined (nginx, Apache), JSON lines or our own log; gzip too",
        )
        parser.add_argument(
            "--code",
            nargs="+",
            type=Path,
            action="extend",
            default=[],
            metavar="DIR",
            help="search the files below for the paths of the endpoints",
        )
        parser.add_argument(
            "--days",
            type=whole_number(1),
            default=DAYS,
            help=f"count the requests of so many days ({DAYS})",
        )
        parser.add_argument(
            "--internal",
            type=_networks,
            default=settings.INTERNAL_NETWORKS,
            metavar="CIDR,CIDR",
            help="the internal networks, instead of INTERNAL_NETWORKS",
        )
        parser.add_argument(
            "--limit", type=whole_number(1), default=ROWS, help=f"rows of each table ({ROWS})"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        _declare_decision(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, audit, decide if asked, and print."""
        if not (options["access_log"] or options["code"] or options["decide"]):
            raise CommandError("Name at least one of --access-log, --code and --decide.")
        logs, code = _audited(options), _searched(options)
        if not options["json"]:
            self._show(logs, code, options["limit"])
        if options["decide"]:
            _decide(options, logs)
        known, now = deciding.newest(), clock.database_now()
        if options["json"]:
            members = {
                "audit": logs and output.audit_json(logs),
                "code": code and output.code_json(code),
                "decision": output.decision_json(known, now),
            }
            show_json(self.stdout, members)
        else:
            self.stdout.write(output.decision_sentence(known, now))

    def _show(self, logs: ConsumerAudit | None, code: CodeSearch | None, limit: int) -> None:
        if logs is not None:
            show(self.stdout, *output.audit_tables(logs, limit))
            for sentence in output.audit_sentences(logs):
                self.stdout.write(sentence)
        if code is not None:
            show(self.stdout, output.code_table(code))
            self.stdout.write(output.code_sentence(code))


def _declare_decision(parser: CommandParser) -> None:
    parser.add_argument(
        "--decide",
        choices=[each.value for each in ConsumerVerdict],
        help="record who uses the endpoints",
    )
    parser.add_argument(
        "--owner",
        action="append",
        default=[],
        metavar="NAME",
        help="with --decide external: who answers for a consumer; repeatable",
    )
    parser.add_argument("--reason", default="", help="with --decide: why; recorded")
    parser.add_argument(
        "--confirm-external",
        action="store_true",
        help="decide internal-only although external addresses were served",
    )
    parser.add_argument("--actor", default=getpass.getuser(), help="who; your login name")


def _networks(text: str) -> list[str]:
    given = [each.strip() for each in text.split(",") if each.strip()]
    try:
        audit.read_networks(given)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(f"{fault}; use for example 10.0.0.0/8") from None
    return given


def _audited(options: dict[str, Any]) -> ConsumerAudit | None:
    if not options["access_log"]:
        return None
    try:
        with progress_bar("bytes", quiet=options["json"]) as progress:
            return audit.audit(
                options["access_log"],
                days=options["days"],
                now=clock.database_now(),
                networks=audit.read_networks(options["internal"]),
                progress=progress,
            )
    except OSError as fault:
        raise CommandError(f"The access log could not be read: {fault}") from fault


def _searched(options: dict[str, Any]) -> CodeSearch | None:
    if not options["code"]:
        return None
    for directory in options["code"]:
        if not directory.is_dir():
            raise CommandError(f"{directory} is not a directory.")
    with progress_bar("files", quiet=options["json"]) as progress:
        return code_search.search(options["code"], conf.stage_endpoints(), progress)


def _decide(options: dict[str, Any], logs: ConsumerAudit | None) -> KnownConsumers:
    try:
        return deciding.decide(
            ConsumerVerdict(options["decide"]),
            owners=options["owner"],
            reason=options["reason"],
            actor=options["actor"],
            audit=logs,
            confirm_external=options["confirm_external"],
        )
    except deciding.ConsumerDecisionRefused as refusal:
        raise CommandError(str(refusal)) from refusal
