"""The model field that marks a column as holding investment stages."""

from typing import TYPE_CHECKING, Any, Final

from django.core import checks
from django.db import models

# The names of the CHECK constraints that restrict a column to canonical stages end with this.
CANONICAL_CONSTRAINT: Final = "_canonical"
KEY_NOT_AN_INTEGER: Final = "normalization.W003"

if TYPE_CHECKING:
    _TextColumn = models.CharField[str, str]
else:  # only the stubs make the class generic
    _TextColumn = models.CharField


class StageField(_TextColumn):
    """Text column that holds a stage as it came (raw, at most 255 characters).

    The field neither changes nor refuses a value: the boundary does that. The backfill finds the
    columns to normalize by this type, so a new model takes part by using it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 255)
        super().__init__(*args, **kwargs)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Warn of a table that `normalize_stages` cannot change: its key is not an integer."""
        found = list(super().check(**kwargs))
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


def has_integer_key(model: type[models.Model]) -> bool:
    """Return whether the primary key is an integer; a child table has its parent's key."""
    key = model._meta.pk
    while isinstance(key, models.OneToOneField):
        key = key.target_field
    return isinstance(key, models.IntegerField)
