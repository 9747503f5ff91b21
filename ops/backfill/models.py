"""What the backfill remembers: runs with their lease, one checkpoint for each column, and the log of every write."""

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from ops.backfill.states import UNFINISHED, State


class Kind(models.TextChoices):
    """`apply` normalizes; `undo` gives back what an `apply` wrote."""

    APPLY = "apply"
    UNDO = "undo"


class Strategy(models.TextChoices):
    """`batched`: one transaction a batch. `transactional`: one transaction in all."""

    BATCHED = "batched"
    TRANSACTIONAL = "transactional"


class BackfillRun(models.Model):
    """One run over the stored stages, and the lease of the process that works on it.

    Whoever holds `lease_token` may write rows, and proves it by locking this row in the transaction that writes them.
    `plan` is what the run set out to do, `unknown` the values that it met and left, `history` its changes of state.
    """

    kind = models.CharField(max_length=10, choices=Kind, default=Kind.APPLY)
    state = models.CharField(
        max_length=10, choices=[(state.value, state.value) for state in State]
    )
    strategy = models.CharField(max_length=15, choices=Strategy, default=Strategy.BATCHED)
    undoes = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="undo_runs"
    )
    actor = models.CharField(max_length=150)
    alias_version = models.PositiveIntegerField(
        help_text="Version of the alias snapshot that decided."
    )
    plan_hash = models.CharField(max_length=64, blank=True)
    plan = models.JSONField(default=dict)
    options = models.JSONField(default=dict)
    unknown = models.JSONField(default=list)
    batch = models.PositiveIntegerField(
        default=0, help_text="Number of the last batch that was committed."
    )
    batch_size = models.PositiveIntegerField()
    working_seconds = models.FloatField(
        default=0.0, help_text="Time spent in batches, without waits."
    )
    waiting_for = models.CharField(max_length=300, blank=True, help_text="Why it waits right now.")
    error = models.TextField(blank=True)
    history = models.JSONField(default=list)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_holder = models.CharField(max_length=300, blank=True)
    lease_backend = models.PositiveIntegerField(
        null=True, blank=True, help_text="Server process of the holder."
    )
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "stage_migration_control"
        ordering: ClassVar[list[str]] = ["-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                Value(True),
                condition=Q(state__in=[state.value for state in UNFINISHED]),
                name="stage_one_active_run",
            ),
            models.CheckConstraint(
                condition=Q(kind=Kind.APPLY, undoes__isnull=True)
                | Q(kind=Kind.UNDO, undoes__isnull=False),
                name="stage_run_undo_names_run",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} run {self.pk}, {self.state}"


class BackfillCheckpoint(models.Model):
    """How far a run is in one column. Moved in the transaction that writes the rows.

    Everything up to `cursor` has been looked at, `until` ends the pass. An undo goes through the log from the last
    batch to the first: `undo_batch` is the one it is in, `cursor` the last id given back there.
    """

    run = models.ForeignKey(
        BackfillRun, models.PROTECT, related_name="checkpoints", db_index=False
    )
    table_name = models.CharField(max_length=63)
    column_name = models.CharField(max_length=63)
    cursor = models.BigIntegerField(null=True, blank=True)
    until = models.BigIntegerField(null=True, blank=True)
    passes = models.PositiveSmallIntegerField(default=0)
    undo_batch = models.PositiveIntegerField(null=True, blank=True)
    finished = models.BooleanField(default=False)
    scanned = models.PositiveBigIntegerField(default=0)
    changed = models.PositiveBigIntegerField(default=0)
    skipped = models.PositiveBigIntegerField(
        default=0, help_text="Rows that others held locked; a later pass has them."
    )
    unknown = models.PositiveBigIntegerField(
        default=0, help_text="Rows with a value that no alias covers."
    )
    left_alone = models.JSONField(default=dict, help_text="Rows that an undo left, by reason.")
    total = models.PositiveBigIntegerField(
        default=0, help_text="Rows to look at, as counted when the pass began."
    )
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "stage_migration_checkpoint"
        ordering: ClassVar[list[str]] = ["run_id", "id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["run", "table_name", "column_name"],
                name="stage_checkpoint_once_per_column",
            )
        ]

    def __str__(self) -> str:
        return f"run {self.run_id}, {self.table_name}.{self.column_name}"


class NormalizationLog(models.Model):
    """Rows of one batch that went from `before` to `after`: audit and undo in one. Append-only, by a trigger too."""

    run = models.ForeignKey(BackfillRun, models.PROTECT, related_name="log", db_index=False)
    batch = models.PositiveIntegerField()
    table_name = models.CharField(max_length=63)
    column_name = models.CharField(max_length=63)
    before = models.TextField()
    after = models.TextField()
    ids: Any = ArrayField(models.BigIntegerField(), help_text="Primary keys, ascending.")
    rows = models.PositiveIntegerField()
    written_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "stage_normalization_log"
        ordering: ClassVar[list[str]] = ["run_id", "batch", "id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["run", "batch"], name="stage_log_run_batch")
        ]

    def __str__(self) -> str:
        return f"run {self.run_id}, batch {self.batch}: {self.before!r} → {self.after!r}, {self.rows} rows"
