"""The table of the links to letters that were ended."""

from __future__ import annotations

from django.db import models


class LetterLinkSeries(models.Model):
    """Which series of links to a client's letter is valid: ending the links begins the next.

    A client without a row is in series 0. A link carries the series in which it was made.
    """

    client = models.CharField(max_length=100, primary_key=True)
    series = models.PositiveIntegerField(help_text="Links of earlier series are ended.")
    ended_by = models.CharField(max_length=150)
    ended_at = models.DateTimeField(help_text="When the last series was ended.")

    class Meta:
        verbose_name_plural = "letter link series"

    def __str__(self) -> str:
        return f"{self.client}: series {self.series} since {self.ended_at:%F %T}"
