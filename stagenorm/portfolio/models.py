"""The platform's tables: funds, companies, strategies, simulations, and API keys of clients."""

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Collate, Now
from rest_framework_api_key.models import AbstractAPIKey

from normalization.fields import StageField

# A key's name identifies the client in logs, tallies and rollout lists; this text is safe in all.
CLIENT_NAME_MAX = 50
CLIENT_NAME_PATTERN = r"[!-~](?:[ -~]*[!-~])?"
validate_client_name = RegexValidator(
    rf"\A{CLIENT_NAME_PATTERN}\Z",
    "Use printable ASCII characters, without white space at the ends.",
    code="client_name",
)
validate_not_negative = MinValueValidator(0)


class Fund(models.Model):
    """A venture fund. Companies, strategies and simulations belong to one."""

    name = models.CharField(max_length=100, unique=True)
    size_usd = models.DecimalField(
        max_digits=16, decimal_places=2, null=True, blank=True, validators=[validate_not_negative]
    )
    vintage_year = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name


class CompanyImport(models.Model):
    """One import of a file of companies. `manage.py import_companies` and the admin undo it.

    `first_company` and `last_company` bound the primary keys of its companies, so that an undo
    finds them by the index of the fund.
    """

    fund = models.ForeignKey(Fund, models.PROTECT, related_name="imports", db_index=False)
    plan_hash = models.CharField("plan", max_length=16)
    file_name = models.CharField("file", max_length=255)
    file_sha256 = models.CharField("SHA-256 of the file", max_length=64)
    options = models.JSONField(default=dict)
    mode = models.CharField(max_length=10)
    decisions_version = models.BigIntegerField("version of the decisions")
    actor = models.CharField("by", max_length=150)
    created_at = models.DateTimeField("imported at", db_default=Now())
    lines = models.BigIntegerField(default=0)
    imported = models.BigIntegerField(default=0)
    skipped = models.BigIntegerField("already there", default=0)
    updated = models.BigIntegerField("stages updated", default=0)
    rejected = models.BigIntegerField("refused", default=0)
    normalized = models.BigIntegerField("stages normalized", default=0)
    unknown = models.BigIntegerField("stages undecided", default=0)
    outside = models.BigIntegerField("stages outside", default=0)
    first_company = models.BigIntegerField(null=True)
    last_company = models.BigIntegerField(null=True)
    undone_at = models.DateTimeField(null=True)
    undone_by = models.CharField(max_length=150, blank=True)
    removed = models.BigIntegerField("removed by the undo", null=True)
    kept = models.BigIntegerField("kept, because changed since", null=True)
    gone = models.BigIntegerField("already gone", null=True)

    class Meta:
        verbose_name = "import of companies"
        verbose_name_plural = "imports of companies"
        ordering: ClassVar[list[str]] = ["-id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["fund", "-id"], name="imports_fund_id")
        ]

    def __str__(self) -> str:
        return f"Import {self.pk}"


class PortfolioCompany(models.Model):
    """A company of a fund.

    `stage_raw` is the text as it came. `stage` is the stage that it means, NULL without one. A row
    of an earlier release has its text in `stage` until a backfill has reached it.

    `source_key` identifies the line of the file that an imported company came from. It is made of
    the line's cells without the stage, or of the file's own key.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        EXITED = "exited"
        WRITTEN_OFF = "written_off"

    # The indexes below all begin with the fund, so the foreign key needs none of its own.
    fund = models.ForeignKey(Fund, models.PROTECT, related_name="companies", db_index=False)
    name = models.CharField(max_length=200)
    stage_raw = models.CharField(  # noqa: DJ001 (NULL: not copied yet, "": an empty text)
        "stage as written", max_length=255, null=True
    )
    stage = StageField(source="stage_raw", null=True)
    status = models.CharField(max_length=20, choices=Status, default=Status.ACTIVE)
    sector = models.CharField(max_length=100, blank=True)
    invested_usd = models.DecimalField(
        max_digits=16, decimal_places=2, null=True, blank=True, validators=[validate_not_negative]
    )
    invested_at = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    source_key = models.UUIDField(null=True, editable=False)
    # No constraint: it would check each imported row once more, and nothing deletes imports.
    from_import = models.ForeignKey(
        CompanyImport,
        models.DO_NOTHING,
        related_name="companies",
        null=True,
        editable=False,
        db_constraint=False,
        db_index=False,
    )

    class Meta:
        db_table = "portfolio_companies"
        verbose_name_plural = "portfolio companies"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["fund", "id"], name="companies_fund_id"),
            # Serves the stage filter of processes of the previous release during a deployment.
            models.Index(fields=["fund", "stage", "id"], name="companies_fund_stage_id"),
            # The stage filter looks for the text of a row, copied already or not.
            models.Index(
                F("fund"), Coalesce("stage_raw", "stage"), F("id"), name="companies_fund_raw_id"
            ),
            # The gates find the distinct texts, and rows that are not derived, without a scan.
            models.Index(
                Collate("stage_raw", "C"), Collate("stage", "C"), name="companies_raw_stage"
            ),
            models.Index(fields=["fund", "name", "id"], name="companies_fund_name_id"),
            models.Index(fields=["fund", "invested_at", "id"], name="companies_fund_invested_id"),
            models.Index(fields=["fund", "updated_at", "id"], name="companies_fund_updated_id"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(status__in=["active", "exited", "written_off"]),
                name="companies_status_known",
            ),
            models.CheckConstraint(
                condition=Q(invested_usd__isnull=True) | Q(invested_usd__gte=0),
                name="companies_invested_not_negative",
            ),
            # An import finds the companies of earlier imports, and adds each only once.
            models.UniqueConstraint(
                fields=["fund", "source_key"],
                condition=Q(source_key__isnull=False),
                name="companies_fund_source_key",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def written_stage(self) -> str | None:
        """The stage as it was written."""
        return self.stage if self.stage_raw is None else self.stage_raw


class PortfolioStrategy(models.Model):
    """An investment plan of a fund. `stage_allocations` has a row for each stage that was sent."""

    fund = models.ForeignKey(Fund, models.PROTECT, related_name="strategies", db_index=False)
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=500, blank=True)
    model_type = models.CharField(max_length=50, default="balanced")
    target_portfolio_size = models.PositiveIntegerField(default=25)
    max_portfolio_size = models.PositiveIntegerField(default=30)
    deployment_months = models.PositiveIntegerField(default=36)
    check_size_min = models.DecimalField(max_digits=16, decimal_places=2, null=True, blank=True)
    check_size_target = models.DecimalField(max_digits=16, decimal_places=2, null=True, blank=True)
    check_size_max = models.DecimalField(max_digits=16, decimal_places=2, null=True, blank=True)
    sector_allocation = models.JSONField(default=dict, blank=True)
    reserve_ratio = models.FloatField(default=0.5)
    risk_tolerance = models.CharField(max_length=50, default="moderate")
    target_irr = models.FloatField(null=True, blank=True)
    target_multiple = models.FloatField(null=True, blank=True)
    tags = models.JSONField(default=list, blank=True)
    client = models.CharField(
        max_length=CLIENT_NAME_MAX, editable=False, help_text="Name of the key that made it."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "portfolio strategies"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["fund", "id"], name="strategies_fund_id")
        ]

    def __str__(self) -> str:
        return self.name


class StrategyStageAllocation(models.Model):
    """The weight of one stage in a strategy.

    `spelling` is the client's own text and never changes. `stage` is the stage that it means, NULL
    without one; after a change of decisions a backfill derives it again. Two rows of a strategy
    may have the same stage, and no constraint forbids that.
    """

    strategy = models.ForeignKey(
        PortfolioStrategy, models.CASCADE, related_name="stage_allocations", db_index=False
    )
    spelling = models.CharField(max_length=255)
    stage = StageField(source="spelling", null=True)
    weight = models.FloatField()
    position = models.PositiveIntegerField(help_text="Place in the request, from 0.")

    class Meta:
        ordering: ClassVar[list[str]] = ["strategy_id", "position"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                Collate("spelling", "C"), Collate("stage", "C"), name="allocations_raw_stage"
            )
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["strategy", "position"], name="allocations_one_per_position"
            )
        ]

    def __str__(self) -> str:
        return f"{self.stage or self.spelling}: {self.weight}"


class Simulation(models.Model):
    """One Monte Carlo simulation: parameters and results. Written once, never changed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    fund = models.ForeignKey(Fund, models.PROTECT, related_name="simulations", db_index=False)
    strategy = models.ForeignKey(
        PortfolioStrategy,
        models.SET_NULL,
        related_name="simulations",
        null=True,
        db_index=False,
        help_text="The strategy that the request named, while it exists.",
    )
    client = models.CharField(max_length=CLIENT_NAME_MAX)
    parameters = models.JSONField()
    parameters_hash = models.CharField(max_length=64)
    profile = models.CharField(max_length=50)
    seed = models.BigIntegerField()
    summary = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["fund", "-created_at"], name="simulations_fund_created"),
            models.Index(fields=["-created_at"], name="simulations_created"),
            models.Index(
                fields=["strategy", "-created_at", "-id"], name="simulations_strategy_created"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class ApiKey(AbstractAPIKey):
    """A client's key. Keys may share a name (rotation). Without funds it sees all funds."""

    funds = models.ManyToManyField(Fund, through="ApiKeyFund", related_name="api_keys", blank=True)
    read_only = models.BooleanField(
        default=False, help_text="May read, may not create, simulate, change or delete."
    )
    operator = models.BooleanField(
        default=False, help_text="May see the rollout at /_ops/, and outside production change it."
    )

    class Meta:
        ordering: ClassVar[list[str]] = ["-created"]
        verbose_name = "API key"
        verbose_name_plural = "API keys"

    def clean(self) -> None:
        """Check that the name is safe as a client id: printable ASCII, else `ValidationError`."""
        super().clean()
        validate_client_name(self.name)


class ApiKeyFund(models.Model):
    """A fund that a key is limited to.

    PROTECT: a key whose last fund was deleted would have none, which means access to all funds.
    """

    api_key = models.ForeignKey(ApiKey, models.CASCADE, db_index=False)
    fund = models.ForeignKey(Fund, models.PROTECT)

    class Meta:
        verbose_name = "fund the key is limited to"
        verbose_name_plural = "funds the key is limited to (none: all funds)"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["api_key", "fund"], name="api_key_funds_once")
        ]

    def __str__(self) -> str:
        return str(self.fund_id)


class IdempotencyRecord(models.Model):
    """The first answer to an `Idempotency-Key`, written in the transaction of its request."""

    client = models.CharField(max_length=CLIENT_NAME_MAX)
    endpoint = models.CharField(max_length=50)
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    response = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["client", "endpoint", "key"], name="idempotency_once_per_key"
            )
        ]

    def __str__(self) -> str:
        return f"{self.client} {self.endpoint} {self.key}"


class RequestLog(models.Model):
    """The times of a client's admitted requests in the last period, kept by `throttling`."""

    scope = models.CharField(max_length=50)
    client = models.CharField(max_length=CLIENT_NAME_MAX)
    admitted = ArrayField(models.DateTimeField())
    refused = models.BooleanField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["scope", "client"], name="request_log_once_per_client")
        ]

    def __str__(self) -> str:
        return f"{self.client} {self.scope}"
