"""The tables behind the inbox: the weight of each spelling, and what operators chose so far."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.db.models import Q
from django.utils import timezone


class SpellingWeight(models.Model):
    """A text that stands in a stored row or came in a request, and how many rows hold it.

    `unit` is what is decided in one go: the code of a closed group, or `=` and the folded key.
    Keys and units have hash indexes: they may be longer than a B-tree takes.
    """

    spelling = models.CharField(max_length=255, primary_key=True, db_collation="C")
    key = models.TextField(db_collation="C", help_text="The folded spelling.")
    unit = models.TextField(db_collation="C")
    verdict = models.CharField(
        max_length=10, blank=True, help_text="stage, outside, open, built in, or empty."
    )
    looks_like = models.CharField(
        max_length=20, blank=True, help_text="The stage that it is or resembles."
    )
    rows = models.PositiveBigIntegerField(default=0)
    seen_at = models.DateTimeField(default=timezone.now, help_text="When it was first counted.")

    class Meta:
        indexes = [
            HashIndex(fields=["unit"], name="ops_spellingweight_unit"),
            HashIndex(fields=["key"], name="ops_spellingweight_key"),
        ]

    def __str__(self) -> str:
        return f"{self.spelling!r}: {self.rows} rows"


class SpellingUnit(models.Model):
    """The undecided spellings of one unit, added up. `opened`: those that were left open."""

    unit = models.TextField(db_collation="C")
    opened = models.BooleanField()
    rows = models.PositiveBigIntegerField()
    size = models.PositiveIntegerField(help_text="How many spellings.")
    looks_like = models.CharField(max_length=20, blank=True)
    seen_at = models.DateTimeField()

    class Meta:
        indexes = [
            HashIndex(fields=["unit"], name="ops_spellingunit_unit"),
            models.Index(fields=["opened", "-rows"], name="ops_spellingunit_rows"),
            models.Index(fields=["opened", "-seen_at"], name="ops_spellingunit_seen"),
            models.Index(
                fields=["opened", "-rows"],
                condition=~Q(looks_like=""),
                name="ops_spellingunit_likely",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.unit}: {self.size} spellings, {self.rows} rows"


class SpellingCount(models.Model):
    """What the weights are of: when the rows were counted, and up to which decision. One row.

    `rules` is the version of the rules that sorted the spellings into units. `shares` has the
    number of spellings and of rows by verdict.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    counted_at = models.DateTimeField()
    seconds = models.FloatField()
    rules = models.PositiveSmallIntegerField()
    decisions_version = models.BigIntegerField()
    units = models.PositiveIntegerField(default=0)
    shares = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"counted {self.counted_at:%F %T} in {self.seconds:.1f} s"


class OpenedSpelling(models.Model):
    """The weight of a spelling when it was left open. At ten times that it is shown again."""

    decision_id = models.BigIntegerField(primary_key=True)
    weight = models.PositiveBigIntegerField(help_text="Stored rows and requests of seven days.")

    def __str__(self) -> str:
        return f"decision {self.decision_id}: {self.weight}"


class DecisionDraft(models.Model):
    """What one operator chose in the inbox and has not saved as decisions yet.

    `choices` has an object for each unit: `choice` is a stage, `outside` or `open`, and `without`
    lists the members that were unticked.
    """

    operator = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="decision_draft"
    )
    choices = models.JSONField(default=dict)
    reason = models.CharField(max_length=500, blank=True)
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{len(self.choices)} choices of {self.operator}"
