"""Arguments and output of the backup commands: progress by bytes, then sentences or one JSON object."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.table import Table

from ops.backups import history
from ops.backups.cycle import Cycle
from ops.backups.history import backup_verdict
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupFailed, BackupRefused, CheckKind, CheckVerdict
from ops.backups.prune import KEEP, KEEP_DAYS, Pruned
from ops.backups.validity import Validity
from ops.clock import database_now
from ops.gates.rules import GateOutcome, GateVerdict
from stagenorm.terminal import (
    ReportProgress,
    add_row,
    progress_bar,
    seconds,
    show_json,
    table,
    whole_number,
)


def declare_json(parser: ArgumentParser) -> None:
    """Declare `--json`, which every backup command takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def declare_new_backup(parser: ArgumentParser) -> None:
    """Declare where a new backup goes, and the reason to accept fewer rows."""
    parser.add_argument(
        "--directory", type=Path, default=settings.BACKUP_DIR, help="instead of BACKUP_DIR"
    )
    parser.add_argument(
        "--accept-fewer-rows",
        default="",
        metavar="REASON",
        help="accept that half of the rows or more are gone",
    )


def declare_backup(parser: ArgumentParser) -> None:
    """Declare which backup to check."""
    parser.add_argument("backup", nargs="?", help="file name; the newest by default")
    parser.add_argument("--latest", action="store_true", help="the newest, which is the default")


def declare_kept(parser: ArgumentParser) -> None:
    """Declare how many backups a prune keeps."""
    parser.add_argument(
        "--keep", type=whole_number(0), default=KEEP, help="how many of the newest to keep"
    )
    parser.add_argument(
        "--keep-days",
        type=whole_number(0),
        default=KEEP_DAYS,
        help="for how many days to keep one valid backup a day",
    )


def declare_time_limit(parser: ArgumentParser, program: str, default: float) -> None:
    """Declare the time limit of `program`."""
    parser.add_argument(
        "--time-limit", type=seconds, default=default, help=f"seconds for {program}"
    )


@contextlib.contextmanager
def operation(options: dict[str, Any]) -> Iterator[ReportProgress]:
    """Yield the progress callback of one operation; raise CommandError when it is refused or fails."""
    try:
        with progress_bar("bytes", quiet=options["json"]) as progress:
            yield progress
    except (BackupRefused, BackupFailed, OSError) as fault:
        raise CommandError(str(fault)) from fault


def print_check(command: BaseCommand, check: BackupCheck, *, as_json: bool) -> None:
    """Print what a check found; raise CommandError unless it passed."""
    if as_json:
        show_json(command.stdout, check_json(check))
    if check.verdict != CheckVerdict.PASSED:
        raise CommandError(checked(check))
    if not as_json:
        command.stdout.write(checked(check))


def backup_json(backup: Backup) -> dict[str, Any]:
    """Return a new backup for `--json`."""
    names = ("name", "directory", "size", "sha256", "seconds")
    members = {name: getattr(backup, name) for name in names}
    return {**members, "snapshot_at": backup.snapshot_at.isoformat()}


def check_json(check: BackupCheck) -> dict[str, Any]:
    """Return a check for `--json`."""
    names = ("verdict", "reason", "sha256", "size", "seconds")
    members = {name: getattr(check, name) for name in names}
    return {"name": check.backup.name, "check": check.kind, **members}


def pruned_json(done: Pruned) -> dict[str, Any]:
    """Return the result of a prune for `--json`."""
    return {"taken": done.taken, "kept": done.kept, "assured": done.assured}


def cycle_json(done: Cycle) -> dict[str, Any]:
    """Return one cycle for `--json`."""
    return {
        "passed": done.passed,
        "seconds": done.seconds,
        "backup": backup_json(done.backup),
        "checks": [check_json(check) for check in done.checks],
        "pruned": pruned_json(done.pruned) if done.pruned else None,
    }


def created(backup: Backup) -> str:
    """Return the sentence about a new backup."""
    snapshot = f"snapshot of {backup.snapshot_at:%F %T} UTC"
    return f"Made {backup.path} ({backup.size:,} bytes, {snapshot}, {backup.seconds:.1f} s)."


def checked(check: BackupCheck) -> str:
    """Return the sentence about a check."""
    found = f"{check.kind} {check.verdict}: {check.backup.name}: {check.reason}"
    return f"{found} ({check.seconds:.1f} s)."


def pruned(done: Pruned) -> str:
    """Return the sentence about a prune."""
    if done.assured is None:
        return (
            f"Removed nothing: none of {len(done.kept)} backups is valid, so each may be needed."
        )
    return (
        f"Removed {len(done.taken)} backups, kept {len(done.kept)}; "
        f"{done.assured} was read again and is whole."
    )


def cycle(done: Cycle) -> str:
    """Return the lines about one cycle, one for each step."""
    lines = [created(done.backup), *map(checked, done.checks)]
    if done.pruned:
        lines.append(pruned(done.pruned))
    return "\n".join([*lines, f"All in all {done.seconds:.1f} s."])


@dataclass(frozen=True, slots=True)
class BackupLine:
    """One backup. `restore_seconds`: how long its last passed drill took, all in all."""

    backup: Backup
    age_seconds: float
    validity: Validity
    verify: str
    restore: str
    restore_seconds: float | None

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.backup.name,
            "directory": self.backup.directory,
            "snapshot_at": self.backup.snapshot_at.isoformat(),
            "age_seconds": round(self.age_seconds, 1),
            "size": self.backup.size,
            "sha256": self.backup.sha256,
            "seconds": round(self.backup.seconds, 3),
            "verify": self.verify,
            "restore": self.restore,
            "restore_seconds": self.restore_seconds,
            "valid": self.validity.valid,
            "reason": self.validity.reason,
        }


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """All backups, newest first, and the verdict of the gate."""

    lines: list[BackupLine]
    verdict: GateVerdict

    @property
    def fresh(self) -> bool:
        """Whether a valid backup is younger than the limit."""
        return self.verdict.outcome is GateOutcome.PASS

    @property
    def restore_seconds(self) -> float | None:
        """The measured restore time to count on (RTO): of the newest backup that has one."""
        measured = (line.restore_seconds for line in self.lines)
        return next((each for each in measured if each is not None), None)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "fresh": self.fresh,
            "sentence": self.verdict.sentence,
            "restore_seconds": self.restore_seconds,
            "backups": [line.to_wire() for line in self.lines],
        }


def status() -> BackupStatus:
    """Return the state of the backups of this database."""
    now = database_now()
    lines = [_line(now, *each) for each in history.with_validity()]
    return BackupStatus(lines, backup_verdict())


def status_table(status: BackupStatus) -> Table:
    """Return the table of `backup_status`."""
    headings = ("backup", "age", "bytes", "verify", "restore", "restored in", "valid")
    drawn = table(*headings, title="Backups", numbers=("age", "bytes", "restored in"))
    for line in status.lines:
        add_row(
            drawn,
            line.backup.name,
            f"{line.age_seconds / 60:.0f} min",
            line.backup.size,
            line.verify,
            line.restore,
            "" if line.restore_seconds is None else f"{line.restore_seconds:.1f} s",
            "yes" if line.validity.valid else "no",
        )
    return drawn


def _line(now: datetime, backup: Backup, state: Validity, checks: list[BackupCheck]) -> BackupLine:
    last = {check.kind: str(check.verdict) for check in checks}
    return BackupLine(
        backup,
        (now - backup.snapshot_at).total_seconds(),
        state,
        last.get(CheckKind.VERIFY, "never"),
        last.get(CheckKind.RESTORE, "never"),
        history.restore_seconds(checks),
    )
