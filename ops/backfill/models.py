"""The tables of the backfill: runs with their lease, one checkpoint a column, the log of writes.

`RunOptions` is what an operator may choose when a run begins or resumes; the run keeps it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from ops.backfill.states import UNFINISHED, RunState

LEASE_SECONDS = 30.0
LARGEST_BATCH = 50_000


class RunKind(models.TextChoices):
    """`apply` normalizes; `undo` restores what an `apply` run wrote."""

    APPLY = "apply"
    UNDO = "undo"


class RunStrategy(models.TextChoices):
    """`batched`: one transaction a batch. `transactional`: one transaction for the whole run."""

    BATCHED = "batched"
    TRANSACTIONAL = "transactional"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run.

    `batch_size`: rows of the first batch; `max_batch_size`: of the largest. `backoff_ms`: rest
    after a batch, or `backoff_share` of the batch's time. `max_lag_seconds`: replica lag at which
    the run waits. `lease_seconds`: time without a heartbeat until another process may take over.
    """

    strategy: RunStrategy = RunStrategy.BATCHED
    batch_size: int = 5000
    max_batch_size: int = LARGEST_BATCH
    backoff_ms: int = 100
    backoff_share: float | None = None
    max_lag_seconds: float = 10.0
    lease_seconds: float = LEASE_SECONDS

    def to_json(self) -> dict[str, Any]:
        """Return what the run keeps in `options`."""
        return {
            "max_batch_size": self.max_batch_size,
            "backoff_ms": self.backoff_ms,
            "backoff_share": self.backoff_share,
            "max_lag_seconds": self.max_lag_seconds,
            "lease_seconds": self.lease_seconds,
        }


class BackfillRun(models.Model):
    """One run over the stored stages, and the lease of the process that works on it.

    The holder of `lease_token` may write rows. It proves that by locking this row in the
    transaction that writes them. `plan`: what the run set out to do. `unknown`: the values it left
    unchanged. `history`: its changes of state.
    """

    kind = models.CharField(max_length=10, choices=RunKind, default=RunKind.APPLY)
    state = models.CharField(
        max_length=10, choices=[(state.value, state.value) for state in RunState]
    )
    strategy = models.CharField(max_length=15, choices=RunStrategy, default=RunStrategy.BATCHED)
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
                condition=Q(kind=RunKind.APPLY, undoes__isnull=True)
                | Q(kind=RunKind.UNDO, undoes__isnull=False),
                name="stage_run_undo_names_run",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} run {self.pk}, {self.state}"


class BackfillCheckpoint(models.Model):
    """How far a run is in one column; updated in the transaction that writes the rows.

    Every row up to `cursor` is done, `until` ends the pass. An undo reads the log from the last
    batch to the first: `undo_batch` is the current batch, `cursor` the last key restored in it.
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
        default=0, help_text="Rows with a value that is undecided."
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
    """Rows of one batch that changed from `before` to `after`: audit log and source of an undo.

    In a derived column both may be NULL. `raw` is the text that decided, NULL for a column without
    a source; `filled`: the write also copied it to the source. Append-only: a trigger refuses
    UPDATE and DELETE.
    """

    run = models.ForeignKey(BackfillRun, models.PROTECT, related_name="log", db_index=False)
    batch = models.PositiveIntegerField()
    table_name = models.CharField(max_length=63)
    column_name = models.CharField(max_length=63)
    before = models.TextField(null=True)  # noqa: DJ001 (NULL: no stage)
    after = models.TextField(null=True)  # noqa: DJ001 (NULL: no stage)
    raw = models.TextField(null=True)  # noqa: DJ001 (NULL: the column is its own text)
    filled = models.BooleanField(default=False, db_default=False)
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
        change = f"{self.before!r} → {self.after!r}"
        return f"run {self.run_id}, batch {self.batch}: {change}, {self.rows} rows"
