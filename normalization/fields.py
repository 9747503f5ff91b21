"""The model field that marks a column as holding investment stages."""

from typing import TYPE_CHECKING, Any, Final

from django.db import models

# How the name of a CHECK constraint ends that holds a column to canonical stages.
CANONICAL_CONSTRAINT: Final = "_canonical"

if TYPE_CHECKING:
    _TextColumn = models.CharField[str, str]
else:  # only the stubs make the class generic
    _TextColumn = models.CharField


class StageField(_TextColumn):
    """Text column holding a stage as it came (raw, at most 255 characters).

    It neither changes nor refuses a value: the boundary does that. Its type is how the backfill finds
    every column to normalize, so a new model takes part by using it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 255)
        super().__init__(*args, **kwargs)
