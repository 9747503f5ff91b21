"""Tables of the way back through alerts: used signatures, a ledger of deliveries, heartbeats."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models.functions import Now

from normalization.models import AppendOnlyError


class DeliveryOutcome(StrEnum):
    """The result of one request to the webhook or the heartbeat."""

    DOWNGRADED = "downgraded"
    ALREADY = "already"  # the mode was off or warn
    IGNORED = "ignored"  # resolved, or another alert
    ALIVE = "alive"  # a heartbeat
    REPEATED = "repeated"  # this signature has been used
    FORGED = "forged"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    WRONG_METHOD = "wrong_method"
    WRONG_TYPE = "wrong_type"
    NO_LENGTH = "no_length"
    INCOMPLETE = "incomplete"
    STORE_DOWN = "store_down"


class UsedSignature(models.Model):
    """A signature that cannot be used again, written in the transaction of the delivery.

    A signature is accepted for ten minutes at most. Rows older than a day are deleted.
    """

    digest = models.CharField(
        max_length=64, primary_key=True, help_text="SHA-256 of the signature."
    )
    used_at = models.DateTimeField(db_default=Now(), db_index=True, editable=False)

    def __str__(self) -> str:
        return f"{self.digest[:12]}… {self.used_at:%F %T}"


class WebhookDelivery(models.Model):
    """One request to the webhook or the heartbeat and its outcome.

    The table has every genuine delivery, and a few refused ones per minute, so that a sender
    without the secret cannot fill it. Rows are append-only: a trigger refuses changes.
    """

    received_at = models.DateTimeField(db_default=Now(), db_index=True, editable=False)
    endpoint = models.CharField(max_length=20)
    outcome = models.CharField(
        max_length=12, choices=[(each.value, each.value) for each in DeliveryOutcome]
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
        """Insert the row. Raises `AppendOnlyError` if it is stored already."""
        if self.pk is not None:
            raise AppendOnlyError("Deliveries are append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raise `AppendOnlyError`."""
        raise AppendOnlyError("Deliveries are append-only and cannot be deleted.")


class Heartbeat(models.Model):
    """One accepted delivery of the watchdog alert: the way back was open at that moment."""

    received_at = models.DateTimeField(db_default=Now(), db_index=True, editable=False)
    fingerprint = models.CharField(
        max_length=64, help_text="Of the alert, as Alertmanager names it."
    )

    class Meta:
        ordering = ("-received_at",)

    def __str__(self) -> str:
        return f"{self.received_at:%F %T} {self.fingerprint}"


def last_heartbeat_at() -> datetime | None:
    """Return the time of the newest heartbeat, or None if the table is empty."""
    newest: datetime | None = Heartbeat.objects.aggregate(last=models.Max("received_at"))["last"]
    return newest
