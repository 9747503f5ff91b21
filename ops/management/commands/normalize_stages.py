"""`manage.py normalize_stages`: plan, carry out, verify and undo the normalization of the stored stages."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.cli import normalize_arguments as arguments
from ops.cli.normalize_requests import USAGE, Answer
from ops.cli.normalize_tables import drawn


class Command(BaseCommand):
    help = "Normalize the stored stages. Without --apply: show the plan and change nothing."
    # They would load every view, and with the views more memory than the run itself needs.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare what can be asked for."""
        arguments.declare(parser, actor=getpass.getuser())

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print; exit 0 done, 1 failed, 2 usage, 3 gate, 4 done but unknown values are left."""
        try:
            answer = arguments.answer(options, self.stdout, self.stderr)
        except arguments.UsageError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except arguments.REFUSALS as error:
            status = arguments.status_of(error)
            if options["json"]:
                self.stdout.write(
                    json.dumps({"event": "refused", "error": str(error), "status": status})
                )
            raise CommandError(str(error), returncode=status) from error
        self._print(answer, options["json"])
        if answer.status:
            sys.exit(answer.status)

    def _print(self, answer: Answer, as_json: bool) -> None:
        if as_json:
            self.stdout.write(
                json.dumps(
                    {"event": "finished", "status": answer.status, **answer.data},
                    ensure_ascii=False,
                )
            )
            return
        self.stdout.write("\n".join(filter(None, [drawn(answer.columns), answer.text])))
