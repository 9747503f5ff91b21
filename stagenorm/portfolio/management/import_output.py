"""What `import_companies` prints: plans, imports and undos as tables, sentences and JSON.

A plan fits 80 columns: the operator reads it at night, over a slow connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.urls import NoReverseMatch, reverse
from rich.console import RenderableType
from rich.table import Table

from normalization.conf import public_url
from normalization.decision_file import DecisionRow, escape
from normalization.decision_warnings import DecisionVerdict
from normalization.observations import OTHER, printable
from normalization.stages import Known, Outside, Unknown
from stagenorm.portfolio.imports.dialect import DELIMITER_NAMES, OddBytes
from stagenorm.portfolio.imports.importing import ImportResult
from stagenorm.portfolio.imports.lines import NORMALIZED, OUTSIDE, UNKNOWN, StageCount
from stagenorm.portfolio.imports.undo import UndoResult
from stagenorm.portfolio.imports.values import DATE_EXAMPLES
from stagenorm.terminal import add_row, pairs, table

STAGES_SHOWN: Final = 40
INBOX: Final = "ops-spellings"
"""The name of the page where spellings are decided."""


def result_json(result: ImportResult) -> dict[str, Any]:
    """Return a plan, or an import that was carried out, as data.

    `normalized`, `unknown` and `outside` count new companies only.
    """
    record, counts, form = result.record, result.counts, result.form
    return {
        "plan": result.hash,
        "import": record.pk if record else None,
        "fund": result.fund.pk,
        "mode": result.mode.value,
        "decisions": result.decisions,
        "file": result.file,
        "encoding": form.encoding.name,
        "bytes_by_fallback": form.encoding.fallen_back,
        "delimiter": form.delimiter,
        "dates": form.dates or None,
        "ignored_columns": list(form.columns.ignored),
        "lines": counts.lines,
        "new": 0 if result.held_by_atomic else result.new,
        "imported": record.imported if record else 0,
        "skipped": counts.accepted - result.new,
        "repeated": result.keys.repeated,
        "other_stage": result.keys.differing,
        "updated": record.updated if record else 0,
        "rejected": counts.rejected,
        **_kinds(result),
        "values": [
            {"column": form.columns.name_of(name), "field": name, "why": kind, "cells": cells}
            for (name, kind), cells in counts.faults.most_common()
        ],
        "stages": [_stage_json(text, each) for text, each in _stages(result)],
        "refused": [
            {"line": each.line, "column": each.column, "reason": each.reason}
            for each in result.refused
        ],
        "spellings_page": _inbox(),
    }


def plan_parts(result: ImportResult) -> list[RenderableType]:
    """Return a plan as tables and sentences."""
    drawn = [_values_table(result), _stages_table(result), _refused_table(result)]
    return [
        f"Plan of {printable(result.file)} into fund {result.fund.pk}, "
        f"{printable(result.fund.name)} (mode {result.mode.value})",
        "",
        pairs(_head(result)),
        *(part for each in drawn if each.row_count for part in ("", each)),
        "",
        "\n".join(_plan_sentences(result)),
    ]


def import_sentences(result: ImportResult) -> str:
    """Return what an import did in sentences."""
    record = result.record
    if record is None:
        return (
            f"Nothing was imported: {result.counts.rejected:,} of {result.counts.lines:,} lines "
            "are refused, and --atomic allows none."
        )
    lines = [
        f"Imported {record.imported:,} of {record.lines:,} lines into fund {record.fund_id} "
        f"(mode {record.mode}): {record.normalized:,} stages normalized, "
        f"{record.unknown:,} undecided and {record.outside:,} outside ones stored as written."
    ]
    if record.skipped:
        lines.append(f"{record.skipped:,} lines were there already.")
    if result.keys.differing:
        lines.append(_differing(result, record.updated))
    lines.append(
        f"This is import {record.pk}. To undo it: manage.py import_companies --undo {record.pk}"
    )
    return "\n".join(lines)


def undo_json(result: UndoResult) -> dict[str, Any]:
    """Return what an undo did as data. `kept_names` are the first ones."""
    return {
        "undone": result.record.pk,
        "fund": result.record.fund_id,
        "removed": result.removed,
        "kept": result.kept_rows,
        "kept_names": list(result.kept),
        "gone": result.gone,
    }


def undo_sentences(result: UndoResult) -> str:
    """Return what an undo did in sentences."""
    lines = [
        f"Import {result.record.pk} is undone: {result.removed:,} companies removed, "
        f"{result.kept_rows:,} kept because they were changed since, "
        f"{result.gone:,} already gone."
    ]
    if result.kept:
        more = result.kept_rows - len(result.kept)
        names = ", ".join(map(printable, result.kept))
        lines.append(f"Kept: {names}" + (f" and {more:,} more." if more else "."))
    if result.record.updated:
        lines.append(f"{result.record.updated:,} stages that it updated stay as they are.")
    return "\n".join(lines)


def odd_lines(error: OddBytes) -> Table:
    """Return the odd lines of a file in three encodings."""
    drawn = table("line", "encoding", "text", title="Lines that are not UTF-8", numbers=("line",))
    for each in error.lines:
        for encoding, text in each.readings.items():
            add_row(drawn, each.line, encoding, text)
    return drawn


def undecided_rows(result: ImportResult) -> list[DecisionRow]:
    """Return the undecided stages as rows for a file of decisions, most frequent first."""
    return [
        DecisionRow(text, DecisionVerdict.OPEN, source=f"{result.file}: {_lines(each.lines)}")
        for text, each in _stages(result)
        if each.kind == UNKNOWN and text != OTHER
    ]


def _kinds(result: ImportResult) -> dict[str, int]:
    if result.held_by_atomic:
        return {"normalized": 0, "unknown": 0, "outside": 0}
    return {
        "normalized": result.of_kind(NORMALIZED),
        "unknown": result.of_kind(UNKNOWN),
        "outside": result.of_kind(OUTSIDE),
    }


def _stages(result: ImportResult) -> list[tuple[str, StageCount]]:
    """Return the stage texts, most frequent first; those not counted one by one at the end."""
    counts = result.counts
    found = sorted(counts.stages.items(), key=lambda item: -item[1].lines)
    return [
        (text, each)
        for text, each in (*found, *((OTHER, other) for other in counts.other_stages.values()))
        if each.lines
    ]


def _stage_json(text: str, each: StageCount) -> dict[str, Any]:
    meaning = each.meaning
    return {
        "text": text,
        "lines": each.lines,
        "verdict": _verdict(each),
        "stage": meaning.stage.value if isinstance(meaning, Known) else None,
        "suggestions": list(meaning.suggestions) if isinstance(meaning, Unknown) else [],
        "refused": each.refused,
    }


def _verdict(each: StageCount) -> str:
    if isinstance(each.meaning, Known):
        return "stage"
    return "outside" if isinstance(each.meaning, Outside) else "undecided"


def _head(result: ImportResult) -> Iterator[tuple[str, str]]:
    form, counts = result.form, result.counts
    encoding = f"{form.encoding.name} ({form.encoding.source})"
    delimiter = DELIMITER_NAMES.get(form.delimiter, repr(form.delimiter))
    yield "Read as", f"{encoding}, {delimiter}, {form.columns.width} columns"
    if form.encoding.fallback:
        yield "", f"{form.encoding.fallen_back:,} bytes read as {form.encoding.fallback}"
    if "invested_at" in form.columns.places and form.dates:
        yield "Dates", f"{form.dates}, as in {DATE_EXAMPLES[form.dates]}"
    if form.columns.ignored:
        yield "Ignored", ", ".join(form.columns.ignored)
    yield "Lines", f"{counts.lines:,}" + (f" (and {counts.blank:,} empty)" if counts.blank else "")
    yield "New", f"{result.new:,}"
    yield "There already", f"{result.keys.existing:,}"
    if result.options.key:
        yield "Key repeated", f"{result.keys.repeated:,}"
    yield "Refused", f"{counts.rejected:,}"


def _stages_table(result: ImportResult) -> Table:
    stages = _stages(result)
    title = f"Stages: {len(stages):,} texts" if len(stages) != 1 else "Stages: 1 text"
    drawn = table("text", "lines", "verdict", "perhaps", title=title, numbers=("lines",))
    # What needs a decision comes first.
    stages.sort(key=lambda item: (item[1].kind != UNKNOWN, -item[1].lines))
    for text, each in stages[:STAGES_SHOWN]:
        meaning = each.meaning
        stage = meaning.stage.value if isinstance(meaning, Known) else _verdict(each)
        perhaps = " or ".join(meaning.suggestions) if isinstance(meaning, Unknown) else ""
        add_row(drawn, escape(text) or "(blank)", each.lines, stage, perhaps)
    rest = stages[STAGES_SHOWN:]
    if rest:
        lines = sum(each.lines for _, each in rest)
        add_row(drawn, f"… {len(rest):,} more (--json)", lines, "", "")
    return drawn


def _values_table(result: ImportResult) -> Table:
    drawn = table("column", "cells", "why", "stored", title="Cells without a value",
                  numbers=("cells",))  # fmt: skip
    instead = {"status": "active", "sector": "empty"}
    for (name, kind), cells in result.counts.faults.most_common(STAGES_SHOWN):
        column = printable(result.form.columns.name_of(name))
        why = f"{_amounts(cells)} {kind}" if name == "invested_usd" else kind
        add_row(drawn, column, cells, why, instead.get(name, "NULL"))
    return drawn


def _lines(lines: int) -> str:
    return "1 line" if lines == 1 else f"{lines:,} lines"


def _amounts(cells: int) -> str:
    return "1 amount" if cells == 1 else f"{cells:,} amounts"


def _refused_table(result: ImportResult) -> Table:
    drawn = table("line", "column", "reason", title="Refused lines", numbers=("line",))
    for each in result.refused:
        add_row(drawn, each.line, printable(each.column), each.reason)
    rest = result.counts.rejected - len(result.refused)
    if rest:
        add_row(drawn, "…", "", f"and {rest:,} more: --report FILE.csv has them all")
    return drawn


def _plan_sentences(result: ImportResult) -> Iterator[str]:
    yield from _undecided_sentences(result)
    if result.keys.differing:
        yield _differing(result, None)
    if result.counts.rejected:
        yield "Refused lines are left out. --report FILE.csv writes them: correct them there,"
        yield "then import that file with the same options."
    if result.held_by_atomic:
        yield "Nothing was written, and nothing can be: --atomic allows no refused line."
        return
    yield "Nothing was written. To import, repeat this command with"
    yield f"  --apply {result.hash}"


def _undecided_sentences(result: ImportResult) -> Iterator[str]:
    undecided = [each for _, each in _stages(result) if each.kind == UNKNOWN]
    if not undecided:
        return
    lines = sum(each.lines for each in undecided)
    one = lines == 1
    stored = "is stored as written" if one else "are stored as written"
    refused = "is refused" if one else "are refused"
    fate = refused if undecided[0].refused else stored
    yield f"{_lines(lines)} without a decided stage {fate}."
    page = _inbox()
    if page:
        yield "Decide the stages after the import, on the page"
        yield f"  {page}"
    yield "or before it: repeat this command with --decisions FILE.csv, fill in the"
    yield "verdicts there, then"
    yield "  manage.py stage_decisions plan FILE.csv"
    yield "  manage.py stage_decisions apply FILE.csv --plan HASH"


def _differing(result: ImportResult, updated: int | None) -> str:
    text = f"{result.keys.differing:,} companies that are there have another stage"
    if updated:
        return f"{text}: {updated:,} were updated."
    if result.options.update_stage:
        return f"{text} and will be updated."
    return f"{text} and keep it; --update-stage takes the file's."


def _inbox() -> str:
    """Return the address of the page of spellings, "" in an installation without it."""
    try:
        return f"{public_url()}{reverse(INBOX)}"
    except NoReverseMatch:
        return ""
