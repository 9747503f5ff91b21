"""The output of `normalize_stages`: a run's events, tables of values, and reports.

Events go to the log and to one display: a progress bar, plain lines, or JSON lines.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TextIO

import structlog
from rich.table import Table

from ops.backfill.models import BackfillRun
from ops.backfill.plan import ColumnPlan
from ops.backfill.session import EventListener
from ops.backfill.states import RunState
from stagenorm.terminal import ReportProgress, add_row, progress_bar, table

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
        with progress_bar("rows", stream=output) as show_progress:
            yield _Bar(show_progress)
    finally:
        logger.setLevel(before)


class _Bar:
    """Turns events into the progress of one bar for each table."""

    def __init__(self, show_progress: ReportProgress) -> None:
        self.show_progress = show_progress
        self.table = ""
        self.scanned = 0
        self.total: int | None = None

    def __call__(self, event: str, /, **fields: Any) -> None:
        note = ""
        if event == "pass":
            self.table = str(fields["table"])
            self.scanned, self.total = fields["scanned"], fields["total"]
        elif event == "batch":
            self.scanned += fields["scanned"]
            note = "smaller batches: clients wait for rows" if fields["contended"] else ""
        elif event in ("waiting", "retry"):
            note = f"waiting: {fields['reason']}"
        if self.table:
            self.show_progress(self.table, self.scanned, self.total, note=note)


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
    """Return a finished run as data; only number and state while the database is away."""
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


def tables(found: tuple[ColumnPlan, ...]) -> list[Table]:
    """Return a table for each column: rows that stay, values that change, values without stage."""
    return [_values(each) for each in found]


def _values(found: ColumnPlan) -> Table:
    title = f"{found.column}, {found.rows:,} rows"
    values = table("stored", "becomes", "rows", title=title, numbers=("rows",))
    without_stage = "NULL" if found.column.derived else "stays"
    for stage, rows in found.canonical.items():
        add_row(values, f"stage {stage!r}", "(stays)", rows)
    pairs = [each for each in found.pairs if each.stage]
    for spelling in pairs[:VALUES_SHOWN]:
        add_row(values, _printable(spelling.raw), spelling.stage, spelling.rows)
    for spelling in found.unknown[:VALUES_SHOWN]:
        becomes = f"{without_stage}, undecided{_perhaps(spelling.suggestions)}"
        add_row(values, _printable(spelling.raw), becomes, spelling.rows)
    for spelling in found.outside[:VALUES_SHOWN]:
        add_row(values, _printable(spelling.raw), f"{without_stage}, outside", spelling.rows)
    hidden = max(0, len(pairs) - VALUES_SHOWN)
    hidden += max(0, found.unknown_values - VALUES_SHOWN)
    hidden += max(0, found.outside_values - VALUES_SHOWN)
    if hidden:
        add_row(values, "…", f"and {hidden:,} more values (--json lists them)", "")
    return values


def _perhaps(suggestions: list[str]) -> str:
    return f" (perhaps {' or '.join(suggestions)})" if suggestions else ""


def _printable(raw: str) -> str:
    # repr shows white space and invisible characters.
    return repr(raw) if raw.isprintable() else ascii(raw)
