"""Signs of life of the alert path: each accepted watchdog delivery leaves one row."""

from __future__ import annotations

from datetime import datetime

from django.db import models


class Heartbeat(models.Model):
    """One accepted delivery of the always-firing alert: proof that the way back was open at that moment."""

    received_at = models.DateTimeField(auto_now_add=True, db_index=True)
    fingerprint = models.CharField(
        max_length=64, help_text="Of the alert, as Alertmanager names it."
    )

    class Meta:
        ordering = ("-received_at",)

    def __str__(self) -> str:
        return f"{self.received_at:%F %T} {self.fingerprint}"


def last_heartbeat_at() -> datetime | None:
    """When the alert path last proved itself; None when it never did."""
    return Heartbeat.objects.aggregate(last=models.Max("received_at"))["last"]  # type: ignore[no-any-return]
