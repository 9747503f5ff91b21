"""The output of `normalize_stages`: a run's events (log, progress bar, JSON lines), tables, reports."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TextIO

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ops import terminal
from ops.backfill.models import BackfillRun
from ops.backfill.plan import ColumnPlan
from ops.backfill.session import EventListener
from ops.backfill.states import RunState

log = structlog.get_logger("ops.backfill")
LINE_EVERY_SECONDS = 10.0
VALUES_SHOWN = 40


# -- Events


def to_log(event: str, /, **fields: Any) -> None:
    """Write one structured log record."""
    log.info(f"stage_backfill_{event}", **fields)


def to_json(write: Callable[[str], Any]) -> EventListener:
    """Return a listener that writes one JSON object a line, `event` first."""

    def tell(event: str, /, **fields: Any) -> None:
        write(json.dumps({"event": event, **fields}, ensure_ascii=False))

    return tell


def to_all(*listeners: EventListener) -> EventListener:
    """Return a listener that passes each event to all `listeners`."""

    def tell(event: str, /, **fields: Any) -> None:
        for listener in listeners:
            listener(event, **fields)

    return tell


@contextmanager
def progress(output: TextIO) -> Iterator[EventListener]:
    """Yield a listener that draws a bar on a terminal, and prints a line now and then elsewhere.

    The bar replaces the log records, which go to the same terminal.
    """
    if not output.isatty():
        yield _Lines(output)
        return
    logger = logging.getLogger("ops.backfill")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with _bar(output) as bar:
            yield _Bar(bar)
    finally:
        logger.setLevel(before)


def _bar(output: TextIO) -> Progress:
    # The time left comes from the rows of the last half minute, with all rests and waits.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TextColumn("{task.completed:,.0f} of {task.fields[rows]}"),
        TextColumn("{task.fields[rate]},"),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[note]}", style="yellow", markup=False),  # database messages
        console=Console(file=output),
        speed_estimate_period=30,
    )


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: str, /, **fields: Any) -> None:
        name = str(fields.get("table", ""))
        if event == "pass":
            total = fields["total"]
            self._task(name, total=total, completed=fields["scanned"], rows=f"{total:,}")
        elif event == "batch":
            rate = fields["scanned"] / max(fields["seconds"], 1e-6)
            note = "smaller batches: clients wait for rows" if fields["contended"] else ""
            advance = fields["scanned"]
            task = self._task(name)
            self.progress.update(task, advance=advance, rate=f"{rate:,.0f} rows/s", note=note)
        elif event in ("waiting", "retry"):
            for task in list(self.tasks.values())[-1:]:
                self.progress.update(task, note=f"waiting: {fields['reason']}")

    def _task(self, name: str, **start: Any) -> TaskID:
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=None, rows="?", rate="", note="")
        if start:
            self.progress.update(self.tasks[name], **start)
        return self.tasks[name]


class _Lines:
    def __init__(self, output: TextIO) -> None:
        self.output = output
        self.last = monotonic()
        self.scanned = self.total = 0

    def __call__(self, event: str, /, **fields: Any) -> None:
        if event == "pass":
            self.scanned, self.total = fields["scanned"], fields["total"]
        if event == "batch":
            self.scanned += fields["scanned"]
        if event in ("waiting", "retry") or monotonic() - self.last > LINE_EVERY_SECONDS:
            self.last = monotonic()
            text = f"{self.scanned:,} of {self.total:,} rows"
            if "reason" in fields:
                text = f"{event}: {fields['reason']}"
            self.output.write(f"{fields.get('table', '')} {text}\n".lstrip())
            self.output.flush()


# -- Reports


def report(run: BackfillRun) -> dict[str, Any]:
    """Return a finished run as plain data; only its number and state while the database is away."""
    if run.state == RunState.RUNNING:
        return {"run": run.pk, "state": run.state}
    done = list(run.checkpoints.order_by("id"))
    return {
        "run": run.pk,
        "kind": run.kind,
        "state": run.state,
        "undoes": run.undoes_id,
        "batches": run.batch,
        "working_seconds": round(run.working_seconds, 3),
        "scanned": sum(each.scanned for each in done),
        "changed": sum(each.changed for each in done),
        "unknown_rows": sum(each.unknown for each in done),
        "unknown": run.unknown,
        "columns": [
            {
                "table": each.table_name,
                "column": each.column_name,
                "scanned": each.scanned,
                "changed": each.changed,
                "unknown_rows": each.unknown,
                "left_alone": each.left_alone,
            }
            for each in done
        ],
    }


def tables(found: tuple[ColumnPlan, ...]) -> str:
    """Return a table for each column: canonical values, values that change, unknown values."""
    return "\n".join(terminal.drawn(_table(each)) for each in found)


def _table(found: ColumnPlan) -> Table:
    table = Table(title=f"{found.column}, {found.rows:,} rows", title_justify="left")
    table.add_column("stored")
    table.add_column("becomes")
    table.add_column("rows", justify="right")
    for stage, rows in found.canonical.items():
        table.add_row(repr(stage), "(canonical)", f"{rows:,}")
    for spelling in found.pairs[:VALUES_SHOWN]:
        table.add_row(_printable(spelling.raw), spelling.stage, f"{spelling.rows:,}")
    for spelling in found.unknown[:VALUES_SHOWN]:
        stays = f"stays, unknown{_perhaps(spelling.suggestions)}"
        table.add_row(_printable(spelling.raw), stays, f"{spelling.rows:,}")
    hidden = max(0, len(found.pairs) - VALUES_SHOWN)
    hidden += max(0, found.unknown_values - VALUES_SHOWN)
    if hidden:
        table.add_row("…", f"and {hidden:,} more values (--json lists them)", "")
    return table


def _perhaps(suggestions: list[str]) -> str:
    return f" (perhaps {' or '.join(suggestions)})" if suggestions else ""


def _printable(raw: str) -> str:
    # repr shows white space and invisible characters.
    return repr(raw) if raw.isprintable() else ascii(raw)
