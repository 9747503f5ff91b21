"""The spelling table that requests use: the built-in spellings and the decisions in force.

Each process holds one immutable snapshot. It spreads as the rollout does (see `versioned_store`),
with one difference: the copy in Redis carries only the version, because ten thousand decisions
are too large to fetch and verify every few seconds. A process that finds a new version there
reads the decisions from the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from django.db import Error as StoreError
from django.db import connection

from normalization.listener import listener
from normalization.stages import BUILTIN, Entry, OutsideEntry, SpellingTable, Stage
from normalization.versioned_store import Versioned, VersionedKind, VersionedStore

log = structlog.get_logger(__name__)

# The time of the newest batch tells apart two histories that reached the same version: a database
# that was restored from a backup counts on from an earlier number.
VERSION: Final = """
SELECT id, created_at::text FROM normalization_decisionbatch ORDER BY id DESC LIMIT 1
"""

# One statement, so that version and decisions are of the same moment. An open decision changes
# nothing for the normalizer.
DECISIONS: Final = """
SELECT newest.id, newest.created_at::text, decision.key, decision.stage, decision.kind,
       decision.note
  FROM (SELECT id, created_at FROM normalization_decisionbatch ORDER BY id DESC LIMIT 1) AS newest
  LEFT JOIN normalization_stagedecision AS decision
    ON decision.superseded_at IS NULL AND decision.verdict <> 'open'
"""


@dataclass(frozen=True, slots=True)
class InForce:
    """The decisions in force. `stamp` is the time of the newest batch, "" before the first one.

    Two values of one version and stamp are the same.
    """

    stamp: str
    table: SpellingTable = field(compare=False)


def current() -> SpellingTable:
    """Return the table in force, at most `STAGE_MODE_TTL_SECONDS` old; never raises."""
    return _current().value.table


def newest() -> SpellingTable:
    """Read the table from the database now; raises `django.db.Error`."""
    return store.newest().value.table


def spread() -> None:
    """Make this process and all others use what was just committed."""
    try:
        latest = store.newest()
    except StoreError as error:  # The change is recorded: the next refresh finds it.
        log.warning("stage_decisions_not_spread", error=type(error).__name__)
        store.invalidate()
    else:
        store.recorded(latest.value, latest.version)


def forget() -> None:
    """Drop this process's snapshot as if the process had just started."""
    store.forget()


def _read() -> tuple[InForce, int]:
    """Return the decisions in force and their version.

    Reads only the version where the process holds that version already.
    """
    with connection.cursor() as cursor:
        cursor.execute(VERSION)
        row = cursor.fetchone()
        if row is None:
            return _NONE, 0
        if held := _held(*row):
            return held, row[0]
        cursor.execute(DECISIONS)
        rows = cursor.fetchall()
    version, stamp = rows[0][:2]
    decided = [] if rows[0][2] is None else [row[2:] for row in rows]
    return InForce(stamp, _table(decided, version)), version


def _held(version: int, stamp: str) -> InForce | None:
    known = store.known()
    if known is not None and (known.version, known.value.stamp) == (version, stamp):
        return known.value  # with all that its table remembers
    return None


def _from_wire(wire: Mapping[str, Any], version: int) -> InForce | None:
    stamp = wire.get("stamp")
    if not isinstance(stamp, str):
        raise ValueError("no decisions")  # noqa: TRY004 (what every unreadable copy raises)
    return _held(version, stamp)


def _table(rows: Iterable[tuple[str, str, str, str]], version: int) -> SpellingTable:
    """Return the table with these decisions: key, stage, kind and note."""
    entries = _Entries()
    keys = {key: entries[stage, kind, note] for key, stage, kind, note in rows}
    # A later release may have made a decided spelling built-in: the built-in meaning wins.
    if ignored := BUILTIN.keys() & keys.keys():
        log.warning("stage_decisions_ignored", count=len(ignored), first=min(ignored)[:100])
    return BUILTIN.with_keys(keys, version)


class _Entries(dict[tuple[str, str, str], Entry]):
    """(stage, kind, note) → entry, made once: thousands of decisions share a few of them."""

    def __missing__(self, meaning: tuple[str, str, str]) -> Entry:
        stage, kind, note = meaning
        entry: Entry = _STAGES[stage] if stage else OutsideEntry(kind, note)
        self[meaning] = entry
        return entry


def _loaded(_: Versioned[InForce]) -> None:
    listener.ensure_running()


_NONE: Final = InForce("", BUILTIN)
_STAGES: Final = {stage.value: stage for stage in Stage}
store: Final = VersionedStore(
    VersionedKind(
        name="decisions",
        read=_read,
        default=lambda: _NONE,
        to_wire=lambda value: {"stamp": value.stamp},
        from_wire=_from_wire,
        loaded=_loaded,
    )
)
_current: Final = store.current
listener.watch("decisions", store)
