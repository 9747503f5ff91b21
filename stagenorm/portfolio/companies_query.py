"""One page of a fund's companies: the SQL, and why a page never misses a spelling.

Note: the text of a stage is `coalesce(stage_raw, stage)`. Pages select by this text and by what it
means today, so a page is right before a backfill, during it and after it.

Note: a range of one fund. With `fund_id = 7 ORDER BY id LIMIT 50` the planner may walk the primary
key of the whole table until it meets fund 7; if that fund was loaded last, it reads every other
row first. As a range, and named in the order, the fund is served by an index that begins with it.

Note: every spelling, in one snapshot. A stage filter needs every stored spelling of the stage. If
another statement read the spellings, a backfill or its undo could write a new one before the page
is read, and the page would miss its rows. So each of the two statements is complete by itself:
- the walk excludes rows by spellings known to mean something else (they always will), and checks
  each remaining row. It reads at most WALKED rows, which fills a page unless the stage is rare;
- otherwise the page is read by the spellings of the stage, and also returns all spellings of the
  fund. If they include a spelling of the stage that we did not ask for, the page is read again
  with that spelling.
The spellings of a fund are remembered as a first guess. A wrong guess costs a statement, never a
row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from normalization.problems import Problem

# The database formats dates and amounts as the text of the answer.
COLUMNS: Final = """page.id, page.name, coalesce(page.stage_raw, page.stage), page.status,
       page.sector, page.invested_usd::text,
       to_char(page.invested_at, 'YYYY-MM-DD'),
       to_char(page.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       to_char(page.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

# A part of a fund, in the order of an index.
RANGE: Final = """SELECT fund_id, id, name, stage_raw, stage, status, sector, invested_usd,
              invested_at, created_at, updated_at
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

# A walk over the index on (fund, text), a "loose index scan": one descent for each distinct
# spelling, for any number of rows.
FUND_SPELLINGS: Final = """spelling (raw) AS (
    (SELECT coalesce(stage_raw, stage) FROM portfolio_companies WHERE fund_id = %(fund)s
      ORDER BY coalesce(stage_raw, stage) LIMIT 1)
    UNION ALL
    SELECT (SELECT coalesce(company.stage_raw, company.stage) FROM portfolio_companies AS company
             WHERE company.fund_id = %(fund)s
               AND coalesce(company.stage_raw, company.stage) > spelling.raw
             ORDER BY coalesce(company.stage_raw, company.stage) LIMIT 1)
      FROM spelling WHERE spelling.raw IS NOT NULL
)"""

# The first row carries the spellings; the LEFT JOIN returns that row even for an empty page.
PAGE_WITH_SPELLINGS: Final = """
WITH RECURSIVE {spellings}
SELECT {columns},
       CASE WHEN row_number() OVER (ORDER BY {order}) = 1 THEN stored.spellings END
  FROM (SELECT (SELECT array_agg(raw) FROM spelling WHERE raw IS NOT NULL) AS spellings)
       AS stored
  LEFT JOIN ({ranges}) AS page ON true
 ORDER BY {order}
 LIMIT %(rows)s
"""

ONE_FUND: Final = "fund_id BETWEEN %(fund)s AND %(fund)s"
CONDITIONS: Final[Mapping[str, str]] = {
    "spellings": "coalesce(stage_raw, stage) = ANY(%(spellings)s)",
    "others": "coalesce(stage_raw, stage) <> ALL(%(others)s)",
    "status": "status = %(status)s",
    "updated_since": "updated_at >= %(updated_since)s",
    # `IS NORMALIZED` costs a third of `normalize`, and nearly all stored text passes it.
    "sector": """CASE WHEN sector IS NFC NORMALIZED THEN sector ELSE normalize(sector, NFC) END
                 = %(sector)s""",
    "pattern": r"""CASE WHEN name IS NFKC NORMALIZED THEN name ELSE normalize(name, NFKC) END
                   ILIKE %(pattern)s ESCAPE '\'""",
}

WALKED: Final = 1_000
# Each attempt after the second means that a new spelling of the stage appeared between two
# statements.
ATTEMPTS: Final = 8
REMEMBERED_FUNDS: Final = 1_024
REMEMBERED_SPELLINGS: Final = 1_000

Row = tuple[Any, ...]
Matching = Callable[[Collection[str]], frozenset[str]]


@dataclass(frozen=True, slots=True)
class Sort:
    """An order by a column that no migration changes.

    Ties, and NULLs (always last), are ordered by id in the same direction.
    """

    column: str
    descending: bool = False

    @property
    def nullable(self) -> bool:
        """Whether the column may be NULL."""
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
class PagePosition:
    """The last company of a page: its id and its sorted value (ISO text for dates)."""

    value: str | int | None
    id: int


@dataclass(frozen=True, slots=True)
class Search:
    """What to list.

    `matching` selects, among spellings, those that are wanted; None lists all.
    """

    fund: int
    sort: str = "id"
    limit: int = 50
    matching: Matching | None = None
    status: str | None = None
    sector: str | None = None
    q: str | None = None
    updated_since: datetime | None = None


_spellings_of: dict[int, Sequence[str]] = {}


def find_page(
    search: Search, after: PagePosition | None = None
) -> tuple[list[Row], PagePosition | None]:
    """Return the rows after `after`, with COLUMNS, and the position of the last row.

    The position is None on the last page.

    Raises a 503 problem if spellings appear faster than they can be read.
    """
    if search.matching is None:
        return _cut(search, _fetch(*page_statement(search, after)))
    known = _spellings_of.get(search.fund, ())
    asked = search.matching(known)
    if known and SORTS[search.sort].indexed:
        rows = _fetch(*walk_statement(search, after, set(known) - asked))
        texts = {row[2] for row in rows}
        if len(rows) > search.limit and texts <= search.matching(texts):
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
    search: Search, after: PagePosition | None, others: Collection[str]
) -> tuple[str, dict[str, Any]]:
    """Return SQL and parameters of a walk through the fund that excludes `others`."""
    parameters = _parameters(search, after) | {"others": sorted(others)}
    [conditions, *_], order = _ranges(SORTS[search.sort], after)
    walked = RANGE.format(
        conditions=" AND ".join([ONE_FUND, *conditions]), order=order, most=WALKED
    )
    filters = " AND ".join(_filters(parameters))
    return WALK.format(columns=COLUMNS, range=walked, conditions=filters, order=order), parameters


def page_statement(
    search: Search, after: PagePosition | None, spellings: Collection[str] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return SQL and parameters of a page of companies stored with `spellings`; None: with any."""
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
    """Return the LIKE pattern that finds `text` anywhere; its `%`, `_` and `\\` are literal."""
    return "%" + "".join("\\" + c if c in "\\%_" else c for c in text) + "%"


def _parameters(search: Search, after: PagePosition | None) -> dict[str, Any]:
    return {
        "fund": search.fund,
        "rows": search.limit + 1,
        "status": search.status,
        "sector": search.sector,
        "updated_since": search.updated_since,
        "pattern": None if search.q is None else contains(search.q),
        "value": after and after.value,
        "id": after and after.id,
    }


def _filters(parameters: Mapping[str, Any]) -> list[str]:
    return [sql for name, sql in CONDITIONS.items() if parameters.get(name) is not None]


def _ranges(sort: Sort, after: PagePosition | None) -> tuple[list[list[str]], str]:
    """Return the conditions of each index range of the list, and their order.

    A nullable column has two ranges, rows with and without the value: neither a row comparison nor
    an index read backwards puts NULLs last.
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


def _cut(search: Search, rows: list[Row]) -> tuple[list[Row], PagePosition | None]:
    if len(rows) <= search.limit:
        return rows, None
    last = rows[search.limit - 1]
    return rows[: search.limit], PagePosition(
        last[_PLACE_IN_ROW[SORTS[search.sort].column]], last[0]
    )


def _remember(fund: int, spellings: Sequence[str]) -> None:
    if len(spellings) <= REMEMBERED_SPELLINGS:
        if len(_spellings_of) >= REMEMBERED_FUNDS:
            _spellings_of.clear()
        _spellings_of[fund] = spellings
