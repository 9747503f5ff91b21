"""The values of an imported file: missing marks, amounts, dates, statuses.

A reader is a dictionary from a cell to its value, as text for `COPY`. The cells of a column
repeat, so most lines only look values up. A cell that cannot be read gives a `ValueFault`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from normalization.observations import printable
from stagenorm.portfolio.imports.imported_file import FileRefused
from stagenorm.portfolio.models import PortfolioCompany

NULL: Final = "\\N"
"""NULL in the text format of COPY."""
MISSING: Final = frozenset(("", "-", "–", "—", "n/a", "null", "nan", "undisclosed"))
REMEMBERED: Final = 10_000
LONGEST_NAME: Final = 200
LONGEST_STAGE: Final = 255
LONGEST_SECTOR: Final = 100

_COPY_ESCAPES: Final = str.maketrans(
    {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
)


@dataclass(frozen=True, slots=True)
class ValueFault:
    """Why a cell has no value; `kind` is the same for all cells that are counted together."""

    kind: str
    reason: str
    instead: str


def copy_text(text: str) -> str:
    """Return a text as COPY reads it."""
    if "\\" in text or not text.isprintable():
        return text.translate(_COPY_ESCAPES)
    return text


class CellReader(dict[str, str | ValueFault]):
    """Cell → value, for one column. It holds at most REMEMBERED cells.

    `missing` are the marks of a missing value, in lower case; `none` is the value of one.
    """

    none = NULL

    def __init__(self, missing: frozenset[str]) -> None:
        super().__init__()
        self.missing = missing

    def __missing__(self, cell: str) -> str | ValueFault:
        text = cell.strip()
        value = self.none if text.casefold() in self.missing else self.read(text)
        if len(self) >= REMEMBERED:
            self.clear()
        self[cell] = value
        return value

    def read(self, text: str) -> str | ValueFault:
        """Return the value of a cell that is not missing, without white space around it."""
        raise NotImplementedError


class SectorReader(CellReader):
    """Texts of at most LONGEST_SECTOR characters."""

    none = ""

    def read(self, text: str) -> str | ValueFault:
        """Return the text."""
        if len(text) > LONGEST_SECTOR:
            reason = f"At most {LONGEST_SECTOR} characters, not {len(text)}."
            return ValueFault("longer than the field", reason, self.none)
        return copy_text(text)


class StatusReader(CellReader):
    """Statuses of companies; `names` maps other words onto them."""

    none = PortfolioCompany.Status.ACTIVE.value

    def __init__(self, missing: frozenset[str], names: Mapping[str, str]) -> None:
        super().__init__(missing)
        self.names = names

    def read(self, text: str) -> str | ValueFault:
        """Return the status; case does not matter."""
        status = self.names.get(text.casefold(), text.casefold())
        if status in PortfolioCompany.Status.values:
            return status
        known = ", ".join(PortfolioCompany.Status.values)
        kind = f"{printable(text)!r} is not a status"
        return ValueFault(kind, f"The status is one of {known}{_not(text)}", self.none)


class AmountReader(CellReader):
    """Amounts in USD, with `.` or `,` before the cents and grouped by the other one, by spaces or
    not at all.
    """

    def __init__(self, missing: frozenset[str], decimal: str = ".") -> None:
        super().__init__(missing)
        self._number = _number_form(decimal)
        self._grouping = "." if decimal == "," else ","
        self.decimal = decimal

    def read(self, text: str) -> str | ValueFault:
        """Return the amount, written 1250000.50."""
        found = _AMOUNT.fullmatch(text)
        if found is None or not self._number.fullmatch(found["number"]):
            return self._fault(text)
        units = {found["before"].strip().casefold(), found["after"].strip().casefold()}
        if not units <= _USD:
            kind = "not in USD" if _is_currency(units - _USD) else ""
            return self._fault(text, kind)
        number = re.sub(r"[\s\u00a0\u202f]", "", found["number"]).replace(self._grouping, "")
        whole, _, cents = number.replace(self.decimal, ".").partition(".")
        if len(whole.lstrip("0")) > 14:
            return self._fault(text)
        return f"{whole}.{cents}" if cents else whole

    def _fault(self, text: str, kind: str = "") -> ValueFault:
        form = f"1250000{self.decimal}50"
        reason = f"The amount is in USD and written {form}{_not(text)}"
        return ValueFault(kind or "not an amount", reason, NULL)


_AMOUNT: Final = re.compile(r"(?P<before>[^0-9]*)(?P<number>[0-9](?:.*[0-9])?)(?P<after>[^0-9]*)")
_USD: Final = frozenset(("", "$", "us$", "usd", "$usd", "usd$", "usd $", "us $", "dollars"))


_CURRENCY: Final = re.compile(r"[a-z]{0,3}[$£¥₩₪₫₱₹₺₽€]|[a-z]{3}|rs\.?|kr\.?")


def _number_form(decimal: str) -> re.Pattern[str]:
    """Groups of three, or Indian groups (20,00,00,000); at most two decimals."""
    group = r"\." if decimal == "," else ","
    space = "[ \u00a0\u202f]"
    grouped = [
        rf"[0-9]{{1,3}}(?:{group}[0-9]{{3}})+",
        rf"[0-9]{{1,2}}(?:{group}[0-9]{{2}})*{group}[0-9]{{3}}",
        rf"[0-9]{{1,3}}(?:{space}[0-9]{{3}})+",
    ]
    return re.compile(rf"(?:[0-9]+|{'|'.join(grouped)})(?:{re.escape(decimal)}[0-9]{{1,2}})?")


def _is_currency(units: Iterable[str]) -> bool:
    """Return whether a unit names a currency: a sign such as ₹, or a code such as EUR."""
    return any(
        re.fullmatch(r"[a-z]{0,3}[$£¥₩₪₫₱₹₺₽€]|[a-z]{3}|rs\.?|kr\.?", unit) for unit in units
    )


_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            ("jan", "january"),
            ("feb", "february"),
            ("mar", "march"),
            ("apr", "april"),
            ("may",),
            ("jun", "june"),
            ("jul", "july"),
            ("aug", "august"),
            ("sep", "sept", "september"),
            ("oct", "october"),
            ("nov", "november"),
            ("dec", "december"),
        ),
        start=1,
    )
    for name in names
}
_YEAR, _MONTH, _DAY = r"(?P<year>[0-9]{4})", r"(?P<month>[0-9]{1,2})", r"(?P<day>[0-9]{1,2})"
_NAMED = r"(?P<month>[A-Za-z]{3,9})\.?"
_LAST_CENTURY: Final = 69  # years of two digits, as POSIX reads them: 1969 to 2068
_TIME = r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z| UTC)?)?"
DATE_FORMS: Final = {
    "y-m-d": re.compile(rf"{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}{_TIME}"),
    "d/m/y": re.compile(rf"{_DAY}[-/.]{_MONTH}[-/.]{_YEAR}{_TIME}"),
    "m/d/y": re.compile(rf"{_MONTH}[-/.]{_DAY}[-/.]{_YEAR}{_TIME}"),
    "d mon y": re.compile(rf"{_DAY}[- /.]{_NAMED}[- /.,]+(?P<year>[0-9]{{4}}|[0-9]{{2}})"),
    "mon d, y": re.compile(rf"{_NAMED} {_DAY},? {_YEAR}"),
}
"""The forms of a date, by the names that --dates takes."""
DATE_EXAMPLES: Final = {
    "y-m-d": "2026-01-31",
    "d/m/y": "31/01/2026",
    "m/d/y": "01/31/2026",
    "d mon y": "31 Jan 2026",
    "mon d, y": "Jan 31, 2026",
}


class DateReader(CellReader):
    """Dates of one form. `finder` sees each date that it has not seen yet."""

    def __init__(
        self, missing: frozenset[str], form: str, finder: DateFormFinder | None = None
    ) -> None:
        super().__init__(missing)
        self.form, self._finder = form, finder

    def read(self, text: str) -> str | ValueFault:
        """Return the date, written 2026-01-31."""
        self.see(text)
        day = read_date(text, self.form)
        if day is not None:
            return day.isoformat()
        reason = f"The date is written {DATE_EXAMPLES[self.form]}{_not(text)}"
        return ValueFault(f"not a date of the form {self.form}", reason, NULL)

    def see(self, cell: str) -> None:
        """Show the finder a cell."""
        if self._finder:
            self._finder.see(cell)


def read_date(text: str, form: str) -> date | None:
    """Return the date of a text, None if the form does not fit."""
    found = DATE_FORMS[form].fullmatch(text)
    if found is None or not text.isascii():
        return None
    name = found["month"].casefold()
    month = int(name) if name.isdigit() else _MONTHS.get(name, 0)
    year = int(found["year"])
    if len(found["year"]) == 2:
        year += 1900 if year >= _LAST_CENTURY else 2000
    try:
        return date(year, month, int(found["day"]))
    except ValueError:
        return None


class DateFormFinder:
    """Finds the one form that fits all dates of a column; cells that fit no form do not count.

    The column is read until one form is left. The import's own pass shows it the other cells.
    """

    def __init__(self, missing: frozenset[str]) -> None:
        self._missing = missing
        self._seen: dict[str, None] = {}
        self._fitting = set(DATE_FORMS)
        self._examples: dict[str, tuple[str, dict[str, date]]] = {}
        self._any = False

    @property
    def settled(self) -> bool:
        """Whether at most one form fits; further cells can only show that none does."""
        return self._any and len(self._fitting) <= 1

    def see(self, cell: str) -> None:
        """Take a cell into account."""
        if cell in self._seen:
            return
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[cell] = None
        text = cell.strip()
        if text.casefold() in self._missing:
            return
        found = {form: read_date(text, form) for form in DATE_FORMS}
        readings = {form: day for form, day in found.items() if day is not None}
        if readings:
            self._any = True
            self._fitting &= readings.keys()
            self._remember(text, readings)

    def _remember(self, text: str, readings: dict[str, date]) -> None:
        if len(set(readings.values())) > 1:
            self._examples.setdefault("several", (text, readings))
        for form in DATE_FORMS.keys() - readings.keys():
            self._examples.setdefault(form, (text, readings))

    def form(self, column: str) -> str:
        """Return the form, `y-m-d` for a column without dates.

        Raises FileRefused if two forms fit and differ, or if none fits all.
        """
        if not self._any:
            return "y-m-d"
        several = self._examples.get("several")
        if len(self._fitting) > 1 and several:
            raise FileRefused(self._two_forms(column, *several))
        if not self._fitting:
            raise FileRefused(self._no_form(column))
        return next(form for form in DATE_FORMS if form in self._fitting)

    def _two_forms(self, column: str, text: str, readings: dict[str, date]) -> str:
        meanings = [
            f"{form} ({readings[form]:%-d %B %Y})" for form in readings if form in self._fitting
        ]
        return (
            f"The dates of {printable(column)!r} can be read in two ways: {text!r} is "
            f"{' or '.join(meanings)}. Name the form with --dates."
        )

    def _no_form(self, column: str) -> str:
        shown = {text: next(iter(readings)) for text, readings in self._examples.values()}
        cells = ", ".join(f"{printable(text)!r} ({form})" for text, form in shown.items())
        return (
            f"No form fits all dates of {printable(column)!r}: {cells}. Name one with --dates; "
            "the others become NULL and are counted."
        )


def read_status_names(pairs: Iterable[str]) -> dict[str, str]:
    """Read `closed=written_off,ipo=exited`, given once or more. Raises FileRefused."""
    names: dict[str, str] = {}
    for pair in (pair for text in pairs for pair in text.split(",")):
        word, found, status = (part.strip() for part in pair.partition("="))
        if not found or not word or status not in PortfolioCompany.Status.values:
            known = ", ".join(PortfolioCompany.Status.values)
            raise FileRefused(f"--status {printable(pair)!r} is not word=STATUS, one of {known}.")
        names[word.casefold()] = status
    return names


def _not(text: str) -> str:
    return f", not {printable(text)!r}."
