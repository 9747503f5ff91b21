"""The tables of backups: one row for each backup, and an append-only ledger of their checks.

Both are inside the database that they protect, so `records` mirrors them into a file beside the
backups.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import models
from django.db.models.functions import Now

from normalization.models import AppendOnlyError
from ops.gates.backup_rule import CheckKind, CheckVerdict

CHECK_CHOICES = [(check.value, check.value) for check in CheckKind]
VERDICT_CHOICES = [(verdict.value, verdict.value) for verdict in CheckVerdict]


class Backup(models.Model):
    """A published dump.

    `snapshot_at` is the database's time just before the snapshot that it holds.
    """

    name = models.CharField(max_length=100, unique=True)
    directory = models.CharField(max_length=1000)
    host = models.CharField(max_length=255)
    system_identifier = models.CharField(
        max_length=20, help_text="Of the cluster, as pg_control_system() gives it."
    )
    database = models.CharField(max_length=63)
    database_oid = models.BigIntegerField()
    snapshot_at = models.DateTimeField()
    size = models.BigIntegerField(help_text="Bytes of the dump.")
    sha256 = models.CharField(max_length=64)
    facts = models.JSONField(help_text="Rows, digests and stages of each table in the snapshot.")
    seconds = models.FloatField(help_text="How long the dump took.")
    created_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    pruned_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-snapshot_at", "-id")

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        """Where the dump was published."""
        return Path(self.directory) / self.name


class BackupCheck(models.Model):
    """One check of one backup. Append-only: a trigger refuses UPDATE and DELETE."""

    backup = models.ForeignKey(Backup, models.PROTECT, related_name="checks")
    kind = models.CharField(max_length=10, choices=CHECK_CHOICES)
    verdict = models.CharField(max_length=10, choices=VERDICT_CHOICES)
    reason = models.TextField()
    sha256 = models.CharField(
        max_length=64, blank=True, help_text="Of the bytes that were checked."
    )
    size = models.BigIntegerField(null=True)
    stamp = models.CharField(
        max_length=120,
        blank=True,
        help_text="Device, inode, size, times of the file that was read.",
    )
    target = models.CharField(
        max_length=300,
        blank=True,
        db_default="",
        help_text="The server of the drill, if it is another one than the database's.",
    )
    result_id = models.UUIDField(
        null=True, unique=True, help_text="Of a staging server's result; it counts once."
    )
    seconds = models.FloatField()
    checked_by = models.CharField(max_length=150)
    host = models.CharField(max_length=255)
    checked_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.backup_id} {self.kind}: {self.verdict}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; raise `AppendOnlyError` for a row that exists."""
        if self.pk is not None:
            raise AppendOnlyError("Checks are append-only: check the backup again instead.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Raise `AppendOnlyError`."""
        raise AppendOnlyError("Checks are append-only and cannot be deleted.")
