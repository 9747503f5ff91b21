"""A backup as an operator has to see it: by its records and, without reading it, by its file."""

from __future__ import annotations

import socket
from datetime import datetime
from functools import cached_property
from typing import Final

from ops.admin_ui.ledgers import BAD, GOOD, QUIET, WARN, Badge
from ops.backups import archive, history
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import Bad, CheckKind, CheckVerdict
from ops.backups.source import Identity
from ops.backups.validity import COMMANDS, Validity, validity

_PRUNED: Final = "It was taken away to make room; its records stay."
_FOREIGN: Final = "It is a backup of another database, which this one cannot be brought back from by the gate's rules."

_TOUCHED: Final = Badge("file touched", *WARN)
_ELSEWHERE: Final = Badge("counts by its records", *WARN)


class JudgedBackup:
    """A backup with its checks (fetched by the caller), for the database `own`, at the database's time `now`."""

    def __init__(self, backup: Backup, own: Identity, now: datetime) -> None:
        self.backup, self.own, self.now = backup, own, now
        self.checks = history.in_order(backup)

    @property
    def age_seconds(self) -> float:
        """Since its snapshot."""
        return (self.now - self.backup.snapshot_at).total_seconds()

    @property
    def restore_seconds(self) -> float | None:
        """The restore time to count on (RTO), as the last passed drill measured it."""
        return history.restore_seconds(self.checks)

    def last(self, kind: CheckKind) -> BackupCheck | None:
        """Its last check of that kind."""
        return next((check for check in reversed(self.checks) if check.kind == kind), None)

    @property
    def unsure(self) -> bool:
        """Whether only a look at its bytes can say if it counts: the gate takes that look, this page does not."""
        return self.state[0] in (_TOUCHED, _ELSEWHERE)

    @cached_property
    def state(self) -> tuple[Badge, Validity]:
        """Whether it counts, why not, and the command that could change it.

        A file that was touched since its checks is not read here, for that may take long: the gate does that.
        """
        if self.backup.pruned_at:
            return Badge("taken away", "quiet", "–"), Validity(False, _PRUNED)
        if self.own != _identity(self.backup):
            return Badge("of another database", *QUIET), Validity(False, _FOREIGN)
        found = validity(self.backup.name, self.backup.sha256, self.checks)
        if not found.valid:
            failed = any(check.verdict == CheckVerdict.FAILED for check in self.checks)
            return (
                Badge("does not count", *BAD) if failed else Badge("not checked yet", *WARN)
            ), found
        return self._on_disk(found)

    def _on_disk(self, found: Validity) -> tuple[Badge, Validity]:
        good = [check for check in self.checks if check.verdict == CheckVerdict.PASSED]
        passed = {check.stamp for check in good if check.sha256 == self.backup.sha256}
        remedy = f"{COMMANDS[CheckKind.VERIFY]} {self.backup.name}"
        try:
            with archive.opened(self.backup.path) as descriptor:
                if archive.stamp(descriptor) in passed:
                    return Badge("counts", *GOOD), found
        except Bad:
            if self.backup.host != socket.gethostname():
                return _ELSEWHERE, Validity(True, f"Its file is on {self.backup.host}.", remedy)
            return Badge("file missing", *BAD), Validity(
                False,
                f"{self.backup.name} is no longer in {self.backup.directory}.",
                "manage.py backup_cycle",
            )
        except OSError as fault:
            return Badge("file unreadable", *BAD), Validity(
                False, f"It cannot be opened: {fault.strerror}.", remedy
            )
        touched = "The file was touched or changed since its last check. The gate reads it again; so does this:"
        return _TOUCHED, Validity(False, touched, remedy)


def _identity(backup: Backup) -> Identity:
    return Identity(backup.system_identifier, backup.database, backup.database_oid)
