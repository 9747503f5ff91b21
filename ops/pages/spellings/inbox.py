"""The undecided spellings, gathered into units and weighed: what a page of the inbox shows.

A unit is what an operator decides in one go: a closed group, or all texts of one folded key. Its
weight is its share of the undecided stored rows plus its share of the undecided requests of seven
days, so that a text which clients send every hour is not hidden by an old import.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from normalization.closed_group import SpellingGroup
from normalization.observations import OTHER
from normalization.spelling_groups import GROUPS
from ops.admin_ui.characters import Visible, visible
from ops.pages.spellings.models import SpellingCount
from ops.pages.spellings.weights import OBSERVED_DAYS

UNITS_LISTED: Final = 50
MEMBERS_LISTED: Final = 12
SIMILAR_LISTED: Final = 5
ALL_MEMBERS: Final = 2**31

OPENED: Final = "left open:"
"""Begins the name of a unit in a draft whose spellings were left open before."""

GROUP_OF_CODE: Final[dict[str, SpellingGroup]] = {group.code: group for group in GROUPS}

ORDERS: Final = {
    "weight": "weight DESC, unit",
    "newest": "seen_at DESC, weight DESC, unit",
    "likely": "weight DESC, unit",
}

# A week of requests: at most 1,000 spellings a day are kept of each client's texts.
SENT: Final = f"""
WITH sent AS MATERIALIZED (
    SELECT spelling COLLATE "C" AS spelling, sum(count)::bigint AS requests,
           min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM normalization_observedspelling
    WHERE day > current_date - {OBSERVED_DAYS} AND spelling <> '{OTHER}' GROUP BY 1
)"""  # noqa: S608 (constants of this module)

# OFFSET 0 keeps the planner at one index look-up for each of the few rows on the left.
# The heaviest units are among those with requests and those with most rows. Both lists are short,
# where all units may be 100,000. With an order by time, the newest of those with rows join.
CANDIDATES: Final = """
SELECT unit FROM sent_unit
UNION (SELECT unit FROM ops_spellingunit WHERE opened = %(opened)s AND rows > 0 {only}
       ORDER BY {first} DESC LIMIT %(most)s)
"""

NAMED: Final = f"""
SELECT DISTINCT unit FROM ops_spellingweight AS held WHERE verdict = %(verdict)s
AND (strpos(lower(spelling), lower(%(named)s)) > 0 OR spelling IN (
    SELECT spelling COLLATE "C" FROM normalization_observedspelling
    WHERE day > current_date - {OBSERVED_DAYS}
      AND strpos(lower(client), lower(%(named)s)) > 0))
"""  # noqa: S608 (constants of this module)

UNITS: Final = f"""{SENT}, sent_unit AS MATERIALIZED (
    SELECT held.unit, sum(sent.requests)::bigint AS requests
    FROM sent, LATERAL (
        SELECT unit, verdict FROM ops_spellingweight WHERE spelling = sent.spelling OFFSET 0
    ) AS held
    WHERE held.verdict = %(verdict)s GROUP BY held.unit
), candidate AS ({{candidates}}), total AS (
    SELECT greatest((SELECT (shares->%(verdict)s->>1)::float FROM ops_spellingcount), 1) AS rows,
           greatest((SELECT sum(requests) FROM sent_unit), 1)::float AS requests
), found AS (
    SELECT each.unit, each.rows, coalesce(sent_unit.requests, 0) AS requests, each.size,
           each.looks_like, each.seen_at
    FROM candidate CROSS JOIN LATERAL (
        SELECT * FROM ops_spellingunit WHERE unit = candidate.unit OFFSET 0
    ) AS each LEFT JOIN sent_unit ON sent_unit.unit = each.unit
    WHERE each.opened = %(opened)s {{only}}
)
SELECT unit, found.rows, found.requests, size, looks_like,
       found.rows / total.rows + found.requests / total.requests AS weight
FROM found, total ORDER BY {{order}} OFFSET %(skipped)s LIMIT {UNITS_LISTED + 1}
"""  # noqa: S608 (constants of this module)

MEMBERS: Final = f"""{SENT}, member AS (
    SELECT unit, spelling, rows, coalesce(requests, 0) AS requests, looks_like, first_seen,
           last_seen, row_number() OVER (
               PARTITION BY unit ORDER BY rows + coalesce(requests, 0) DESC, spelling) AS place
    FROM ops_spellingweight AS held LEFT JOIN sent USING (spelling)
    WHERE unit = ANY(%(units)s) AND verdict = %(verdict)s
      AND (rows > 0 OR requests IS NOT NULL)
)
SELECT unit, spelling, rows, requests, looks_like, first_seen, last_seen FROM member
WHERE place <= %(listed)s ORDER BY unit, place
"""  # noqa: S608 (constants of this module)

REQUESTS_BY_VERDICT: Final = f"""{SENT}
SELECT held.verdict, sum(sent.requests)::bigint
FROM sent JOIN ops_spellingweight AS held USING (spelling) GROUP BY 1
"""  # noqa: S608 (constants of this module)

# Those of the same unit first, then those that look like the same stage.
SIMILAR: Final = f"""
SELECT held.spelling, held.verdict = 'built in',
       CASE WHEN held.verdict = 'built in' THEN held.looks_like
            ELSE coalesce(nullif(decision.stage, ''), held.verdict) END
FROM ops_spellingweight AS held LEFT JOIN normalization_stagedecision AS decision
     ON decision.key COLLATE "C" = held.key AND decision.superseded_at IS NULL
WHERE held.verdict IN ('stage', 'outside', 'built in')
  AND (held.unit = %(unit)s OR held.looks_like = nullif(%(looks_like)s, ''))
ORDER BY held.unit = %(unit)s DESC, held.rows DESC, held.spelling LIMIT {SIMILAR_LISTED}
"""  # noqa: S608 (constants of this module)


@dataclass(frozen=True, slots=True)
class SimilarSpelling:
    """A spelling like those of a unit that is settled, and what it means."""

    shown: Visible
    is_built_in: bool
    becomes: str


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """Which part of the inbox is asked for. `opened`: spellings that were left open instead."""

    named: str = ""
    order: str = "weight"
    page: int = 1
    opened: bool = False

    @property
    def verdict(self) -> str:
        """The verdict of the spellings, as the weights hold it."""
        return "open" if self.opened else ""


@dataclass(frozen=True, slots=True)
class UnitMember:
    """A spelling of a unit, with its stored rows and its requests of seven days."""

    spelling: str
    shown: Visible
    rows: int
    requests: int
    looks_like: str
    first_seen: datetime | None
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class InboxUnit:
    """Undecided spellings that are decided in one go. `members` are the heaviest of its `size`."""

    code: str
    rows: int
    requests: int
    size: int
    looks_like: str
    weight: float
    members: Sequence[UnitMember]

    @property
    def group(self) -> SpellingGroup | None:
        """The closed group, None for the spellings of one key."""
        return GROUP_OF_CODE.get(self.code)

    @property
    def others(self) -> int:
        """How many members there are beside the heaviest."""
        return self.size - 1


@dataclass(frozen=True, slots=True)
class InboxPage:
    """A page of units, and whether another page follows."""

    listed: Sequence[InboxUnit]
    has_next: bool


@dataclass(frozen=True, slots=True)
class VerdictShare:
    """How many spellings, stored rows and requests of seven days have one verdict."""

    spellings: int = 0
    rows: int = 0
    requests: int = 0


def read_page(query: InboxQuery) -> InboxPage:
    """Return the units that `query` asks for, with their heaviest members."""
    skipped = (query.page - 1) * UNITS_LISTED
    with connection.cursor() as cursor:
        cursor.execute(
            _units_statement(query),
            {
                "opened": query.opened,
                "verdict": query.verdict,
                "named": query.named,
                "skipped": skipped,
                "most": skipped + UNITS_LISTED + 1,
            },
        )
        rows = cursor.fetchall()
    has_next = len(rows) > UNITS_LISTED
    rows = rows[:UNITS_LISTED]
    members = members_of([code for code, *_ in rows], verdict=query.verdict)
    listed = [
        InboxUnit(code, stored, requests, size, looks_like, weight, members.get(code, []))
        for code, stored, requests, size, looks_like, weight in rows
    ]
    return InboxPage(listed, has_next)


def members_of(
    units: Iterable[str], *, verdict: str = "", listed: int = MEMBERS_LISTED
) -> dict[str, list[UnitMember]]:
    """Return the spellings of each unit with `verdict`, the heaviest `listed` of each."""
    values: dict[str, Any] = {"units": list(units), "listed": listed, "verdict": verdict}
    found: dict[str, list[UnitMember]] = {}
    with connection.cursor() as cursor:
        cursor.execute(MEMBERS, values)
        for unit, spelling, *figures in cursor.fetchall():
            member = UnitMember(spelling, visible(spelling), *figures)
            found.setdefault(unit, []).append(member)
    return found


def similar_to(unit: InboxUnit) -> list[SimilarSpelling]:
    """Return settled spellings of the same group, or that look like the same stage."""
    with connection.cursor() as cursor:
        cursor.execute(SIMILAR, {"unit": unit.code, "looks_like": unit.looks_like})
        return [SimilarSpelling(visible(text), *more) for text, *more in cursor.fetchall()]


def members_named(
    names: Iterable[str], *, listed: int = MEMBERS_LISTED
) -> dict[str, list[UnitMember]]:
    """Return the members of units by their names in a draft, the heaviest `listed` of each."""
    plain, opened = split_units(names)
    left_open = members_of(opened, verdict="open", listed=listed) if opened else {}
    found = members_of(plain, listed=listed)
    return found | {f"{OPENED}{code}": members for code, members in left_open.items()}


def split_units(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the codes of the units that are undecided, and of those that were left open."""
    every = list(names)
    plain = [name for name in every if not name.startswith(OPENED)]
    opened = [name.removeprefix(OPENED) for name in every if name.startswith(OPENED)]
    return plain, opened


def read_shares(counted: SpellingCount) -> dict[str, VerdictShare]:
    """Return the shares of `built in`, `stage`, `outside`, `open` and "" (undecided)."""
    with connection.cursor() as cursor:
        cursor.execute(REQUESTS_BY_VERDICT)
        requests = dict(cursor.fetchall())
    shares = {}
    for verdict in counted.shares.keys() | requests.keys():
        spellings, rows = counted.shares.get(verdict, (0, 0))
        shares[verdict] = VerdictShare(spellings, rows, requests.get(verdict, 0))
    return shares


def _units_statement(query: InboxQuery) -> str:
    only = "AND looks_like <> ''" if query.order == "likely" else ""
    first = "seen_at" if query.order == "newest" else "rows"
    candidates = NAMED if query.named else CANDIDATES.format(only=only, first=first)
    return UNITS.format(candidates=candidates, only=only, order=ORDERS[query.order])
