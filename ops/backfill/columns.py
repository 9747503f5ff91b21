"""The stage columns that the backfill works on, each with the schema of its table.

`normalization.columns` asks Django which columns hold stages. This module selects among them and
writes their names into SQL, always with the schema: a table of the same name elsewhere is another
table.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from django.db import models
from psycopg import sql

from normalization.columns import ModelColumn, columns_of, schemas_of, stage_columns
from normalization.stages import Stage

CANONICAL: Final = [stage.value for stage in Stage]


class NoSuchTable(ValueError):
    """The name belongs to no table or column with stages; the message lists those that exist."""


class UnsupportedKey(TypeError):
    """The primary key of the table is not an integer, so a run cannot page through its rows."""


@dataclass(frozen=True, order=True, slots=True)
class StageColumn:
    """A column of stages in the database; `key` is the primary key column of its table.

    `integer_key`: whether a run can page through the table; surveys and constraints always can.
    `source`: the column of the client's words, from which this one is derived; "" for a column
    that holds the words itself. `fillable`: the source may be NULL; the words are then in this
    column.
    """

    schema: str
    table: str
    column: str
    key: str
    integer_key: bool = True
    source: str = ""
    fillable: bool = False

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"

    @property
    def derived(self) -> bool:
        """Whether the column is derived from a source, and NULL for a text without a stage."""
        return bool(self.source)

    @property
    def regclass(self) -> str:
        """The table's qualified name, as a parameter that is cast to regclass."""
        return _quoted(self.schema, self.table)

    def sql(self, template: str, **names: str) -> str:
        """Return a statement of `sql` with {table}, {column}, {source}, {key}, `names` filled in.

        {raw} becomes the expression for the text of a row, {t_raw} the same for a table named `t`,
        {unfilled} the condition for rows whose text is not in the source yet, and {span} the
        lowest and the highest key, or two NULLs without an integer key.
        """
        key = quote(self.key) if self.key else "NULL"
        source = quote(self.source or self.column)
        return template.format(
            table=self.regclass.replace("%", "%%"),
            column=quote(self.column),
            source=source,
            raw=self._text(""),
            t_raw=self._text("t."),
            unfilled=f"{source} IS NULL" if self.fillable else "false",
            key=key,
            span=f"min({key}), max({key})" if self.integer_key else "NULL, NULL",
            **names,
        )

    def _text(self, alias: str) -> str:
        column, source = f"{alias}{quote(self.column)}", f"{alias}{quote(self.source)}"
        if self.fillable:
            return f"coalesce({source}, {column})"
        return source if self.source else column


def find(only: Iterable[str] = ()) -> list[StageColumn]:
    """Return the columns that hold stages, sorted by name.

    `only`: the tables (`portfolio_companies`) or columns (`portfolio_companies.stage`) to keep;
    no other column is looked at. Raises NoSuchTable.
    """
    declared, wanted = stage_columns(), set(only)
    if unknown := wanted - {each.table for each in declared} - set(map(str, declared)):
        known = ", ".join(map(str, declared)) or "none"
        raise NoSuchTable(
            f"{', '.join(sorted(unknown))} holds no stages. Columns with stages: {known}."
        )
    return _located([each for each in declared if not wanted or {each.table, str(each)} & wanted])


def find_for_run(only: Iterable[str] = ()) -> list[StageColumn]:
    """Return the columns that a run can change: those of `find` with an integer key.

    Raises UnsupportedKey when `only` names a column without one; unnamed ones are left out.
    """
    asked = list(only)
    found = find(asked)
    unsupported = [column for column in found if not column.integer_key]
    if asked and unsupported:
        raise UnsupportedKey(unsupported_key(unsupported))
    return [column for column in found if column.integer_key]


def unsupported_key(columns: Iterable[StageColumn]) -> str:
    """Return the sentence that explains why a run leaves `columns` out."""
    names = ", ".join(map(str, columns))
    return f"The primary key of {names} is not an integer: a run cannot change these stages."


def named(table: str, column: str) -> StageColumn:
    """Return the stage column that a run is to normalize; raises NoSuchTable."""
    return find([f"{table}.{column}"])[0]


def written_column(table: str, column: str) -> StageColumn:
    """Return the text column that an earlier run wrote; raises NoSuchTable when it is gone.

    A release may turn a stage column into plain text. An undo can still restore it.
    """
    declared = columns_of(models.CharField)
    found = [each for each in declared if (each.table, each.column) == (table, column)]
    if not found:
        raise NoSuchTable(f"No model has a text column {table}.{column}.")
    return _located(found)[0]


def missing(
    look_up: Callable[[str, str], StageColumn], places: Iterable[tuple[str, str]]
) -> list[str]:
    """Return those (table, column) that `look_up` (`named` or `written_column`) does not find."""
    found = []
    for table, column in places:
        try:
            look_up(table, column)
        except NoSuchTable:
            found.append(f"{table}.{column}")
    return found


def quote(name: str) -> str:
    """Return `name` as an SQL identifier for a statement with parameters."""
    return _quoted(name).replace("%", "%%")


def _located(declared: list[ModelColumn]) -> list[StageColumn]:
    schemas = schemas_of(each.table for each in declared)
    if absent := sorted({each.table for each in declared} - schemas.keys()):
        raise NoSuchTable(
            f"The database has no table {', '.join(absent)}: run manage.py migrate first."
        )
    return [
        StageColumn(
            schemas[each.table],
            each.table,
            each.column,
            each.key,
            each.integer_key,
            each.source,
            each.fillable,
        )
        for each in declared
    ]


def _quoted(*names: str) -> str:
    return sql.Identifier(*names).as_string()
