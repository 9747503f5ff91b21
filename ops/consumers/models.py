"""The decisions about the consumers of the endpoints, one row each; the newest is in force."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now

from normalization.models import AppendOnlyError
from ops.gates.consumers_rule import ConsumerVerdict


class ConsumerDecision(models.Model):
    """Who uses the endpoints: the verdict of a person, with the audit that it was made from.

    Append-only: a trigger refuses UPDATE and DELETE. A later row replaces an earlier one.
    """

    verdict = models.CharField(
        max_length=20, choices=[(each.value, each.value) for each in ConsumerVerdict]
    )
    owners = models.JSONField(
        default=list, help_text="Who answers for the external consumers; empty if there are none."
    )
    reason = models.CharField(max_length=500)
    decided_by = models.CharField(max_length=150)
    evidence = models.JSONField(
        default=dict, help_text="Figures of the audit; empty if no access log was read."
    )
    decided_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(help_text="From then on the gate does not pass.")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        owners = f" ({', '.join(self.owners)})" if self.owners else ""
        return f"{self.verdict}{owners} by {self.decided_by}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row. Raises `AppendOnlyError` if it is stored already."""
        if self.pk is not None:
            raise AppendOnlyError("Decisions about consumers are append-only: decide anew.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raise `AppendOnlyError`."""
        raise AppendOnlyError("Decisions about consumers are append-only.")
