"""`manage.py normalize_stages`: plan, carry out, verify and undo the normalization of the rows."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ops.cli import normalize
from ops.cli.normalize import NormalizeAnswer
from ops.cli.normalize_output import tables
from stagenorm.terminal import show


class Command(BaseCommand):
    help = "Normalize the stored stages. Without --apply: show the plan and change nothing."
    # The checks load every view, and with the views more memory than the run itself needs.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        normalize.declare(parser, actor=getpass.getuser())

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the request and print its result.

        Exit status: 0 done, 1 failed, 2 usage, 3 gate, 4 done with unknown values left.
        """
        try:
            answer = normalize.answer(options, self.stdout, self.stderr)
        except normalize.UsageError as error:
            raise CommandError(str(error), returncode=normalize.USAGE) from error
        except normalize.REFUSALS as error:
            raise self._refusal(error, options["json"]) from error
        self._print(answer, options["json"])
        if answer.status:
            sys.exit(answer.status)

    def _refusal(self, error: Exception, as_json: bool) -> CommandError:
        status = normalize.status_of(error)
        if as_json:
            self._print_json({"event": "refused", "error": str(error), "status": status})
        return CommandError(str(error), returncode=status)

    def _print(self, answer: NormalizeAnswer, as_json: bool) -> None:
        if as_json:
            self._print_json({"event": "finished", "status": answer.status, **answer.data})
            return
        show(self.stdout, *tables(answer.columns))
        self.stdout.write(answer.text)

    def _print_json(self, members: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(members, ensure_ascii=False))
