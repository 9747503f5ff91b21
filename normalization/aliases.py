"""The alias table that requests use: built-in spellings plus the operator's decisions, one snapshot per process.

It spreads as the rollout does: see `versioned_store`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from django.db import Error as StoreError
from django.db import connection, transaction
from django.utils import timezone

from normalization.listener import listener
from normalization.models import StageAlias
from normalization.stages import BUILTIN, AliasConflict, AliasTable, Stage, fold
from normalization.versioned_store import Versioned, VersionedKind, VersionedStore

log = structlog.get_logger(__name__)

# Rows are only ever added or retired, so rows plus retired rows counts every change: a version that only grows. One
# statement, so that version and spellings are of the same moment.
ALIASES: Final = """
SELECT count(*) + count(retired_at),
       coalesce(jsonb_object_agg(spelling, stage) FILTER (WHERE retired_at IS NULL), '{}')
  FROM normalization_stagealias
"""


class AliasRefused(ValueError):
    """The alias cannot be recorded; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The operator's spellings, each with its stage, and the table that they make with the built-in ones."""

    spellings: Mapping[str, str]
    table: AliasTable = field(compare=False)


def current() -> AliasTable:
    """Return the alias table in force, at most `STAGE_MODE_TTL_SECONDS` old; never raises."""
    return _current().value.table


def add(spelling: str, stage: Stage, *, decided_by: str, reason: str) -> StageAlias:
    """Record that `spelling` means `stage`.

    Raises `AliasRefused` for a spelling that a built-in one or another alias covers, that is empty or over-long,
    or without a reason. The change reaches every process at once, and without Redis within the TTL.
    """
    alias = StageAlias(
        spelling=spelling,
        key=fold(spelling),
        stage=stage,
        decided_by=decided_by,
        reason=reason.strip(),
    )
    refuse_conflict(spelling, stage)
    if not alias.reason:
        raise AliasRefused("An alias needs a reason: it is what the next person will read.")
    if StageAlias.objects.filter(key=alias.key, retired_at__isnull=True).exists():
        raise AliasRefused(f"There is an alias for {spelling!r} already: retire it first.")
    alias.save()
    _announce(alias, "stage_alias_added")
    return alias


def retire(alias: StageAlias, *, by: str) -> None:
    """Take an alias out of force, keeping its row as history; retiring twice does nothing."""
    changed = StageAlias.objects.filter(pk=alias.pk, retired_at__isnull=True).update(
        retired_at=timezone.now(), retired_by=by
    )
    if changed:
        alias.refresh_from_db()
        _announce(alias, "stage_alias_retired")


def refuse_conflict(spelling: str, stage: Stage) -> None:
    """Raise `AliasRefused` unless the built-in table leaves room for `spelling`."""
    try:
        BUILTIN.extended({spelling: stage}, version=1)
    except AliasConflict as error:
        raise AliasRefused(str(error)) from error


def forget() -> None:
    """Drop this process's snapshot as if it had just started."""
    store.forget()


def _announce(alias: StageAlias, event: str) -> None:
    log.info(
        event,
        alias=alias.pk,
        stage=alias.stage,
        decided_by=alias.decided_by,
        retired_by=alias.retired_by,
    )
    transaction.on_commit(_spread)


def _spread() -> None:
    try:
        newest = store.newest()
    except StoreError as error:  # recorded all the same: the next refresh finds it
        log.warning("stage_aliases_not_spread", error=type(error).__name__)
        store.invalidate()
    else:
        store.recorded(newest.value, newest.version)


def _read() -> tuple[InForce, int]:
    with connection.cursor() as cursor:
        cursor.execute(ALIASES)
        version, spellings = cursor.fetchone()
    return _in_force(json.loads(spellings), version), version


def _from_wire(wire: Mapping[str, Any], version: int) -> InForce:
    spellings = wire.get("aliases")
    if not isinstance(spellings, dict):
        raise ValueError("no aliases")  # noqa: TRY004 (what every unreadable copy raises)
    return _in_force(spellings, version)


def _in_force(spellings: Mapping[str, str], version: int) -> InForce:
    known = store.known()
    if known is not None and known.version == version and known.value.spellings == spellings:
        return known.value  # with all that its table remembers
    return InForce(
        spellings,
        _table({spelling: Stage(stage) for spelling, stage in spellings.items()}, version),
    )


def _table(extra: dict[str, Stage], version: int) -> AliasTable:
    while True:
        try:
            return BUILTIN.extended(extra, version)
        except AliasConflict as conflict:
            # A later release may have made the spelling built-in: that meaning wins, the rest stays in force.
            log.warning("stage_alias_ignored", spelling=conflict.spelling, error=str(conflict))
            del extra[conflict.spelling]


def _loaded(_: Versioned[InForce]) -> None:
    listener.ensure_running()


store: Final = VersionedStore(
    VersionedKind(
        name="aliases",
        read=_read,
        default=lambda: InForce({}, BUILTIN),
        to_wire=lambda value: {"aliases": dict(value.spellings)},
        from_wire=_from_wire,
        loaded=_loaded,
    )
)
_current: Final = store.current
listener.watch("aliases", store)
