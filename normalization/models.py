"""The tables of the normalizer app: rollout changes, decisions, and counts of what clients
sent.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from normalization.decision_warnings import DecisionVerdict
from normalization.rollout import Mode, Rollout
from normalization.stages import LONGEST, Stage

MODE_CHOICES = [(mode.value, mode.value) for mode in Mode]
STAGE_CHOICES = [(stage.value, stage.value) for stage in Stage]
VERDICTS = (DecisionVerdict.STAGE, DecisionVerdict.OUTSIDE, DecisionVerdict.OPEN)
VERDICT_CHOICES = [(verdict.value, verdict.value) for verdict in VERDICTS]


class AppendOnlyError(TypeError):
    """A row of an append-only table was about to be changed or deleted."""


class RolloutChange(models.Model):
    """One committed state of the rollout; the newest row is the truth and its id the version.
    Append-only.

    A trigger refuses UPDATE and DELETE, so SQL cannot change the history either.
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
    created_at = models.DateTimeField(db_default=Now(), editable=False)

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
        """Return the row as a `Rollout`."""
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


class RolloutPlanChange(models.Model):
    """One recorded plan of the rollout's steps; the newest row is the plan. Append-only.

    `steps` is what `RolloutPlan.to_wire` returns. A trigger refuses UPDATE and DELETE.
    """

    steps = models.JSONField()
    actor = models.CharField(max_length=150)
    source = models.CharField(max_length=20)
    reason = models.CharField(max_length=500)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"plan {self.pk} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; raise `AppendOnlyError` for a row that exists."""
        if self.pk is not None:
            raise AppendOnlyError("Plans are append-only: record a new plan instead.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raise `AppendOnlyError`."""
        raise AppendOnlyError("Plans are append-only and cannot be deleted.")


class DecisionBatch(models.Model):
    """One change of the decisions; the newest id is their version.

    Append-only, held by a trigger. `undone_by` is the one column that may be set later, once.
    """

    class Source(models.TextChoices):
        """Where a change came from."""

        ADMIN = "admin"
        FILE = "file"
        PACK = "pack"
        COMMAND = "command"

    class Action(models.TextChoices):
        """What a change did."""

        APPLY = "apply"
        RETIRE = "retire"
        UNDO = "undo"

    action = models.CharField(max_length=10, choices=Action.choices)
    source = models.CharField(max_length=10, choices=Source.choices)
    author = models.CharField(max_length=150)
    reason = models.CharField(max_length=500, blank=True)
    file_digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the file, in hexadecimal."
    )
    plan_hash = models.CharField(max_length=64, blank=True)
    evidence = models.JSONField(
        default=dict, editable=False, help_text="The gate that was asked, and its override."
    )
    undone_by = models.OneToOneField(
        "self", null=True, editable=False, on_delete=models.PROTECT, related_name="undoes"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "decision batches"

    def __str__(self) -> str:
        return f"batch {self.pk}: {self.action} by {self.author} ({self.source})"


class StageDecision(models.Model):
    """The operator's verdict on a spelling. Append-only, held by a trigger.

    A decision is in force while `superseded_at` is empty. It and `superseded_by` are set once and
    together, by the batch that changed, retired or undid the decision.
    """

    spelling = models.CharField(max_length=LONGEST, blank=True)
    key = models.TextField(
        blank=True, editable=False, help_text="The folded spelling that is looked up."
    )
    verdict = models.CharField(max_length=10, choices=VERDICT_CHOICES)
    stage = models.CharField(max_length=20, choices=STAGE_CHOICES, blank=True)
    kind = models.CharField(max_length=60, blank=True, help_text="A word for grouping.")
    note = models.CharField(max_length=500, blank=True, help_text="Public: clients read it.")
    reason = models.CharField(max_length=500, help_text="For operators: why, or from where.")
    decided_by = models.CharField(max_length=150)
    batch = models.ForeignKey(DecisionBatch, models.PROTECT, related_name="decisions")
    restores = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        editable=False,
        related_name="copies",
        help_text="The decision that an undo brought back in this row.",
    )
    created_at = models.DateTimeField(editable=False)
    superseded_at = models.DateTimeField(null=True, editable=False)
    superseded_by = models.ForeignKey(
        DecisionBatch, models.PROTECT, null=True, editable=False, related_name="superseded"
    )

    class Meta:
        ordering = ("key", "id")
        constraints = [
            # The migration also makes stage_decision_active_key: one decision in force for a key.
            # It is an exclusion constraint on a hash index, which Django cannot declare: a key
            # may be longer than the 2,704 bytes that a unique index takes.
            models.CheckConstraint(
                condition=(Q(verdict=DecisionVerdict.STAGE) & ~Q(stage=""))
                | (~Q(verdict=DecisionVerdict.STAGE) & Q(stage="")),
                name="stage_decision_stage_given",
            ),
            models.CheckConstraint(
                condition=Q(superseded_at__isnull=True, superseded_by__isnull=True)
                | Q(superseded_at__isnull=False, superseded_by__isnull=False),
                name="stage_decision_superseded_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.spelling!r} → {self.stage or self.verdict}"


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
        place = f"{self.minute:%F %R} {self.endpoint} {self.client}"
        return f"{place} {self.mode} {self.outcome}: {self.requests}"


class ObservedSpelling(models.Model):
    """A non-canonical spelling that a client sent to an endpoint on one day, with its count.

    `stage` is empty for a spelling that meant no stage when it came: unknown or outside. At most
    1,000 spellings with a stage and 1,000 without are kept a day; the rest count as `(other)`.
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


class ClientAgent(models.Model):
    """A user agent of a client, as its requests with stages sent it: who is behind a key.

    The last three of each client are kept. `last_seen` is exact to about a minute.
    """

    client = models.CharField(max_length=100)
    user_agent = models.CharField(max_length=200)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["client", "user_agent"], name="stage_client_agent_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.client}: {self.user_agent}"


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


class ServingInstance(models.Model):
    """A serving process, as it reported itself last: its version, its guard and its clock.

    A process that ends in order deletes its row. A row of a killed process is deleted by the next
    process of the same host, and of another host by `stage_mode forget`. A frozen process keeps
    its row, so it is never taken for one that confirmed a change.
    """

    name = models.CharField(max_length=300, primary_key=True, help_text="host:pid")
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    version = models.BigIntegerField(help_text="Version of the rollout served.")
    mode = models.CharField(max_length=10)
    age_seconds = models.FloatField(help_text="Since a store confirmed the version.")
    guard = models.CharField(max_length=10, help_text="STAGE_GUARD of the process.")
    guard_age_seconds = models.FloatField(null=True, help_text="Since the guard last ticked.")
    skew_seconds = models.FloatField(help_text="The clock of the process minus the database's.")
    store = models.CharField(
        max_length=16,
        blank=True,
        db_default="",
        help_text='Digest of its Redis, "database" without one, "" of an earlier release.',
    )
    seen_at = models.DateTimeField(help_text="By the clock of the database.")

    class Meta:
        ordering = ("host", "pid")

    def __str__(self) -> str:
        return f"{self.name}: version {self.version}"


class ServedVersion(models.Model):
    """When a serving process first reported that it serves a version of the rollout.

    The register has only the newest version of each process. These rows answer later how long a
    change took to reach every process. A change adds one row a process.
    """

    version = models.BigIntegerField(help_text="Version of the rollout served.")
    name = models.CharField(max_length=300, help_text="host:pid")
    served_at = models.DateTimeField(
        db_index=True, help_text="Of the first report, by the clock of the database."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "name"], name="stage_served_version_once")
        ]

    def __str__(self) -> str:
        return f"{self.name}: version {self.version} since {self.served_at:%F %T}"
