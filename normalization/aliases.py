"""The alias table that requests use: built-in spellings plus the operator's decisions, one snapshot per process."""

from __future__ import annotations

import structlog
from django.db import Error as StoreError
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from normalization import conf, metrics
from normalization.models import StageAlias
from normalization.snapshots import ProcessSnapshot
from normalization.stages import BUILTIN, AliasConflict, AliasTable, Stage, fold

log = structlog.get_logger(__name__)


class AliasRefused(ValueError):
    """The alias cannot be recorded; the message says why and what to do."""


def current() -> AliasTable:
    """Return the alias table in force, at most `STAGE_MODE_TTL_SECONDS` old; never raises."""
    return _snapshot.get()


def add(spelling: str, stage: Stage, *, decided_by: str, reason: str) -> StageAlias:
    """Record that `spelling` means `stage`.

    Raises `AliasRefused` for a spelling that a built-in one or another alias covers, that is empty or over-long,
    or without a reason. The change reaches every process within the TTL.
    """
    alias = StageAlias(spelling=spelling, key=fold(spelling), stage=stage, decided_by=decided_by, reason=reason.strip())
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
    _snapshot.forget()


def _announce(alias: StageAlias, event: str) -> None:
    log.info(event, alias=alias.pk, stage=alias.stage, decided_by=alias.decided_by, retired_by=alias.retired_by)
    transaction.on_commit(_snapshot.invalidate)


def _load(previous: AliasTable | None) -> AliasTable:
    """The database, else last-known, else the built-in table alone."""
    try:
        return _read_database(previous)
    except StoreError as error:
        metrics.MODE_STORE_ERRORS.labels(store="database", reason=type(error).__name__).inc()
        log.warning("stage_aliases_failed", error=type(error).__name__)
        return previous if previous is not None else BUILTIN


def _read_database(previous: AliasTable | None) -> AliasTable:
    # Rows are only ever added or retired, so rows plus retired rows counts every change: a version that only grows.
    counts = StageAlias.objects.aggregate(rows=Count("id"), retired=Count("retired_at"))
    version = counts["rows"] + counts["retired"]
    if previous is not None and previous.version == version:
        return previous
    rows = StageAlias.objects.filter(retired_at__isnull=True).values_list("spelling", "stage")
    return _table({spelling: Stage(stage) for spelling, stage in rows}, version)


def _table(extra: dict[str, Stage], version: int) -> AliasTable:
    while True:
        try:
            return BUILTIN.extended(extra, version)
        except AliasConflict as conflict:
            # A later release may have made the spelling built-in: that meaning wins, the rest stays in force.
            log.warning("stage_alias_ignored", spelling=conflict.spelling, error=str(conflict))
            del extra[conflict.spelling]


_snapshot: ProcessSnapshot[AliasTable] = ProcessSnapshot(_load, conf.ttl_seconds)
