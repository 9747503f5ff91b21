"""Where a run's events are shown: the log (one record an event), a progress bar, or JSON lines."""

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

from ops.backfill.events import Tell

log = structlog.get_logger("ops.backfill")
LINE_EVERY_SECONDS = 10.0


def to_log(event: str, /, **fields: Any) -> None:
    """One structured log record."""
    log.info(f"stage_backfill_{event}", **fields)


def to_json(write: Callable[[str], Any]) -> Tell:
    """One JSON object a line, `event` first."""

    def tell(event: str, /, **fields: Any) -> None:
        write(json.dumps({"event": event, **fields}, ensure_ascii=False))

    return tell


@contextmanager
def shown(output: TextIO) -> Iterator[Tell]:
    """A bar on a terminal (in place of the log's records, which go to the same place), else a line now and then."""
    if not output.isatty():
        yield _Lines(output)
        return
    logger = logging.getLogger("ops.backfill")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with _bar(output) as progress:
            yield _Bar(progress)
    finally:
        logger.setLevel(before)


def all_of(*listeners: Tell) -> Tell:
    """One listener that tells each of `listeners`."""

    def tell(event: str, /, **fields: Any) -> None:
        for listener in listeners:
            listener(event, **fields)

    return tell


def _bar(output: TextIO) -> Progress:
    # The time left comes from the rows of the last half minute, rests and waits included: what is seen is what is left.
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        TextColumn("{task.completed:,.0f} of {task.fields[rows]}"),
        TextColumn("{task.fields[rate]},"),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn(
            "{task.fields[note]}", style="yellow", markup=False
        ),  # the database's own words
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
            self._task(
                name,
                total=fields["total"],
                completed=fields["scanned"],
                rows=f"{fields['total']:,}",
            )
        elif event == "batch":
            task = self._task(name)
            rate = fields["scanned"] / max(fields["seconds"], 1e-6)
            note = "smaller batches: clients wait for rows" if fields["contended"] else ""
            self.progress.update(
                task, advance=fields["scanned"], rate=f"{rate:,.0f} rows/s", note=note
            )
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
        self.scanned += fields.get("scanned", 0) if event == "batch" else 0
        if event in ("waiting", "retry") or monotonic() - self.last > LINE_EVERY_SECONDS:
            self.last = monotonic()
            text = (
                f"{event}: {fields['reason']}"
                if "reason" in fields
                else f"{self.scanned:,} of {self.total:,} rows"
            )
            self.output.write(f"{fields.get('table', '')} {text}\n".lstrip())
            self.output.flush()
