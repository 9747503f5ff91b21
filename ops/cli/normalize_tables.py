"""The plan as tables for a terminal."""

from rich.table import Table

from normalization.stages import Known, Unknown
from ops import terminal
from ops.backfill.plan import ColumnPlan

SHOWN = 40


def drawn(found: tuple[ColumnPlan, ...]) -> str:
    """Each column's values: canonical ones, what becomes of the others, and what stays unknown."""
    return "\n".join(terminal.drawn(_table(each)) for each in found)


def _table(found: ColumnPlan) -> Table:
    table = Table(title=f"{found.column}, {found.rows:,} rows", title_justify="left")
    table.add_column("stored")
    table.add_column("becomes")
    table.add_column("rows", justify="right")
    for stage, rows in found.canonical.items():
        table.add_row(repr(stage), "(canonical)", f"{rows:,}")
    for spelled in found.pairs[:SHOWN]:
        stage = spelled.meaning.stage if isinstance(spelled.meaning, Known) else ""
        table.add_row(_visible(spelled.raw), f"{stage}", f"{spelled.rows:,}")
    for spelled in found.unknown[:SHOWN]:
        hints = spelled.meaning.suggestions if isinstance(spelled.meaning, Unknown) else ()
        table.add_row(
            _visible(spelled.raw), f"stays, unknown{_perhaps(hints)}", f"{spelled.rows:,}"
        )
    for spelled in found.outside[:SHOWN]:
        table.add_row(_visible(spelled.raw), "stays, outside", f"{spelled.rows:,}")
    left_out = (len(found.pairs), found.unknown_values, found.outside_values)
    if more := sum(max(0, values - SHOWN) for values in left_out):
        table.add_row("…", f"and {more:,} values more (--json lists them)", "")
    return table


def _perhaps(hints: tuple[str, ...]) -> str:
    return f" (perhaps {' or '.join(hints)})" if hints else ""


def _visible(raw: str) -> str:
    # repr shows white space and invisible characters.
    return ascii(raw) if not raw.isprintable() else repr(raw)
