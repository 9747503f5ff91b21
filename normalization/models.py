"""What the normalizer app remembers: rollout changes, operator aliases and what clients sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Q

from normalization.rollout import Mode, Rollout
from normalization.stages import Stage

MODE_CHOICES = [(mode.value, mode.value) for mode in Mode]
STAGE_CHOICES = [(stage.value, stage.value) for stage in Stage]


class AppendOnlyError(TypeError):
    """A row of an append-only ledger was to be changed or deleted."""


class RolloutChange(models.Model):
    """One committed state of the rollout; the newest row is the truth and its id the version. Append-only.

    A trigger refuses UPDATE and DELETE, so that the history holds against SQL too.
    """

    mode = models.CharField(max_length=10, choices=MODE_CHOICES)
    enforce_percent = models.DecimalField(max_digits=5, decimal_places=2, default=Decimal(100))
    pilots = models.JSONField(default=list)
    holdouts = models.JSONField(default=list)
    overrides = models.JSONField(default=dict)
    enforce_at = models.DateTimeField(null=True)
    previous_mode = models.CharField(max_length=10, choices=MODE_CHOICES)
    actor = models.CharField(max_length=150)
    source = models.CharField(max_length=20)
    reason = models.CharField(max_length=500)
    evidence = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"version {self.pk}: {self.previous_mode} → {self.mode} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; raise `AppendOnlyError` for a row that exists."""
        if self.pk is not None:
            raise AppendOnlyError("Rollout changes are append-only: record a new change instead.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raise `AppendOnlyError`."""
        raise AppendOnlyError("Rollout changes are append-only and cannot be deleted.")

    def rollout(self) -> Rollout:
        """Return the row as the value that `normalization.rollout` knows."""
        return Rollout.from_wire(
            {
                "mode": self.mode,
                "enforce_percent": str(self.enforce_percent),
                "pilots": self.pilots,
                "holdouts": self.holdouts,
                "overrides": self.overrides,
                "enforce_at": self.enforce_at.isoformat() if self.enforce_at else None,
            }
        )


class StageAlias(models.Model):
    """A spelling that the operator decided means exactly one stage. Rows are retired, never edited or deleted."""

    spelling = models.CharField(max_length=100)
    key = models.CharField(
        max_length=200, editable=False, help_text="The folded spelling that is looked up."
    )
    stage = models.CharField(max_length=20, choices=STAGE_CHOICES)
    decided_by = models.CharField(max_length=150)
    reason = models.CharField(max_length=500)
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)
    retired_by = models.CharField(max_length=150, blank=True, editable=False)

    class Meta:
        ordering = ("spelling",)
        verbose_name_plural = "stage aliases"
        constraints = [
            models.UniqueConstraint(
                fields=["key"],
                condition=Q(retired_at__isnull=True),
                name="stage_alias_active_key",
                violation_error_message="An alias for this spelling exists already; retire it first.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.spelling} → {self.stage}"


class OutcomeTally(models.Model):
    """How many requests of a client had which outcome in one minute."""

    minute = models.DateTimeField()
    endpoint = models.CharField(max_length=100)
    client = models.CharField(max_length=100)
    mode = models.CharField(max_length=10)
    outcome = models.CharField(max_length=10)
    requests = models.PositiveBigIntegerField()

    class Meta:
        verbose_name_plural = "outcome tallies"
        constraints = [
            models.UniqueConstraint(
                fields=["minute", "endpoint", "client", "mode", "outcome"],
                name="stage_outcome_tally_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.minute:%F %R} {self.endpoint} {self.client} {self.mode} {self.outcome}: {self.requests}"


class ObservedSpelling(models.Model):
    """A non-canonical spelling that a client sent to an endpoint on one day, with its count.

    `stage` is empty for an unknown. At most 1,000 known and 1,000 unknown spellings are kept a day;
    the rest is counted under `(other)`.
    """

    day = models.DateField()
    spelling = models.CharField(max_length=100)
    stage = models.CharField(max_length=20, choices=STAGE_CHOICES, blank=True)
    endpoint = models.CharField(max_length=100)
    client = models.CharField(max_length=100)
    count = models.PositiveBigIntegerField()
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "spelling", "stage", "endpoint", "client"],
                name="stage_observed_spelling_once",
            )
        ]
        indexes = [models.Index(fields=["client", "last_seen"], name="stage_observed_client")]

    def __str__(self) -> str:
        return f"{self.day} {self.spelling!r} {self.client} {self.endpoint}: {self.count}"


class GuardCount(models.Model):
    """Enforced requests in a slot of five seconds, shared by the guards of all processes.

    The table is unlogged: after a crash of the database it is empty, and the guard counts anew.
    """

    pk = models.CompositePrimaryKey("epoch", "endpoint", "client", "slot")
    epoch = models.BigIntegerField(help_text="Id of the newest change that enforces more.")
    endpoint = models.CharField(max_length=100)
    client = models.CharField(max_length=100, help_text="Empty for the requests of all clients.")
    slot = models.BigIntegerField(help_text="Unix seconds divided by 5, by the database's clock.")
    requests = models.BigIntegerField()
    rejects = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.endpoint} {self.client}: {self.rejects} of {self.requests}"
