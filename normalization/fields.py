"""The model field that marks a column as holding investment stages."""

from typing import TYPE_CHECKING, Any, Final

from django.core import checks
from django.core.exceptions import FieldDoesNotExist
from django.db import models

# The names of the CHECK constraints that restrict a column to canonical stages end with this.
CANONICAL_CONSTRAINT: Final = "_canonical"
KEY_NOT_AN_INTEGER: Final = "normalization.W003"
NO_SUCH_SOURCE: Final = "normalization.E004"

if TYPE_CHECKING:
    _TextColumn = models.CharField[Any, Any]  # derived columns are nullable, others are not
else:  # only the stubs make the class generic
    _TextColumn = models.CharField


class StageField(_TextColumn):
    """Text column that holds a stage of at most 255 characters.

    With `source`, the name of a text field of the same model, the column is derived: it holds the
    stage that the source's text means, or NULL if the text is undecided or outside. While the
    source is NULL the row is not derived yet, and the column holds the text itself. Such a column
    is nullable and not in forms. An index on (source, column), both COLLATE "C", lets the gates
    find the distinct texts without reading the table.

    Without `source` the column holds the text as it came, and a run makes it canonical.

    The field neither changes nor refuses a value: those who write do that. The backfill finds the
    columns to derive by this type, so a new model takes part by using it.
    """

    def __init__(self, *args: Any, source: str | None = None, **kwargs: Any) -> None:
        self.source = source
        kwargs.setdefault("max_length", 255)
        if source is not None:
            kwargs = {"null": True, "blank": True, "editable": False, **kwargs}
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        """Return what a migration needs to make the field again, `source` included."""
        name, path, args, kwargs = super().deconstruct()
        if self.source is not None:
            kwargs["source"] = self.source
        return name, path, args, kwargs

    @property
    def source_field(self) -> "models.Field[Any, Any] | None":
        """The field of the client's words; None if the column holds them itself.

        Raises django.core.exceptions.FieldDoesNotExist.
        """
        if self.source is None:
            return None
        return self.model._meta.get_field(self.source)  # type: ignore[return-value]

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Report a source that does not exist, and a table that `normalize_stages` cannot change.

        The command needs a primary key that is an integer.
        """
        found = [*super().check(**kwargs), *self._check_source()]
        if not self.model._meta.abstract and not has_integer_key(self.model):
            hint = (
                "Use an integer primary key (BigAutoField), or normalize the table by a migration."
            )
            text = (
                "The primary key of this model is not an integer, so "
                "manage.py normalize_stages cannot change its stages."
            )
            found.append(checks.Warning(text, hint, obj=self, id=KEY_NOT_AN_INTEGER))
        return found

    def _check_source(self) -> list[checks.CheckMessage]:
        try:
            source = self.source_field
        except FieldDoesNotExist:
            source = self
        if source is None or (isinstance(source, models.CharField) and source is not self):
            return []
        text = f"The source {self.source!r} is not another text field of this model."
        return [checks.Error(text, obj=self, id=NO_SUCH_SOURCE)]


def has_integer_key(model: type[models.Model]) -> bool:
    """Return whether the primary key is an integer; a child table has its parent's key."""
    key = model._meta.pk
    while isinstance(key, models.OneToOneField):
        key = key.target_field
    return isinstance(key, models.IntegerField)
