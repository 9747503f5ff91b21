"""The columns of an imported file: which cell of a record is which field of a company.

Only mapped columns matter. Others may be empty, repeated or numerous; the plan lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from normalization.decision_file import unescape
from normalization.observations import printable
from stagenorm.portfolio.imports.imported_file import FileRefused
from stagenorm.portfolio.imports.records import MOST_COLUMNS, BrokenLine, ReadRecord

REQUIRED: Final = ("name", "stage")
FIELDS: Final = (*REQUIRED, "status", "sector", "invested_usd", "invested_at")
FIRST_OF: Final = "|"
OWN_PREFIX: Final = "_"
"""Columns that begin with it belong to the file of refused lines."""
REPORT_COLUMNS: Final = ("_line", "_column", "_reason", "_raw", "_key")
LISTED_COLUMNS: Final = 40

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
# A column name may contain commas: only a comma before the next `field=` ends a pair.
_PAIRS = re.compile(rf",(?=\s*(?:{'|'.join(FIELDS)})\s*=)")


class LineRefused(ValueError):
    """The line cannot be imported; `column` and `reason` describe the fault."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column, self.reason = column, reason


@dataclass(frozen=True, slots=True)
class ImportColumns:
    """Field → places of its columns in a record. A field of several columns takes the first
    cell that is not missing.

    `key` is the place of the key column. `report` is whether the file is one of refused lines, and
    `given_keys` the place of its keys.
    """

    names: tuple[str, ...]
    places: Mapping[str, tuple[int, ...]]
    ignored: tuple[str, ...]
    key: int | None = None
    report: bool = False
    given_keys: int | None = None

    @property
    def width(self) -> int:
        """The number of cells of a record."""
        return len(self.names)

    def name_of(self, field: str) -> str:
        """Return the header's names of a field's columns."""
        return FIRST_OF.join(self.names[place] for place in self.places.get(field, ()))

    def plain(self, cells: list[str]) -> list[str]:
        """Return the cells of one record of the header's width.

        Further cells are allowed if they are empty. The cells of a file of refused lines are
        unescaped. Raises LineRefused.
        """
        width = len(self.names)
        if len(cells) != width:
            if len(cells) < width or any(cells[width:]):
                text = f"The line has {len(cells)} fields, the header {width}."
                raise LineRefused("", text)
            cells = cells[:width]
        if not self.report:
            return cells
        try:
            plain = [unescape(cell) for cell in cells]
        except ValueError as error:
            raise LineRefused("", f"A cell has a bad escape: {error}.") from error
        if any(map(_NOT_STORABLE.search, plain)):
            raise LineRefused("", "A cell has a character that cannot be stored.")
        return plain

    def unescaped(self, cells: list[str]) -> list[str]:
        """Return the cells as they were in the first file; a bad escape stays as it is."""
        if not self.report:
            return cells
        try:
            return [unescape(cell) for cell in cells]
        except ValueError:
            return cells


def read_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Read `name=Company,stage=Round`, given once or more, as field → column.

    An optional field may have an empty column, which leaves it out. Raises FileRefused for
    anything else.
    """
    mapping: dict[str, str] = {}
    for pair in (pair for text in pairs for pair in _PAIRS.split(text)):
        field, found, column = (part.strip() for part in pair.partition("="))
        if not found or field not in FIELDS or (field in REQUIRED and not column):
            raise FileRefused(
                f"--map {printable(pair)!r} is not field=Column, "
                f"with a field of {', '.join(FIELDS)}."
            )
        if field in mapping:
            raise FileRefused(f"--map names {field} twice.")
        mapping[field] = column
    return mapping


def find_columns(header: ReadRecord, mapping: Mapping[str, str], key: str = "") -> ImportColumns:
    """Find each field's columns by the mapped names, else by its own; case does not matter.

    Raises FileRefused for a mapped column that is missing or repeated.
    """
    line, cells = header
    if isinstance(cells, BrokenLine):
        raise FileRefused(f"Line {line}: the header cannot be read. {cells.reason}")
    if len(cells) > MOST_COLUMNS:
        raise FileRefused(f"Line {line}: the header has more than {MOST_COLUMNS:,} columns.")
    names = _names(cells)
    wanted = {field: _wanted(names, field, mapping) for field in FIELDS}
    _check_present(line, names, wanted, mapping, key)
    places = {
        field: tuple(_place(line, names, each) for each in columns)
        for field, columns in wanted.items()
        if columns and columns[0].casefold() in _keys(names)
    }
    used = {place for each in places.values() for place in each}
    key_place = _place(line, names, key) if key else None
    ignored = [name for place, name in enumerate(names) if place not in used | {key_place}]
    return ImportColumns(
        names=tuple(names),
        places=places,
        ignored=tuple(_shown(ignored)),
        key=key_place,
        report=set(REPORT_COLUMNS[:3]) <= set(names),
        given_keys=names.index("_key") if "_key" in names else None,
    )


def wanted_names(mapping: Mapping[str, str], key: str = "") -> list[str]:
    """Return the names that a header should have, for finding the delimiter."""
    given = {**{field: field for field in FIELDS}, **mapping}
    columns = (part for column in given.values() for part in column.split(FIRST_OF))
    return [name.strip() for name in (*columns, key) if name.strip()]


def _names(cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if set(REPORT_COLUMNS[:3]) <= set(names):
        try:
            return [unescape(name) for name in names]
        except ValueError:
            return names
    return names


def _keys(names: Sequence[str]) -> list[str]:
    return [name.casefold() for name in names]


def _wanted(names: Sequence[str], field: str, mapping: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns of a field; `a|b` is one column if the header has that name."""
    column = mapping.get(field, field)
    if not column:
        return ()
    if FIRST_OF not in column or column.casefold() in _keys(names):
        return (column,)
    return tuple(part.strip() for part in column.split(FIRST_OF) if part.strip())


def _check_present(
    line: int,
    names: Sequence[str],
    wanted: Mapping[str, tuple[str, ...]],
    mapping: Mapping[str, str],
    key: str,
) -> None:
    keys = _keys(names)
    needed = [column for field in (*REQUIRED, *mapping) for column in wanted[field]]
    missing = [column for column in (*needed, key) if column and column.casefold() not in keys]
    if missing:
        there = ", ".join(_shown(names))
        raise FileRefused(
            f"Line {line}: missing column {', '.join(map(printable, dict.fromkeys(missing)))}. "
            f"The columns are: {there}. Name them with --map name=Company,stage=Round."
        )


def _place(line: int, names: Sequence[str], column: str) -> int:
    keys = _keys(names)
    wanted = column.casefold()
    if keys.count(wanted) > 1:
        twice = ", ".join(repr(printable(name)) for name in _repeated(names, wanted))
        raise FileRefused(
            f"Line {line}: the header names {twice} more than once. "
            "Rename one of them, or leave the field out with --map FIELD=."
        )
    return keys.index(wanted)


def _repeated(names: Sequence[str], wanted: str) -> list[str]:
    return sorted({name for name in names if name.casefold() == wanted})


def _shown(names: Sequence[str]) -> Iterator[str]:
    """Yield printable names, an empty one in words, and the number of those after the first 40."""
    for name in names[:LISTED_COLUMNS]:
        yield printable(name) or "(no name)"
    if len(names) > LISTED_COLUMNS:
        yield f"and {len(names) - LISTED_COLUMNS:,} more"
