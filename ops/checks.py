"""System checks of the stored stages, which compare the database with the stages of this release.

They run with `manage.py check --database default` and with `migrate`. Without a database they report
nothing: a service that starts does not depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.core import checks
from django.db import DEFAULT_DB_ALIAS
from django.db import Error as DatabaseFault

from normalization.columns import schemas_of, stage_columns
from ops.backfill import columns, constraint
from ops.backfill.columns import StageColumn

STALE_CONSTRAINT: Final = "ops.W001"


def check_constraints(
    databases: Sequence[str] | None = None, **_: Any
) -> list[checks.CheckMessage]:
    """Warn of a CHECK constraint that allows other stages than `Stage` has.

    A new stage in the code makes every earlier constraint refuse rows with that stage.
    """
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        stale = [column for column in _existing_columns() if _is_stale(column)]
    except DatabaseFault:  # the database is away, or too old for these queries
        return []
    return [_warning(column) for column in stale]


def register() -> None:
    """Register the checks; called when the app is ready."""
    checks.register(check_constraints, checks.Tags.database)


def _existing_columns() -> list[StageColumn]:
    """Return the columns whose tables exist: `migrate` checks before it creates them."""
    declared = stage_columns()
    existing = schemas_of(each.table for each in declared)
    names = [str(each) for each in declared if each.table in existing]
    return columns.find(names) if names else []


def _is_stale(column: StageColumn) -> bool:
    found = constraint.find(column)
    return found is not None and not found.current


def _warning(column: StageColumn) -> checks.CheckMessage:
    text = (
        f"The constraint of {column} does not allow exactly the stages of this release: "
        "rows with another stage are refused."
    )
    hint = f"Replace it: manage.py normalize_stages --validate-constraint --table {column}"
    return checks.Warning(text, hint, id=STALE_CONSTRAINT)
