"""The columns that hold stages, asked of Django's models and located in the database.

The backfill and the backups both use these functions, so a new model takes part in both by using
`StageField`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.apps import apps
from django.db import connection, models

from normalization.fields import StageField, has_integer_key

FieldType = TypeVar("FieldType", bound=models.Field[Any, Any])

# A temporary table comes first in every search path. It is never the application's table, so only
# the schemas that the path names count (`current_schemas(false)`), in their order.
SCHEMAS: Final = """
SELECT DISTINCT ON (c.relname) c.relname, n.nspname
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = ANY (%s) AND c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false))
ORDER BY c.relname, array_position(current_schemas(false), n.nspname)
"""


@dataclass(frozen=True, order=True, slots=True)
class ModelColumn:
    """A column as its model declares it: table, column, and the primary key column of the table.

    `integer_key`: whether the primary key is an integer, which the backfill needs. `source`: the
    column of the client's words, "" if `column` holds them itself. `fillable`: the source may be
    NULL, and is then still in `column`.
    """

    table: str
    column: str
    key: str
    integer_key: bool
    source: str = ""
    fillable: bool = False

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


def stage_columns() -> list[ModelColumn]:
    """Return every column that is a `StageField`, sorted by name; does not read the database."""
    return columns_of(StageField)


def columns_of(field_class: type[models.Field[Any, Any]]) -> list[ModelColumn]:
    """Return the columns of managed models whose field is a `field_class`, sorted by name.

    A column that a model inherits from a parent's table is listed once, for that table.
    """
    return sorted(_model_column(model, field) for model, field in fields_of(field_class))


def fields_of(field_class: type[FieldType]) -> Iterator[tuple[type[models.Model], FieldType]]:
    """Yield each managed model with each of its columns whose field is a `field_class`.

    An inherited column belongs to the model whose table has it.
    """
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.managed or model._meta.proxy:
            continue
        for field in model._meta.local_fields:
            if isinstance(field, field_class) and field.column:
                yield model, field


def schemas_of(tables: Iterable[str]) -> dict[str, str]:
    """Return the schema in which the application's connection finds each table.

    A table that does not exist is left out. A table of the same name in another schema, or a
    temporary one, is never taken.
    """
    with connection.cursor() as cursor:
        cursor.execute(SCHEMAS, [sorted(set(tables))])
        return dict(cursor.fetchall())


def _model_column(model: type[models.Model], field: models.Field[Any, Any]) -> ModelColumn:
    source = field.source_field if isinstance(field, StageField) else None
    return ModelColumn(
        model._meta.db_table,
        field.column or "",
        _key_column(model),
        has_integer_key(model),
        source=source.column or "" if source else "",
        fillable=source is not None and source.null,
    )


def _key_column(model: type[models.Model]) -> str:
    # A composite primary key has no column of its own.
    return getattr(model._meta.pk, "column", None) or ""
