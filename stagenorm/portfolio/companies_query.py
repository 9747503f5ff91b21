"""One page of a fund's companies: the SQL, and why a page is never short of a spelling.

Note: a range of one fund. With `fund_id = 7 ORDER BY id LIMIT 50` the planner may walk the primary key of the whole
table in the hope of meeting fund 7 soon, and if that fund was loaded last it reads everything before it. As a range,
and named in the order, the fund can only be served by an index that begins with it.

Note: every spelling, in one snapshot. A stage filter asks for every stored spelling of the stage. Read in a statement
of their own, the spellings could be outdated when the page is read: a backfill (or its undo) may have written another
one in between, and its rows would be missing. So each of the two statements here settles the question by itself:
- the walk leaves out rows by spellings that are known to mean something else, which they always will, and the rows that
  come back are looked at one by one. It reads WALKED rows at the most, which fills a page unless the stage is rare;
- else the page is read by the spellings of the stage, and returns all spellings of the fund besides. Was one of the
  stage's among them that it did not ask for, it is read again with that.
What a fund's spellings were is remembered as a first guess. A wrong one costs a statement, never a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from normalization.problems import Problem

# Rows leave the database as the text that the answer holds.
COLUMNS: Final = """page.id, page.name, page.stage, page.status, page.sector, page.invested_usd::text,
       to_char(page.invested_at, 'YYYY-MM-DD'),
       to_char(page.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       to_char(page.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

# A part of a fund, in order, from the index that has this order.
RANGE: Final = """SELECT fund_id, id, name, stage, status, sector, invested_usd, invested_at, created_at, updated_at
       FROM portfolio_companies
      WHERE {conditions}
      ORDER BY {order}
      LIMIT {most}"""

WALK: Final = """
SELECT {columns}
  FROM ({range}) AS page
 WHERE {conditions}
 ORDER BY {order}
 LIMIT %(rows)s
"""

PAGE: Final = """
SELECT {columns}
  FROM ({ranges}) AS page
 ORDER BY {order}
 LIMIT %(rows)s
"""

# Index-only walk over (fund, stage): one descent per distinct spelling, however many rows have it ("loose index scan").
FUND_SPELLINGS: Final = """spelling (stage) AS (
    (SELECT stage FROM portfolio_companies WHERE fund_id = %(fund)s ORDER BY stage LIMIT 1)
    UNION ALL
    SELECT (SELECT company.stage FROM portfolio_companies AS company
             WHERE company.fund_id = %(fund)s AND company.stage > spelling.stage
             ORDER BY company.stage LIMIT 1)
      FROM spelling WHERE spelling.stage IS NOT NULL
)"""

# The first row carries the spellings, and the LEFT JOIN sees to it that there is one.
PAGE_WITH_SPELLINGS: Final = """
WITH RECURSIVE {spellings}
SELECT {columns},
       CASE WHEN row_number() OVER (ORDER BY {order}) = 1 THEN stored.spellings END
  FROM (SELECT (SELECT array_agg(stage) FROM spelling WHERE stage IS NOT NULL) AS spellings) AS stored
  LEFT JOIN ({ranges}) AS page ON true
 ORDER BY {order}
 LIMIT %(rows)s
"""

ONE_FUND: Final = "fund_id BETWEEN %(fund)s AND %(fund)s"
CONDITIONS: Final[Mapping[str, str]] = {
    "spellings": "stage = ANY(%(spellings)s)",
    "others": "stage <> ALL(%(others)s)",
    "status": "status = %(status)s",
    "sector": "sector = %(sector)s",
    "pattern": r"name ILIKE %(pattern)s ESCAPE '\'",
}

WALKED: Final = 1_000
# Each attempt after the second means that a spelling of the stage appeared within the last milliseconds.
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

    @property
    def nullable(self) -> bool:
        """Whether companies may lack the value."""
        return self.column == "invested_at"

    @property
    def indexed(self) -> bool:
        """Whether an index on (fund, column, id) keeps the order."""
        return self.column != "created_at"


SORTS: Final[Mapping[str, Sort]] = {
    ("-" if descending else "") + column: Sort(column, descending)
    for column in ("id", "name", "invested_at", "created_at")
    for descending in (False, True)
}
_PLACE_IN_ROW: Final = {"id": 0, "name": 1, "invested_at": 6, "created_at": 7}


@dataclass(frozen=True, slots=True)
class Position:
    """The last company of a page: its value of the sorted column (ISO text for dates) and its id."""

    value: str | int | None
    id: int


@dataclass(frozen=True, slots=True)
class Search:
    """What to list. `matching` picks, from spellings, those of the stage asked for; None lists every stage."""

    fund: int
    sort: str = "id"
    limit: int = 50
    matching: Matching | None = None
    status: str | None = None
    sector: str | None = None
    q: str | None = None


_spellings_of: dict[int, Sequence[str]] = {}


def find_page(search: Search, after: Position | None = None) -> tuple[list[Row], Position | None]:
    """Return the rows after `after` (columns as in COLUMNS) and the position to go on from, None at the end.

    Raises a 503 problem if spellings appear faster than they can be read.
    """
    if search.matching is None:
        return _cut(search, _fetch(*page_statement(search, after)))
    known = _spellings_of.get(search.fund, ())
    asked = search.matching(known)
    if known and SORTS[search.sort].indexed:
        rows = _fetch(*walk_statement(search, after, set(known) - asked))
        if len(rows) > search.limit and {row[2] for row in rows} <= search.matching(
            [row[2] for row in rows]
        ):
            return _cut(search, rows)
    for _ in range(ATTEMPTS):
        rows = _fetch(*page_statement(search, after, asked))
        stored = rows[0][-1] or ()
        wanted = search.matching(stored)
        if wanted <= asked:
            return _cut(search, rows if rows[0][0] is not None else [])
        _remember(search.fund, stored)
        asked |= wanted
    raise Problem(
        "unavailable",
        status=503,
        detail="The fund's stages are changing too fast to read; try again.",
        headers={"Retry-After": "1"},
    )


def walk_statement(
    search: Search, after: Position | None, others: Collection[str]
) -> tuple[str, dict[str, Any]]:
    """Return the SQL and parameters that read on through the fund, leaving out the spellings `others`."""
    parameters = _parameters(search, after) | {"others": sorted(others)}
    [conditions, *_], order = _ranges(SORTS[search.sort], after)
    walked = RANGE.format(
        conditions=" AND ".join([ONE_FUND, *conditions]), order=order, most=WALKED
    )
    filters = " AND ".join(_filters(parameters))
    return WALK.format(columns=COLUMNS, range=walked, conditions=filters, order=order), parameters


def page_statement(
    search: Search, after: Position | None, spellings: Collection[str] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the SQL and parameters of a page of companies stored with `spellings`, or with any."""
    sort = SORTS[search.sort]
    parameters = _parameters(search, after) | {
        "spellings": None if spellings is None else sorted(spellings)
    }
    given = [ONE_FUND, *_filters(parameters)]
    each, order = _ranges(sort, after)
    ranges = [
        RANGE.format(conditions=" AND ".join([*given, *own]), order=order, most="%(rows)s")
        for own in each
    ]
    way = " DESC" if sort.descending else ""
    by_value = "" if sort.column == "id" else f"page.{sort.column}{way} NULLS LAST, "
    template = PAGE if spellings is None else PAGE_WITH_SPELLINGS
    union = ranges[0] if len(ranges) == 1 else " UNION ALL ".join(f"({each})" for each in ranges)
    order = f"{by_value}page.id{way}"
    return template.format(
        columns=COLUMNS, spellings=FUND_SPELLINGS, ranges=union, order=order
    ), parameters


def contains(text: str) -> str:
    """Return the LIKE pattern that finds `text` anywhere, with its `%`, `_` and backslashes taken literally."""
    return "%" + "".join("\\" + c if c in "\\%_" else c for c in text) + "%"


def _parameters(search: Search, after: Position | None) -> dict[str, Any]:
    return {
        "fund": search.fund,
        "rows": search.limit + 1,
        "status": search.status,
        "sector": search.sector,
        "pattern": None if search.q is None else contains(search.q),
        "value": after and after.value,
        "id": after and after.id,
    }


def _filters(parameters: Mapping[str, Any]) -> list[str]:
    return [sql for name, sql in CONDITIONS.items() if parameters.get(name) is not None]


def _ranges(sort: Sort, after: Position | None) -> tuple[list[list[str]], str]:
    """Conditions of each index range that makes up the list (the dated rows, then the undated ones), and their order.

    Two ranges, because neither a row comparison nor an index read backwards puts NULLs last.
    """
    columns = ["fund_id", "id"] if sort.column == "id" else ["fund_id", sort.column, "id"]
    order = ", ".join(column + (" DESC" if sort.descending else "") for column in columns)
    beyond = "<" if sort.descending else ">"
    place = ", ".join(
        {"fund_id": "%(fund)s", "id": "%(id)s"}.get(column, "%(value)s") for column in columns
    )
    further = [f"({', '.join(columns)}) {beyond} ({place})"] if after else []
    if not sort.nullable:
        return [further], order
    if after and after.value is None:
        return [[f"{sort.column} IS NULL", f"id {beyond} %(id)s"]], order
    return [[f"{sort.column} IS NOT NULL", *further], [f"{sort.column} IS NULL"]], order


def _fetch(sql: str, parameters: dict[str, Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Row] = cursor.fetchall()
    return rows


def _cut(search: Search, rows: list[Row]) -> tuple[list[Row], Position | None]:
    if len(rows) <= search.limit:
        return rows, None
    last = rows[search.limit - 1]
    return rows[: search.limit], Position(last[_PLACE_IN_ROW[SORTS[search.sort].column]], last[0])


def _remember(fund: int, spellings: Sequence[str]) -> None:
    if len(spellings) <= REMEMBERED_SPELLINGS:
        if len(_spellings_of) >= REMEMBERED_FUNDS:
            _spellings_of.clear()
        _spellings_of[fund] = spellings
