"""Counts of what clients sent, for the consumer audit and the gates.

Per-minute outcomes, the spellings that were not canonical, and user agents. Requests add to a
buffer of the process; the ticker writes it once a second and once more at an orderly end. A killed
process loses at most what came within its last second.
"""

from __future__ import annotations

import threading
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import structlog
from django.db import Error as StoreError
from django.db import connection, transaction
from django.utils import timezone

from stagenorm.locks import TALLY_FLUSH

log = structlog.get_logger(__name__)

SPELLINGS_A_DAY: Final = 1_000
AGENTS_A_MINUTE: Final = 1_000  # that one process notes
AGENTS_KEPT: Final = 3  # of a client
LONGEST_AGENT: Final = 200
OTHER: Final = "(other)"

# One statement without a lock: the rows are locked in one order, so writers cannot deadlock.
UPSERT_TALLIES: Final = """
INSERT INTO normalization_outcometally AS kept
       (minute, endpoint, client, mode, outcome, requests)
SELECT minute, endpoint, client, mode, outcome, requests
FROM unnest(%(minutes)s::timestamptz[], %(endpoints)s::text[], %(clients)s::text[],
            %(modes)s::text[], %(outcomes)s::text[], %(requests)s::bigint[])
     AS given (minute, endpoint, client, mode, outcome, requests)
ORDER BY minute, endpoint, client, mode, outcome
ON CONFLICT (minute, endpoint, client, mode, outcome)
DO UPDATE SET requests = kept.requests + excluded.requests
"""

UPSERT_SPELLING: Final = """
INSERT INTO normalization_observedspelling
    (day, spelling, stage, endpoint, client, count, first_seen, last_seen)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (day, spelling, stage, endpoint, client)
DO UPDATE SET count = normalization_observedspelling.count + excluded.count,
              last_seen = greatest(normalization_observedspelling.last_seen, excluded.last_seen)
"""

KEPT_SPELLINGS: Final = """
SELECT DISTINCT spelling FROM normalization_observedspelling WHERE day = %s AND (stage = '') = %s
"""

UPSERT_AGENTS: Final = """
INSERT INTO normalization_clientagent AS kept (client, user_agent, first_seen, last_seen)
SELECT client, user_agent, seen, seen
FROM unnest(%(clients)s::text[], %(agents)s::text[], %(seen)s::timestamptz[])
     AS given (client, user_agent, seen)
ON CONFLICT (client, user_agent)
DO UPDATE SET last_seen = greatest(kept.last_seen, excluded.last_seen)
"""

DELETE_OLDER_AGENTS: Final = """
DELETE FROM normalization_clientagent WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY client ORDER BY last_seen DESC, id DESC)
        FROM normalization_clientagent WHERE client = ANY (%(clients)s)
    ) AS ranked (id, place) WHERE place > %(kept)s)
"""

AgentKey = tuple[str, str]
TallyKey = tuple[datetime, str, str, str, str]
SpellingKey = tuple[date, str, str, str, str]


@dataclass(slots=True)
class _Seen:
    count: int
    first: datetime
    last: datetime


class _Buffer:
    def __init__(self) -> None:
        self.tallies: dict[TallyKey, int] = defaultdict(int)
        self.spellings: dict[SpellingKey, _Seen] = {}
        self.agents: dict[AgentKey, datetime] = {}
        self._noted: set[AgentKey] = set()
        self._minute: datetime | None = None

    def take(
        self,
    ) -> tuple[dict[TallyKey, int], dict[SpellingKey, _Seen], dict[AgentKey, datetime]]:
        """Return what is held, and be empty."""
        taken = self.tallies, self.spellings, self.agents
        self.tallies, self.spellings, self.agents = defaultdict(int), {}, {}
        return taken

    def forget(self) -> None:
        """Be as new."""
        self.take()
        self._noted.clear()

    def note_agent(self, key: AgentKey, now: datetime) -> None:
        """Hold a user agent, once a minute: a busy client is not written with every flush."""
        minute = now.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute = minute
            self._noted.clear()
        if key not in self._noted and len(self._noted) < AGENTS_A_MINUTE:
            self._noted.add(key)
            self.agents[key] = now


_lock = threading.Lock()
_buffer = _Buffer()


def printable(raw: str, longest: int = 100) -> str:
    """Return the beginning of client text, with control and format characters replaced by `?`."""
    cut = raw[:longest]
    if cut.isprintable():  # nearly every text; it has none of those characters
        return cut
    return "".join("?" if unicodedata.category(c) in {"Cc", "Cf", "Cs"} else c for c in cut)


def record(
    endpoint: str, client: str, mode: str, outcome: str, spellings: Mapping[tuple[str, str], int]
) -> None:
    """Add one request. `spellings` counts (raw spelling, stage or "") for everything that was not
    canonical.
    """
    now = timezone.now()
    with _lock:
        minute = now.replace(second=0, microsecond=0)
        _buffer.tallies[minute, endpoint, client[:100], mode, outcome] += 1
        _record_spellings(endpoint, client, spellings, now)


def record_spellings(endpoint: str, client: str, spellings: Mapping[tuple[str, str], int]) -> None:
    """Add spellings that came by another way than a request: no rate of requests is moved by
    them.
    """
    with _lock:
        _record_spellings(endpoint, client, spellings, timezone.now())


def record_agent(client: str, user_agent: str) -> None:
    """Note the user agent of a client's request."""
    key = client[:100], printable(user_agent, LONGEST_AGENT)
    with _lock:
        _buffer.note_agent(key, timezone.now())


def _record_spellings(
    endpoint: str, client: str, spellings: Mapping[tuple[str, str], int], now: datetime
) -> None:
    for (raw, stage), count in spellings.items():
        key = (now.date(), printable(raw), stage, endpoint, client[:100])
        _add(_buffer, key, _Seen(count, now, now))


def flush() -> None:
    """Write and empty the buffer. A failing database is logged, never raised; the rest is kept."""
    with _lock:
        tallies, spellings, agents = _buffer.take()
    try:
        if tallies:
            _write_tallies(tallies)
            tallies = {}
        if spellings:
            _write_spellings(spellings)
            spellings = {}
        if agents:
            _write_agents(agents)
            agents = {}
    except StoreError as error:
        log.warning("stage_observations_not_written", error=type(error).__name__)
        _give_back(tallies, spellings, agents)


def forget() -> None:
    """Drop what is buffered, as if the process had just started."""
    with _lock:
        _buffer.forget()


def _give_back(
    tallies: Mapping[TallyKey, int],
    spellings: Mapping[SpellingKey, _Seen],
    agents: Mapping[AgentKey, datetime],
) -> None:
    with _lock:
        if len(_buffer.agents) < AGENTS_A_MINUTE:
            _buffer.agents = {**agents, **_buffer.agents}
        for tally, requests in tallies.items():
            if tally in _buffer.tallies or len(_buffer.tallies) < SPELLINGS_A_DAY:
                _buffer.tallies[tally] += requests
        for key, seen in spellings.items():
            _add(_buffer, key, seen)


def _add(buffer: _Buffer, key: SpellingKey, seen: _Seen) -> None:
    if key not in buffer.spellings and len(buffer.spellings) >= SPELLINGS_A_DAY:
        key = (key[0], OTHER, *key[2:])
    _merge(buffer.spellings, key, seen)


def _merge(spellings: dict[SpellingKey, _Seen], key: SpellingKey, seen: _Seen) -> None:
    held = spellings.get(key)
    if held is None:
        spellings[key] = seen
    else:
        held.count += seen.count
        held.first, held.last = min(held.first, seen.first), max(held.last, seen.last)


def _write_tallies(tallies: Mapping[TallyKey, int]) -> None:
    names = ("minutes", "endpoints", "clients", "modes", "outcomes")
    columns = zip(*tallies, strict=True)
    parameters = {name: list(column) for name, column in zip(names, columns, strict=True)}
    with connection.cursor() as cursor:
        cursor.execute(UPSERT_TALLIES, {**parameters, "requests": list(tallies.values())})


def _write_agents(agents: Mapping[AgentKey, datetime]) -> None:
    clients, names = zip(*agents, strict=True)
    values = {"clients": list(clients), "agents": list(names), "seen": list(agents.values())}
    with transaction.atomic(), connection.cursor() as cursor:
        # One writer at a time, so that the limit of a client holds.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [TALLY_FLUSH])
        cursor.execute(UPSERT_AGENTS, values)
        cursor.execute(DELETE_OLDER_AGENTS, {**values, "kept": AGENTS_KEPT})


def _write_spellings(spellings: Mapping[SpellingKey, _Seen]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        # One writer at a time, so the limit a day holds exactly.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [TALLY_FLUSH])
        rows = sorted(_bounded(spellings).items())
        cursor.executemany(
            UPSERT_SPELLING, [(*key, seen.count, seen.first, seen.last) for key, seen in rows]
        )


def _bounded(spellings: Mapping[SpellingKey, _Seen]) -> dict[SpellingKey, _Seen]:
    kept: dict[tuple[date, bool], set[str]] = {}
    bounded: dict[SpellingKey, _Seen] = {}
    for (day, spelling, stage, endpoint, client), seen in spellings.items():
        group = (day, stage == "")
        if group not in kept:
            kept[group] = _kept_spellings(*group)
        names = kept[group]
        if spelling not in names:
            if len(names) >= SPELLINGS_A_DAY:
                spelling = OTHER
            names.add(spelling)
        _merge(bounded, (day, spelling, stage, endpoint, client), seen)
    return bounded


def _kept_spellings(day: date, unknown: bool) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(KEPT_SPELLINGS, [day, unknown])
        return {spelling for (spelling,) in cursor.fetchall()}
