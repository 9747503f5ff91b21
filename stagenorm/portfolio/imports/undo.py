"""Takes an import back: its companies are deleted, unless they were changed since.

The import writes `created_at` and `updated_at` of a company with one moment, and every edit moves
`updated_at`. A backfill does not: it derives the stage from words that stay, so a company that it
reached counts as unchanged. Stages that an import updated (`--update-stage`) stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.db import connection, transaction
from django.db.models.functions import Now

from stagenorm.portfolio.imports.importing import ImportHeld, lock_imports
from stagenorm.portfolio.models import CompanyImport

KEPT_SHOWN: Final = 20

COMPANIES: Final = """
FROM portfolio_companies
WHERE fund_id = %(fund)s AND id BETWEEN %(first)s AND %(last)s AND from_import_id = %(import)s
"""
CHANGED: Final = f"SELECT name {COMPANIES} AND updated_at <> created_at ORDER BY id"
DELETE: Final = f"DELETE {COMPANIES} AND updated_at = created_at"
COUNT: Final = f"SELECT count(*), count(*) FILTER (WHERE updated_at = created_at) {COMPANIES}"


@dataclass(frozen=True, slots=True)
class UndoResult:
    """What an undo did, or would do. `kept` are the names of the first companies kept."""

    record: CompanyImport
    removed: int
    kept_rows: int
    gone: int
    kept: tuple[str, ...]


def find_import(import_id: int) -> CompanyImport:
    """Return an import that can be undone. Raises ImportHeld with the reason why it cannot."""
    found = CompanyImport.objects.select_related("fund").filter(pk=import_id).first()
    if found is None:
        raise ImportHeld(f"Import {import_id} does not exist.")
    if found.undone_at:
        raise ImportHeld(
            f"Import {import_id} is undone already: {found.undone_at:%Y-%m-%d %H:%M} UTC, "
            f"by {found.undone_by}."
        )
    return found


def preview(record: CompanyImport) -> UndoResult:
    """Return what an undo would do now."""
    [rows, unchanged] = _rows(record, COUNT)[0]
    return UndoResult(
        record, unchanged, rows - unchanged, record.imported - rows, _kept_names(record)
    )


def undo(import_id: int, *, actor: str) -> UndoResult:
    """Delete the unchanged companies of an import, in one transaction.

    Raises ImportHeld if it cannot be undone, or if another import into the fund is running.
    """
    with transaction.atomic():
        record = find_import(import_id)
        lock_imports(record.fund_id)
        record = find_import(import_id)  # another undo may have ended meanwhile
        names = _kept_names(record)
        removed = _deleted(record)
        [rows, _] = _rows(record, COUNT)[0]
        result = UndoResult(record, removed, rows, record.imported - removed - rows, names)
        record.undone_by = actor[:150]
        record.removed, record.kept, record.gone = removed, rows, result.gone
        record.undone_at = Now()
        record.save(update_fields=["undone_at", "undone_by", "removed", "kept", "gone"])
    record.refresh_from_db()
    return result


def _kept_names(record: CompanyImport) -> tuple[str, ...]:
    found = _rows(record, f"{CHANGED} LIMIT {KEPT_SHOWN}")
    return tuple(name for (name,) in found)


def _deleted(record: CompanyImport) -> int:
    with connection.cursor() as cursor:
        cursor.execute(DELETE, _bounds(record))
        return int(cursor.rowcount)


def _rows(record: CompanyImport, statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, _bounds(record))
        return list(cursor.fetchall())


def _bounds(record: CompanyImport) -> dict[str, Any]:
    return {
        "fund": record.fund_id,
        "first": record.first_company,
        "last": record.last_company,
        "import": record.pk,
    }
