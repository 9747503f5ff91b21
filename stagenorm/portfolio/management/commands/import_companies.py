"""`manage.py import_companies FILE.csv --fund N`: plan an import, apply a plan, undo an import."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from normalization import decision_file
from stagenorm.portfolio.imports.columns import FIELDS, read_mapping
from stagenorm.portfolio.imports.dialect import OddBytes
from stagenorm.portfolio.imports.imported_file import FileRefused, Progress, open_file
from stagenorm.portfolio.imports.importing import ImportRequest, ImportResult, run
from stagenorm.portfolio.imports.options import MOST_REFUSED, ImportOptions
from stagenorm.portfolio.imports.rejected import open_rejected
from stagenorm.portfolio.imports.undo import undo
from stagenorm.portfolio.imports.values import DATE_FORMS, read_status_names
from stagenorm.portfolio.management import import_output as output
from stagenorm.portfolio.models import Fund
from stagenorm.terminal import progress_bar, show, show_json, whole_number

USAGE: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as in shells


class Command(BaseCommand):
    """Exits with 0 if no line is refused, with 1 if lines or the import are refused, with 2 for
    missing arguments.
    """

    requires_system_checks = ()  # `check` and the service run them
    help = (
        "Plan the import of companies from a CSV file whose first line names the columns: "
        + ", ".join(FIELDS)
        + ". Nothing is written without --apply."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "file",
            type=Path,
            nargs="?",
            metavar="FILE.csv",
            help="The file; - for standard input.",
        )
        parser.add_argument("--fund", type=int, metavar="N", help="The fund of the companies.")
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--apply", metavar="HASH", help="Carry out the plan with this hash.")
        action.add_argument(
            "--undo", type=int, metavar="ID", help="Delete the companies of an import."
        )
        _declare_form(parser)
        _declare_values(parser)
        _declare_lines(parser)
        parser.add_argument("--actor", default=getpass.getuser(), help="Who; your login name.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Carry out one action and print its result."""
        try:
            if options["undo"] is not None:
                self._undo(options)
            else:
                self._import(options)
        except OddBytes as error:
            if not options["json"]:
                show(self.stderr, output.odd_lines(error))
            raise CommandError(str(error)) from error
        except FileRefused as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt as error:
            text = "Interrupted: nothing was imported."
            raise CommandError(text, returncode=INTERRUPTED) from error

    def _undo(self, options: dict[str, Any]) -> None:
        result = undo(options["undo"], actor=options["actor"])
        if options["json"]:
            show_json(self.stdout, output.undo_json(result))
        else:
            self.stdout.write(output.undo_sentences(result))

    def _import(self, options: dict[str, Any]) -> None:
        if options["file"] is None or options["fund"] is None:
            raise CommandError("Give a FILE.csv and --fund N, or --undo ID.", returncode=USAGE)
        fund, asked = _fund(options["fund"]), _options(options)
        _check_report(options["report"], options["file"])
        with ExitStack() as stack:
            request = ImportRequest(
                stack.enter_context(open_file(options["file"])),
                fund,
                asked,
                stack.enter_context(open_rejected(options["report"])),
                stack.enter_context(_progress()),
            )
            result = run(request, approved=options["apply"] or "", actor=options["actor"])
        if options["decisions"]:
            _write_decisions(options["decisions"], result)
        self._show(result, options)
        counts = result.counts
        if counts.rejected:
            raise CommandError(f"{counts.rejected:,} of {counts.lines:,} lines were refused.")

    def _show(self, result: ImportResult, options: dict[str, Any]) -> None:
        if options["json"]:
            show_json(self.stdout, output.result_json(result))
        elif options["apply"]:
            self.stdout.write(output.import_sentences(result))
        else:
            show(self.stdout, *output.plan_parts(result))


def _declare_form(parser: CommandParser) -> None:
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="name=Company,stage=Round",
        help="Columns with other names; status= leaves a field out, 'stage=a|b' takes the first "
        "that is not missing.",
    )
    parser.add_argument(
        "--key", default="", metavar="COLUMN", help="The column that identifies a company."
    )
    parser.add_argument(
        "--delimiter", default="", help="The character between fields; \\t for a tab."
    )
    parser.add_argument(
        "--encoding",
        default="",
        help="Default: the byte order mark's, else UTF-8. utf-8+cp1252 reads mixed files.",
    )


def _declare_values(parser: CommandParser) -> None:
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="TEXT",
        help="Another mark of a missing value, besides - N/A NULL nan Undisclosed; repeatable.",
    )
    parser.add_argument(
        "--decimal", default=".", choices=(".", ","), help="The decimal separator."
    )
    parser.add_argument(
        "--dates", default="", choices=tuple(DATE_FORMS), help="The form of dates."
    )
    parser.add_argument(
        "--status",
        action="append",
        default=[],
        metavar="closed=written_off",
        help="Other words for a status.",
    )
    parser.add_argument(
        "--value-errors",
        default="null",
        choices=("null", "refuse"),
        help="Refuse lines with an optional cell that cannot be read; default: it has no value.",
    )


def _declare_lines(parser: CommandParser) -> None:
    parser.add_argument(
        "--update-stage",
        action="store_true",
        help="Give companies that are there the stage of the file.",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="Write every refused line here: to *.csv in a form that can be corrected and "
        "imported, else as JSON lines.",
    )
    parser.add_argument(
        "--decisions",
        type=Path,
        metavar="FILE.csv",
        help="Write the undecided stages here, for stage_decisions.",
    )
    parser.add_argument(
        "--atomic", action="store_true", help="Import nothing if any line is refused."
    )
    parser.add_argument(
        "--max-refused",
        type=whole_number(0),
        default=MOST_REFUSED,
        metavar="N",
        help=f"Stop at more refused lines; default {MOST_REFUSED:,}.",
    )


def _options(options: dict[str, Any]) -> ImportOptions:
    return ImportOptions(
        mapping=read_mapping(options["map"]),
        key=options["key"].strip(),
        encoding=options["encoding"].strip(),
        delimiter=options["delimiter"],
        missing=tuple(options["missing"]),
        decimal=options["decimal"],
        dates=options["dates"],
        statuses=read_status_names(options["status"]),
        refuse_values=options["value_errors"] == "refuse",
        update_stage=options["update_stage"],
        atomic=options["atomic"],
        max_refused=options["max_refused"],
    )


def _fund(number: int) -> Fund:
    fund = Fund.objects.filter(pk=number).first()
    if fund is None:
        raise CommandError(f"Fund {number} does not exist.")
    return fund


def _check_report(report: Path | None, source: Path) -> None:
    if report and report.exists() and source.exists() and report.samefile(source):
        raise FileRefused("The report would overwrite the imported file.")


def _write_decisions(path: Path, result: ImportResult) -> None:
    text = decision_file.write(output.undecided_rows(result))
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise FileRefused(f"Cannot write {path}: {error.strerror}.") from error


@contextmanager
def _progress() -> Iterator[Progress]:
    with progress_bar("bytes") as report:
        yield report
