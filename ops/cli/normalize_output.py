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
from stagenorm import terminal

log = structlog.get_logger("ops.backfill")
LINE_EVERY_SECONDS = 10.0
VALUES_SHOWN = 40
# The events of a run that waits; a display without a bar prints each of them.
WAITS = ("waiting", "retry")


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
        yield _Counts(_Lines(output))
        return
    logger = logging.getLogger("ops.backfill")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with terminal.progress_bar("rows", stream=output) as report:
            yield _Counts(report)
    finally:
        logger.setLevel(before)


class _Counts:
    """Adds up the rows of a run's events for a progress display."""

    def __init__(self, report: terminal.ReportProgress) -> None:
        self.report = report
        self.table, self.done, self.total = "", 0, 0

    def __call__(self, event: str, /, **fields: Any) -> None:
        note = ""
        if event == "pass":
            self.table, self.done, self.total = fields["table"], fields["scanned"], fields["total"]
        elif event == "batch":
            self.done += fields["scanned"]
            note = "smaller batches: clients wait for rows" if fields["contended"] else ""
        elif event in WAITS:
            note = f"{event}: {fields['reason']}"
        self.report(self.table, self.done, self.total, note=note)


class _Lines:
    """A progress display for a file or a pipe: a line for each wait, else one now and then."""

    def __init__(self, output: TextIO) -> None:
        self.output = output
        self.last = monotonic()

    def __call__(self, task: str, done: int, total: int | None = None, /, note: str = "") -> None:
        waits = note.startswith(WAITS)
        if waits or monotonic() - self.last > LINE_EVERY_SECONDS:
            self.last = monotonic()
            text = note if waits else f"{done:,} of {total or 0:,} rows"
            self.output.write(f"{task} {text}\n".lstrip())
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


def values_table(found: ColumnPlan) -> Table:
    """Return the table of a column: canonical values, values that change, unknown values."""
    title = f"{found.column}, {found.rows:,} rows"
    table = terminal.table("stored", "becomes", "rows", title=title, numbers=("rows",))
    for stage, rows in found.canonical.items():
        terminal.add_row(table, repr(stage), "(canonical)", rows)
    for spelling in found.pairs[:VALUES_SHOWN]:
        terminal.add_row(table, _printable(spelling.raw), spelling.stage, spelling.rows)
    for spelling in found.unknown[:VALUES_SHOWN]:
        stays = f"stays, unknown{_perhaps(spelling.suggestions)}"
        terminal.add_row(table, _printable(spelling.raw), stays, spelling.rows)
    hidden = max(0, len(found.pairs) - VALUES_SHOWN)
    hidden += max(0, found.unknown_values - VALUES_SHOWN)
    if hidden:
        terminal.add_row(table, "…", f"and {hidden:,} more values (--json lists them)", "")
    return table


def _perhaps(suggestions: list[str]) -> str:
    return f" (perhaps {' or '.join(suggestions)})" if suggestions else ""


def _printable(raw: str) -> str:
    # repr shows white space and invisible characters.
    return repr(raw) if raw.isprintable() else ascii(raw)
