"""The columns of an imported file: how each is read, and when a line is refused.

`imports` reads a file with it, line by line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from normalization.observations import printable
from stagenorm.portfolio.imports_csv import FileRefused, Record
from stagenorm.portfolio.models import PortfolioCompany

REQUIRED: Final = ("name", "stage")
FIELDS: Final = (*REQUIRED, "status", "sector", "invested_usd", "invested_at")

_USD = re.compile(r"[0-9]{1,14}(?:\.[0-9]{1,2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# A column name may contain commas: only a comma before the next `field=` ends a pair.
_PAIRS = re.compile(rf",(?=\s*(?:{'|'.join(FIELDS)})\s*=)")


class LineRefused(ValueError):
    """The line cannot be imported; `column` and `reason` describe the fault."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.reason = column, reason


@dataclass(frozen=True, slots=True)
class Columns:
    """Field → place in a record, and the header's names in order."""

    places: Mapping[str, int]
    names: Sequence[str]

    def company(self, record: Record) -> dict[str, Any]:
        """Return the company's fields, `stage` as in the file; raise `LineRefused`."""
        if len(record.fields) != len(self.names):
            raise LineRefused(
                "", f"The line has {len(record.fields)} fields, the header {len(self.names)}."
            )
        return {
            field: _READERS[field](self.names[place], record.fields[place])
            for field, place in self.places.items()
        }


def read_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Read `name=Company,stage=Round`, given once or more, as field → column.

    Raises `FileRefused` for anything else.
    """
    mapping: dict[str, str] = {}
    for pair in (pair for text in pairs for pair in _PAIRS.split(text)):
        field, found, column = (part.strip() for part in pair.partition("="))
        if not found or field not in FIELDS or not column:
            raise FileRefused(
                f"--map {pair!r} is not field=Column, with a field of {', '.join(FIELDS)}."
            )
        if field in mapping:
            raise FileRefused(f"--map names {field} twice.")
        mapping[field] = column
    return mapping


def find_columns(header: Record, mapping: Mapping[str, str]) -> Columns:
    """Find each field's column by its mapped name, else by its own; case does not matter.

    Raises `FileRefused` for a repeated or missing column.
    """
    names = [name.strip() for name in header.fields]
    keys = [name.casefold() for name in names]
    twice = sorted({name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1})
    if twice:
        raise FileRefused(
            f"Line {header.line}: the header names {', '.join(map(repr, twice))} more than once."
        )
    wanted = {field: mapping.get(field, field) for field in FIELDS}
    places = {
        field: keys.index(name.casefold())
        for field, name in wanted.items()
        if name.casefold() in keys
    }
    missing = [wanted[field] for field in (*REQUIRED, *mapping) if field not in places]
    if missing:
        there = ", ".join(printable(name) for name in names)
        raise FileRefused(
            f"Line {header.line}: missing column {', '.join(dict.fromkeys(missing))}. "
            f"The columns are: {there}. "
            "Name them with --map name=Company,stage=Round."
        )
    return Columns(places, names)


def _name(column: str, text: str) -> str:
    name = text.strip()
    if not name:
        raise LineRefused(column, "A company needs a name.")
    return _bounded(column, name, 200)


def _stage(column: str, text: str) -> str:
    return _bounded(column, text, 255)


def _status(column: str, text: str) -> str:
    status = text.strip().lower() or PortfolioCompany.Status.ACTIVE.value
    if status not in PortfolioCompany.Status.values:
        raise LineRefused(
            column, f"The status is one of {', '.join(PortfolioCompany.Status.values)}{_not(text)}"
        )
    return status


def _sector(column: str, text: str) -> str:
    return _bounded(column, text.strip(), 100)


def _invested_usd(column: str, text: str) -> Decimal | None:
    amount = text.strip()
    if not amount:
        return None
    if not _USD.fullmatch(amount):
        raise LineRefused(
            column, f"The amount is written 1250000.50: no sign, symbol or separator{_not(text)}"
        )
    return Decimal(amount)


def _invested_at(column: str, text: str) -> date | None:
    day = text.strip()
    if not day:
        return None
    try:
        return date.fromisoformat(day if _DAY.fullmatch(day) else "")
    except ValueError as error:
        raise LineRefused(column, f"The date is written 2026-01-31{_not(text)}") from error


def _bounded(column: str, text: str, longest: int) -> str:
    if len(text) > longest:
        raise LineRefused(column, f"At most {longest} characters, not {len(text)}.")
    return text


def _not(text: str) -> str:
    return f", not {printable(text)!r}."


_READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "name": _name,
    "stage": _stage,
    "status": _status,
    "sector": _sector,
    "invested_usd": _invested_usd,
    "invested_at": _invested_at,
}
