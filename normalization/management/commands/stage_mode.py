"""`manage.py stage_mode`: show the rollout, or set its mode with a reason."""

from __future__ import annotations

import getpass
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as StoreError

from normalization import rollout_store
from normalization.rollout import Mode


class Command(BaseCommand):
    help = "Show the mode of stage validation, or set it: stage_mode [show] | stage_mode set MODE --reason TEXT"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare `show` (default) and `set`."""
        parser.add_argument("action", nargs="?", choices=["show", "set"], default="show")
        parser.add_argument("mode", nargs="?", choices=list(Mode), help="the mode to set")
        parser.add_argument("--reason", default="", help="why; recorded with the change")
        parser.add_argument("--override", default="", metavar="REASON", help="go on past the gates; recorded")
        parser.add_argument("--actor", default=getpass.getuser(), help="who; your login name by default")
        parser.add_argument("--expected-version", type=int, help="refuse if the rollout is at another version by now")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Parse, make one call, print."""
        try:
            version, rollout, changed = self._run(options)
        except rollout_store.ChangeRefused as error:
            raise CommandError(str(error)) from error
        except StoreError as error:
            raise CommandError(f"The database does not answer, nothing was changed: {error}") from error
        if options["json"]:
            self.stdout.write(json.dumps({"version": version, "changed": changed, **rollout.to_wire()}))
        else:
            verb = "is now" if changed else "is"
            self.stdout.write(f"The mode {verb} {rollout.mode} (version {version}).")

    def _run(self, options: dict[str, Any]) -> tuple[int, Any, bool]:
        if options["action"] == "show":
            snapshot = rollout_store.newest()
            return snapshot.version, snapshot.rollout, False
        if options["mode"] is None:
            raise CommandError("Say which mode: stage_mode set off|warn|enforce --reason TEXT")
        result = rollout_store.change(
            Mode(options["mode"]),
            actor=options["actor"],
            source="command",
            reason=options["reason"],
            expected_version=options["expected_version"],
            override_reason=options["override"],
        )
        return result.version, result.rollout, result.changed
