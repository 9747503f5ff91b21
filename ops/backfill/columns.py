"""Which columns hold stages: asked of Django, so that a new model takes part by using `StageField`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connection, models
from django.db.models import Field

from normalization.fields import StageField


class NoSuchTable(ValueError):
    """`--table` names nothing that holds stages; the message lists what does."""


class KeyNotWhole(TypeError):
    """The table's primary key is not a whole number, so its rows cannot be walked or logged."""


@dataclass(frozen=True, order=True, slots=True)
class StageColumn:
    """A column of raw stages: `table`, `column`, and `key`, the table's primary key column."""

    table: str
    column: str
    key: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"

    def sql(self, template: str, **names: str) -> str:
        """A statement of `statements`, with {table}, {column} and {key} (and `names`) in their places."""
        quoted = {"table": self.table, "column": self.column, "key": self.key}
        return template.format(**{name: quote(value) for name, value in quoted.items()}, **names)


def find(only: Iterable[str] = ()) -> list[StageColumn]:
    """Every column that is a `StageField`, in order of their names.

    `only`: tables (`portfolio_companies`) or columns (`portfolio_companies.stage`) to keep.
    Raises NoSuchTable, and KeyNotWhole for a table that the backfill cannot walk.
    """
    found = _columns(lambda table, field: isinstance(field, StageField))
    wanted = set(only)
    if unknown := wanted - {column.table for column in found} - {str(column) for column in found}:
        raise NoSuchTable(
            f"{', '.join(sorted(unknown))} holds no stages. These do: {', '.join(map(str, found)) or 'none'}."
        )
    return [column for column in found if not wanted or {column.table, str(column)} & wanted]


def named(table: str, column: str) -> StageColumn:
    """The column that a run is to normalize; NoSuchTable when it holds no stages, or no more."""
    return find([f"{table}.{column}"])[0]


def written_column(table: str, column: str) -> StageColumn:
    """The column that a run wrote, which holds text still but perhaps no stages; NoSuchTable when it is gone.

    A release may turn a column of stages into one of plain text. What an earlier run wrote there can be given back.
    """
    found = _columns(
        lambda at, field: (
            (at, field.column) == (table, column) and isinstance(field, models.CharField)
        )
    )
    if not found:
        raise NoSuchTable(f"{table}.{column} is no text of any model.")
    return found[0]


def unknown_to(
    look_up: Callable[[str, str], StageColumn], places: Iterable[tuple[str, str]]
) -> list[str]:
    """Those of the (table, column) for which `look_up` (`named`, `written_column`) has no column."""
    unknown = []
    for table, column in places:
        try:
            look_up(table, column)
        except NoSuchTable:
            unknown.append(f"{table}.{column}")
    return unknown


def quote(name: str) -> str:
    """`name` as an SQL identifier inside a statement with parameters."""
    return connection.ops.quote_name(name).replace("%", "%%")


def regclass(table: str) -> str:
    """The table's name as a parameter that is cast to regclass."""
    return str(connection.ops.quote_name(table))


def _columns(wanted: "Callable[[str, Field[Any, Any]], bool]") -> list[StageColumn]:
    return sorted(
        StageColumn(model._meta.db_table, str(field.column), _key(model))
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
        for field in model._meta.local_fields
        if wanted(model._meta.db_table, field)
    )


def _key(model: type[models.Model]) -> str:
    key = model._meta.pk
    while isinstance(key, models.OneToOneField):  # a child table's key is its parent's
        key = key.target_field
    if not isinstance(key, models.IntegerField):
        raise KeyNotWhole(
            f"{model._meta.label} has stages, but its primary key is no whole number: walk it by hand."
        )
    return str(model._meta.pk.column)
