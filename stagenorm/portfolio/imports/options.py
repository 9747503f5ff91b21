"""What the operator asks of an import, apart from the file and the fund."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stagenorm.portfolio.imports.columns import FIELDS
from stagenorm.portfolio.imports.dialect import check_delimiter
from stagenorm.portfolio.imports.imported_file import FileRefused
from stagenorm.portfolio.imports.values import DATE_FORMS, MISSING

MOST_REFUSED: Final = 10_000


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options that decide what is imported. All of them are part of the plan's hash.

    `mapping` is field → column, `statuses` word → status, `missing` further missing marks.
    `encoding`, `delimiter` and `dates` are "" to find them. Raises FileRefused for values that
    cannot be used.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    encoding: str = ""
    delimiter: str = ""
    missing: tuple[str, ...] = ()
    decimal: str = "."
    dates: str = ""
    statuses: Mapping[str, str] = field(default_factory=dict)
    refuse_values: bool = False
    update_stage: bool = False
    atomic: bool = False
    max_refused: int = MOST_REFUSED

    def __post_init__(self) -> None:
        if self.delimiter:
            object.__setattr__(self, "delimiter", check_delimiter(self.delimiter))
        if self.decimal not in (".", ","):
            raise FileRefused("--decimal is . or ,")
        if self.dates and self.dates not in DATE_FORMS:
            raise FileRefused(f"--dates is one of: {'; '.join(DATE_FORMS)}.")

    @property
    def missing_marks(self) -> frozenset[str]:
        """All missing marks, in lower case."""
        return MISSING | {mark.strip().casefold() for mark in self.missing}

    def as_json(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, for the hash and the table."""
        every = {
            "map": {name: self.mapping[name] for name in FIELDS if name in self.mapping},
            "key": self.key,
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "missing": sorted(self.missing),
            "decimal": "" if self.decimal == "." else self.decimal,
            "dates": self.dates,
            "status": dict(sorted(self.statuses.items())),
            "value_errors": "refuse" if self.refuse_values else "",
            "update_stage": self.update_stage,
            "atomic": self.atomic,
            "max_refused": 0 if self.max_refused == MOST_REFUSED else self.max_refused,
        }
        return {name: value for name, value in every.items() if value}
