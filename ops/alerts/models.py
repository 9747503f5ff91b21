"""What the webhook remembers: which signatures were used, and a ledger of deliveries."""

from __future__ import annotations

from typing import Any

from django.db import models

from normalization.models import AppendOnlyError
from ops.alerts.metrics import Outcome


class UsedSignature(models.Model):
    """A signature that has done its work. Written in the transaction of the flip: either both happen or neither.

    Rows are needed for as long as a signature would be accepted (ten minutes at most) and swept after a day.
    """

    digest = models.CharField(
        max_length=64, primary_key=True, help_text="SHA-256 of the signature."
    )
    used_at = models.DateTimeField(auto_now_add=True, db_index=True)

    def __str__(self) -> str:
        return f"{self.digest[:12]}… {self.used_at:%F %T}"


class WebhookDelivery(models.Model):
    """One request to the webhook or the heartbeat, and what became of it. Append-only: a trigger refuses changes.

    Genuine deliveries are all here. Of the others only a few a minute are: whoever cannot sign cannot fill the table.
    """

    received_at = models.DateTimeField(auto_now_add=True, db_index=True)
    endpoint = models.CharField(max_length=20)
    outcome = models.CharField(
        max_length=12, choices=[(each.value, each.value) for each in Outcome]
    )
    alert_names = models.JSONField(default=list)
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="Of the alert that acted, else of the first."
    )
    actor = models.CharField(
        max_length=150, blank=True, help_text="As the rollout's history names it."
    )
    version = models.BigIntegerField(
        null=True, help_text="Version of the rollout in force afterwards."
    )
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "webhook deliveries"

    def __str__(self) -> str:
        return f"{self.received_at:%F %T} {self.endpoint}: {self.outcome}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; raise `AppendOnlyError` for a row that exists."""
        if self.pk is not None:
            raise AppendOnlyError("Deliveries are append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raise `AppendOnlyError`."""
        raise AppendOnlyError("Deliveries are append-only and cannot be deleted.")
