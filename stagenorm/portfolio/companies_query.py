"""One page of a fund's companies, in one statement: the SQL, and why a page is never short of a spelling.

Note: spellings and page in one snapshot. A stage filter asks for every stored spelling of the stage. Read in a
statement of their own, the spellings could be outdated when the page is read: a backfill (or its undo) may have
written another spelling in between, and its rows would be missing from the page. So the page's statement returns the
fund's distinct spellings as well. Was a spelling of the stage among them that the page did not ask for, the page is
read again with it. The spellings of the last page serve as the first guess, so that one statement is the rule; a wrong
guess costs one more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from normalization.problems import Problem

# Index-only walk over (fund, stage): one descent per distinct spelling, however many rows have it ("loose index scan").
FUND_SPELLINGS: Final = """
spelling (stage) AS (
    (SELECT stage FROM portfolio_companies WHERE fund_id = %(fund)s ORDER BY stage LIMIT 1)
    UNION ALL
    SELECT (SELECT company.stage FROM portfolio_companies AS company
             WHERE company.fund_id = %(fund)s AND company.stage > spelling.stage
             ORDER BY company.stage LIMIT 1)
      FROM spelling WHERE spelling.stage IS NOT NULL
)"""

# Rows leave the database as the text that the answer holds. The first row carries the spellings: the LEFT JOIN keeps
# one row when the page is empty.
COMPANIES_PAGE: Final = """
WITH RECURSIVE {spellings}page AS (
    {arms}
)
SELECT page.id, page.name, page.stage, page.status, page.sector, page.invested_usd::text,
       to_char(page.invested_at, 'YYYY-MM-DD'),
       to_char(page.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       to_char(page.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       CASE WHEN row_number() OVER (ORDER BY {order}) = 1 THEN stored.spellings END
  FROM (SELECT {stored} AS spellings) AS stored
  LEFT JOIN page ON true
 ORDER BY {order}
 LIMIT %(rows)s
"""
STORED_SPELLINGS: Final = "(SELECT array_agg(stage) FROM spelling WHERE stage IS NOT NULL)"

COMPANIES_ARM: Final = """(SELECT id, name, stage, status, sector, invested_usd, invested_at, created_at, updated_at
       FROM portfolio_companies
      WHERE {conditions}
      ORDER BY {order}
      LIMIT %(rows)s)"""

CONDITIONS: Final[Mapping[str, str]] = {
    "spellings": "stage = ANY(%(spellings)s)",
    "status": "status = %(status)s",
    "sector": "sector = %(sector)s",
    "pattern": r"name ILIKE %(pattern)s ESCAPE '\'",
}

# Each retry means that a spelling of the stage appeared within the last millisecond.
ATTEMPTS: Final = 8
REMEMBERED_FUNDS: Final = 1_024
REMEMBERED_SPELLINGS: Final = 1_000

Row = tuple[Any, ...]
Matching = Callable[[Collection[str]], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Sort:
    """An order that no migration changes: by a column, ties (and NULLs, always last) by id in the same direction."""

    column: str
    descending: bool = False
    nullable: bool = False


SORTS: Final[Mapping[str, Sort]] = {
    ("-" if descending else "") + column: Sort(column, descending, nullable=column == "invested_at")
    for column in ("id", "name", "invested_at", "created_at")
    for descending in (False, True)
}


@dataclass(frozen=True, slots=True)
class Position:
    """The last company of a page: its value of the sorted column (ISO text for dates) and its id."""

    value: str | None
    id: int


@dataclass(frozen=True, slots=True)
class Search:
    """What to list. `matching` picks, from the spellings stored in the fund, those of the stage asked for."""

    fund: int
    sort: str = "id"
    limit: int = 50
    matching: Matching | None = None
    status: str | None = None
    sector: str | None = None
    q: str | None = None


_spellings_of: dict[int, Sequence[str]] = {}


def find_page(search: Search, after: Position | None = None) -> tuple[list[Row], Position | None]:
    """Return the rows after `after` (columns as in COMPANIES_PAGE, dates as text) and the position to go on from.

    Raises a 503 problem if spellings appear faster than they can be read.
    """
    if search.matching is None:
        rows, _ = _fetch(search, after, None)
        return _cut(search, rows)
    asked = search.matching(_spellings_of.get(search.fund, ()))
    for _ in range(ATTEMPTS):
        rows, stored = _fetch(search, after, asked)
        wanted = search.matching(stored)
        if wanted <= asked:
            return _cut(search, rows)
        _remember(search.fund, stored)
        asked |= wanted
    raise Problem(
        "unavailable",
        status=503,
        detail="The fund's stages are changing too fast to read; try again.",
        headers={"Retry-After": "1"},
    )


def statement(search: Search, after: Position | None, spellings: Collection[str] | None) -> tuple[str, dict[str, Any]]:
    """Return the page's SQL, put together from the fragments above only, and its parameters."""
    sort = SORTS[search.sort]
    parameters: dict[str, Any] = {
        "fund": search.fund,
        "rows": search.limit + 1,
        "spellings": None if spellings is None else sorted(spellings),
        "status": search.status,
        "sector": search.sector,
        "pattern": None if search.q is None else contains(search.q),
        "value": after and after.value,
        "id": after and after.id,
    }
    given = ["fund_id = %(fund)s", *(sql for name, sql in CONDITIONS.items() if parameters[name] is not None)]
    arms = [
        COMPANIES_ARM.format(conditions=" AND ".join([*given, *conditions]), order=order)
        for conditions, order in _arms(sort, after)
    ]
    sql = COMPANIES_PAGE.format(
        spellings="" if spellings is None else FUND_SPELLINGS.strip() + ", ",
        arms=" UNION ALL ".join(arms),
        stored="NULL" if spellings is None else STORED_SPELLINGS,
        order=_order(sort, "page."),
    )
    return sql, parameters


def contains(text: str) -> str:
    """Return the LIKE pattern that finds `text` anywhere, with its `%`, `_` and backslashes taken literally."""
    return "%" + "".join("\\" + c if c in "\\%_" else c for c in text) + "%"


def _arms(sort: Sort, after: Position | None) -> list[tuple[list[str], str]]:
    """Conditions and order of each index range that makes up the list: the dated rows, then the undated ones.

    One range per arm, because neither a row comparison nor an index scan backwards puts NULLs last.
    """
    beyond = "<" if sort.descending else ">"
    by_id = [f"id {beyond} %(id)s"] if after else []
    if sort.column == "id":
        return [(by_id, _order(sort))]
    by_value = [f"({sort.column}, id) {beyond} (%(value)s, %(id)s)"] if after else []
    if not sort.nullable:
        return [(by_value, _order(sort))]
    undated = ([f"{sort.column} IS NULL", *by_id], _order(Sort("id", sort.descending)))
    if after and after.value is None:
        return [undated]
    return [([f"{sort.column} IS NOT NULL", *by_value], _order(sort)), (undated[0][:1], undated[1])]


def _order(sort: Sort, table: str = "") -> str:
    way = " DESC" if sort.descending else ""
    if sort.column == "id":
        return f"{table}id{way}"
    last = " NULLS LAST" if sort.nullable and table else ""
    return f"{table}{sort.column}{way}{last}, {table}id{way}"


def _fetch(
    search: Search, after: Position | None, spellings: Collection[str] | None
) -> tuple[list[Row], Sequence[str]]:
    sql, parameters = statement(search, after, spellings)
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
    stored = rows[0][-1] or ()
    return ([] if rows[0][0] is None else rows), stored


def _cut(search: Search, rows: list[Row]) -> tuple[list[Row], Position | None]:
    if len(rows) <= search.limit:
        return rows, None
    rows = rows[: search.limit]
    return rows, Position(rows[-1][_VALUE[SORTS[search.sort].column]], rows[-1][0])


_VALUE: Final = {"id": 0, "name": 1, "invested_at": 6, "created_at": 7}


def _remember(fund: int, spellings: Sequence[str]) -> None:
    if len(spellings) <= REMEMBERED_SPELLINGS:
        if len(_spellings_of) >= REMEMBERED_FUNDS:
            _spellings_of.clear()
        _spellings_of[fund] = spellings
