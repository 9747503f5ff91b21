"""`manage.py import_companies FILE.csv --fund N`: arguments and printed output of `imports`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from stagenorm.portfolio.imports import (
    CompanyImport,
    ImportSummary,
    Rejection,
    Report,
    open_report,
)
from stagenorm.portfolio.imports_csv import CsvFormat, FileRefused
from stagenorm.portfolio.imports_rows import FIELDS, read_mapping
from stagenorm.portfolio.models import Fund
from stagenorm.terminal import progress_bar

SHOWN: Final = 10
INTERRUPTED: Final = 130  # 128 + SIGINT, as in shells


class Command(BaseCommand):
    """Imports companies. Exits with 0 if every line was imported, otherwise with 1."""

    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Import companies from a CSV file whose first line names the columns: "
        + ", ".join(FIELDS)
        + "."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "file", type=Path, metavar="FILE.csv", help="The file; - for standard input."
        )
        parser.add_argument(
            "--fund",
            type=int,
            required=True,
            metavar="N",
            help="The fund of the companies.",
        )
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="name=Company,stage=Round",
            help="Columns with other names.",
        )
        parser.add_argument(
            "--delimiter", default=",", help="The character between fields; \\t for a tab."
        )
        parser.add_argument(
            "--encoding",
            default="utf-8-sig",
            help="Default: UTF-8, with or without a byte order mark.",
        )
        parser.add_argument(
            "--report",
            type=Path,
            metavar="FILE",
            help="Write every refused line here: as CSV to *.csv, else as JSON lines.",
        )
        parser.add_argument(
            "--atomic",
            action="store_true",
            help="Import nothing if any line is refused.",
        )
        parser.add_argument("--json", action="store_true", help="Print the summary as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import the file and print the summary."""
        try:
            with ExitStack() as stack:
                summary = CompanyImport(
                    options["file"],
                    _fund(options["fund"]),
                    CsvFormat(options["encoding"], options["delimiter"].replace("\\t", "\t")),
                    read_mapping(options["map"]),
                    options["atomic"],
                    stack.enter_context(self._report(options["report"], options["file"])),
                    stack.enter_context(_progress(options["file"])),
                ).run()
        except FileRefused as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as error:
            raise CommandError(
                "Interrupted: nothing was imported.", returncode=INTERRUPTED
            ) from error
        self.stdout.write(json.dumps(asdict(summary)) if options["json"] else _sentence(summary))
        if summary.rejected:
            raise CommandError(f"{summary.rejected} of {summary.lines} lines were refused.")

    @contextmanager
    def _report(self, path: Path | None, source: Path) -> Iterator[Report]:
        if path is None:
            yield self._show_first()
            return
        if path.exists() and source.exists() and path.samefile(source):
            raise FileRefused("The report would overwrite the imported file.")
        with open_report(path) as report:
            yield report

    def _show_first(self) -> Report:
        shown = 0

        def show(rejection: Rejection) -> None:
            nonlocal shown
            shown += 1
            if shown <= SHOWN:
                column = f", {rejection.column}" if rejection.column else ""
                self.stderr.write(f"Line {rejection.line}{column}: {rejection.reason}")
            elif shown == SHOWN + 1:
                self.stderr.write("More lines were refused; --report FILE lists them all.")

        return show


def _fund(number: int) -> Fund:
    fund = Fund.objects.filter(pk=number).first()
    if fund is None:
        raise CommandError(f"Fund {number} does not exist.")
    return fund


@contextmanager
def _progress(path: Path) -> Iterator[Any]:
    total = path.stat().st_size if path.is_file() else None
    with progress_bar("bytes") as report:
        yield lambda count: report("importing", count, total)


def _sentence(summary: ImportSummary) -> str:
    return (
        f"Imported {summary.imported} of {summary.lines} lines into fund {summary.fund} "
        f"(mode {summary.mode}): {summary.normalized} stages normalized, "
        f"{summary.unknown} unknown ones stored as they came"
        + (f", {summary.outside} outside." if summary.outside else ".")
    )
