"""Arguments and output of the backup commands: progress, then sentences or one JSON object."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.table import Table

from ops import clock
from ops.backups import archive, history
from ops.backups.cycle import KEEP, KEEP_DAYS, CycleResult, PruneResult
from ops.backups.history import JudgedBackup
from ops.backups.models import Backup, BackupCheck
from ops.backups.outcomes import BackupFailed, BackupRefused
from ops.backups.source import Source, elsewhere
from ops.backups.staging import DrillResult
from ops.gates.backup_rule import CheckKind, CheckVerdict
from ops.gates.rules import GateFacts, GateOutcome, GateVerdict, backup_valid
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


def declare_into(parser: ArgumentParser) -> None:
    """Declare the server on which a drill restores."""
    parser.add_argument(
        "--into",
        metavar="URL",
        help="restore on this server instead: an address without a password, or env:NAME of one",
    )


def into(options: dict[str, Any]) -> Source | None:
    """Return the server of `--into`, None for the database's own. Raises `BackupRefused`."""
    return elsewhere(options["into"]) if options["into"] else None


@contextlib.contextmanager
def operation(options: dict[str, Any]) -> Iterator[ReportProgress]:
    """Yield the progress callback of one operation. Raises CommandError if it fails."""
    try:
        with progress_bar("bytes", quiet=options["json"]) as progress:
            yield progress
    except (BackupRefused, BackupFailed) as fault:
        raise CommandError(str(fault)) from fault
    except PermissionError as fault:
        raise CommandError(f"{archive.forbidden(fault)}.") from fault
    except OSError as fault:
        raise CommandError(str(fault)) from fault


def print_check(command: BaseCommand, check: BackupCheck, *, as_json: bool) -> None:
    """Print what a check found; raise CommandError unless it passed."""
    if as_json:
        show_json(command.stdout, check_json(check))
    if check.verdict != CheckVerdict.PASSED:
        raise CommandError(checked(check))
    if not as_json:
        command.stdout.write(checked(check))


def print_result(command: BaseCommand, result: DrillResult, file: Path, *, as_json: bool) -> None:
    """Print the result of a drill on staging; raise CommandError unless it passed."""
    found = f"{CheckKind.RESTORE} {result.verdict}: {result.name}: {result.reason}"
    sentence = f"{found} ({result.seconds:.1f} s). Record it: manage.py record_drill {file.name}"
    if as_json:
        names = ("name", "verdict", "reason", "sha256", "size", "seconds", "target")
        show_json(command.stdout, {name: getattr(result, name) for name in names})
    if result.verdict != CheckVerdict.PASSED:
        raise CommandError(sentence)
    if not as_json:
        command.stdout.write(sentence)


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


def pruned_json(done: PruneResult) -> dict[str, Any]:
    """Return the result of a prune for `--json`."""
    return {"taken": done.taken, "kept": done.kept, "assured": done.assured}


def cycle_json(done: CycleResult) -> dict[str, Any]:
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


def pruned(done: PruneResult) -> str:
    """Return the sentence about a prune."""
    if done.assured is None:
        return (
            f"Removed nothing: none of {len(done.kept)} backups is valid, so each may be needed."
        )
    return (
        f"Removed {len(done.taken)} backups, kept {len(done.kept)}; "
        f"{done.assured} was read again and is whole."
    )


def cycle(done: CycleResult) -> str:
    """Return the lines about one cycle, one for each step."""
    lines = [created(done.backup), *map(checked, done.checks)]
    if done.pruned:
        lines.append(pruned(done.pruned))
    return "\n".join([*lines, f"All in all {done.seconds:.1f} s."])


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """All backups, newest first, and the verdict of the gate."""

    backups: list[JudgedBackup]
    verdict: GateVerdict

    @property
    def fresh(self) -> bool:
        """Whether the gate passes."""
        return self.verdict.outcome is GateOutcome.PASS

    @property
    def restore_seconds(self) -> float | None:
        """The expected restore time (RTO): of the newest backup that has one."""
        measured = (each.restore_seconds for each in self.backups)
        return next((seconds for seconds in measured if seconds is not None), None)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "fresh": self.fresh,
            "sentence": self.verdict.sentence,
            "restore_seconds": self.restore_seconds,
            "backups": [_status_json(each) for each in self.backups],
        }


def status() -> BackupStatus:
    """Return the state of the backups of this database; fresh dumps that were touched are read."""
    found = list(history.judged(read_files=True))
    facts = GateFacts(clock.database_now(), 0, 0.0, backups=tuple(each.validity for each in found))
    return BackupStatus(found, backup_valid(facts))


def status_table(status: BackupStatus) -> Table:
    """Return the table of `backup_status`."""
    headings = ("backup", "age", "bytes", "verify", "restore", "restored in", "state")
    drawn = table(*headings, title="Backups", numbers=("age", "bytes", "restored in"))
    for each in status.backups:
        seconds = each.restore_seconds
        add_row(
            drawn,
            each.backup.name,
            f"{each.validity.age_seconds / 60:.0f} min",
            each.backup.size,
            _last_verdict(each, CheckKind.VERIFY),
            _last_verdict(each, CheckKind.RESTORE),
            "" if seconds is None else f"{seconds:.1f} s",
            each.validity.state.value,
        )
    return drawn


def _status_json(each: JudgedBackup) -> dict[str, Any]:
    return {
        "name": each.backup.name,
        "directory": each.backup.directory,
        "snapshot_at": each.backup.snapshot_at.isoformat(),
        "age_seconds": round(each.validity.age_seconds, 1),
        "size": each.backup.size,
        "sha256": each.backup.sha256,
        "seconds": round(each.backup.seconds, 3),
        "verify": _last_verdict(each, CheckKind.VERIFY),
        "restore": _last_verdict(each, CheckKind.RESTORE),
        "restore_seconds": each.restore_seconds,
        "valid": each.validity.valid is True,
        "state": each.validity.state.value,
        "reason": each.validity.sentence,
    }


def _last_verdict(each: JudgedBackup, kind: CheckKind) -> str:
    check = each.last(kind)
    return "never" if check is None else str(check.verdict)
