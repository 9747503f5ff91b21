"""How the backup commands look: a bar by bytes on a terminal, a sentence or one JSON object on standard output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from ops.backups import archive
from ops.backups.cycle import Cycle
from ops.backups.models import Backup, BackupCheck
from ops.backups.prune import Pruned
from ops.cli.backup_status import Status


@contextlib.contextmanager
def bar(*, quiet: bool) -> Iterator[archive.Progress]:
    """Yield a progress callback that draws on standard error, if that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield archive.silent
        return
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as display:
        tasks = {}

        def progress(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = display.add_task(what, total=total)
            display.update(tasks[what], completed=done, total=total)

        yield progress


def backup_json(backup: Backup) -> dict[str, Any]:
    """Return a new backup for `--json`."""
    names = ("name", "directory", "size", "sha256", "seconds")
    return {
        **{name: getattr(backup, name) for name in names},
        "snapshot_at": backup.snapshot_at.isoformat(),
    }


def check_json(check: BackupCheck) -> dict[str, Any]:
    """Return a check for `--json`."""
    names = ("verdict", "reason", "sha256", "size", "seconds")
    return {
        "name": check.backup.name,
        "check": check.kind,
        **{name: getattr(check, name) for name in names},
    }


def pruned_json(pruned: Pruned) -> dict[str, Any]:
    """Return what was taken away for `--json`."""
    return {"taken": pruned.taken, "kept": pruned.kept, "assured": pruned.assured}


def cycle_json(done: Cycle) -> dict[str, Any]:
    """Return one round for `--json`."""
    return {
        "passed": done.passed,
        "seconds": done.seconds,
        "backup": backup_json(done.backup),
        "checks": [check_json(check) for check in done.checks],
        "pruned": pruned_json(done.pruned) if done.pruned else None,
    }


def created(backup: Backup) -> str:
    """Say that a backup was made."""
    facts = f"{backup.size:,} bytes, snapshot of {backup.snapshot_at:%F %T} UTC, {backup.seconds:.1f} s"
    return f"Made {backup.path} ({facts})."


def checked(check: BackupCheck) -> str:
    """Say what a check found."""
    return f"{check.kind} {check.verdict}: {check.backup.name}: {check.reason} ({check.seconds:.1f} s)."


def pruned(done: Pruned) -> str:
    """Say what was taken away."""
    if done.assured is None:
        return (
            f"Took nothing away: none of {len(done.kept)} backups counts, so each may be needed."
        )
    return f"Took away {len(done.taken)} backups, kept {len(done.kept)}; {done.assured} was read again and is whole."


def cycle(done: Cycle) -> str:
    """Say what one round did, a line for each step."""
    lines = [created(done.backup), *(checked(check) for check in done.checks)]
    return "\n".join(
        [
            *lines,
            *([pruned(done.pruned)] if done.pruned else []),
            f"All in all {done.seconds:.1f} s.",
        ]
    )


def status_table(status: Status) -> Table:
    """Return the table of `backup_status`."""
    table = Table(title="Backups", title_justify="left")
    for heading in ("backup", "age", "bytes", "verify", "restore", "restored in", "counts"):
        table.add_column(
            heading, justify="right" if heading in ("age", "bytes", "restored in") else "left"
        )
    for line in status.lines:
        seconds = "" if line.restore_seconds is None else f"{line.restore_seconds:.1f} s"
        age = f"{line.age_seconds / 60:.0f} min"
        counts = "yes" if line.validity.valid else "no"
        table.add_row(
            line.backup.name,
            age,
            f"{line.backup.size:,}",
            line.verify,
            line.restore,
            seconds,
            counts,
        )
    return table
