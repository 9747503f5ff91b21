import uuid

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

import normalization.fields


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.CharField(editable=False, max_length=150, primary_key=True, serialize=False, unique=True),
                ),
                ("prefix", models.CharField(editable=False, max_length=8, unique=True)),
                ("hashed_key", models.CharField(editable=False, max_length=150)),
                ("created", models.DateTimeField(auto_now_add=True, db_index=True)),
                (
                    "name",
                    models.CharField(
                        default=None,
                        help_text="A free-form name for the API key. Need not be unique. 50 characters max.",
                        max_length=50,
                    ),
                ),
                (
                    "revoked",
                    models.BooleanField(
                        blank=True,
                        default=False,
                        help_text="If the API key is revoked, clients cannot use it anymore. (This cannot be undone.)",
                    ),
                ),
                (
                    "expiry_date",
                    models.DateTimeField(
                        blank=True,
                        help_text="Once API key expires, clients cannot use it anymore.",
                        null=True,
                        verbose_name="Expires",
                    ),
                ),
                (
                    "read_only",
                    models.BooleanField(
                        default=False, help_text="May read, may not create, simulate, change or delete."
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "ordering": ["-created"],
            },
        ),
        migrations.CreateModel(
            name="Fund",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100, unique=True)),
                (
                    "size_usd",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        max_digits=16,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                ("vintage_year", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="ApiKeyFund",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "api_key",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, to="portfolio.apikey"
                    ),
                ),
                ("fund", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="portfolio.fund")),
            ],
            options={
                "verbose_name": "fund the key is limited to",
                "verbose_name_plural": "funds the key is limited to (none: all funds)",
            },
        ),
        migrations.AddField(
            model_name="apikey",
            name="funds",
            field=models.ManyToManyField(
                blank=True, related_name="api_keys", through="portfolio.ApiKeyFund", to="portfolio.fund"
            ),
        ),
        migrations.CreateModel(
            name="IdempotencyRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("client", models.CharField(max_length=50)),
                ("endpoint", models.CharField(max_length=50)),
                ("key", models.CharField(max_length=255)),
                ("body_sha256", models.CharField(max_length=64)),
                ("status", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("response", models.JSONField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True, db_index=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("client", "endpoint", "key"), name="idempotency_once_per_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="PortfolioCompany",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200)),
                ("stage", normalization.fields.StageField(max_length=255)),
                (
                    "status",
                    models.CharField(
                        choices=[("active", "Active"), ("exited", "Exited"), ("written_off", "Written Off")],
                        default="active",
                        max_length=20,
                    ),
                ),
                ("sector", models.CharField(blank=True, max_length=100)),
                (
                    "invested_usd",
                    models.DecimalField(
                        blank=True,
                        decimal_places=2,
                        max_digits=16,
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0)],
                    ),
                ),
                ("invested_at", models.DateField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "fund",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="companies",
                        to="portfolio.fund",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "portfolio companies",
                "db_table": "portfolio_companies",
            },
        ),
        migrations.CreateModel(
            name="PortfolioStrategy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                ("description", models.CharField(blank=True, max_length=500)),
                ("model_type", models.CharField(default="balanced", max_length=50)),
                ("target_portfolio_size", models.PositiveIntegerField(default=25)),
                ("max_portfolio_size", models.PositiveIntegerField(default=30)),
                ("deployment_months", models.PositiveIntegerField(default=36)),
                ("check_size_min", models.DecimalField(blank=True, decimal_places=2, max_digits=16, null=True)),
                ("check_size_target", models.DecimalField(blank=True, decimal_places=2, max_digits=16, null=True)),
                ("check_size_max", models.DecimalField(blank=True, decimal_places=2, max_digits=16, null=True)),
                ("sector_allocation", models.JSONField(blank=True, default=dict)),
                ("reserve_ratio", models.FloatField(default=0.5)),
                ("risk_tolerance", models.CharField(default="moderate", max_length=50)),
                ("target_irr", models.FloatField(blank=True, null=True)),
                ("target_multiple", models.FloatField(blank=True, null=True)),
                ("tags", models.JSONField(blank=True, default=list)),
                ("client", models.CharField(editable=False, help_text="Name of the key that made it.", max_length=50)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "fund",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="strategies",
                        to="portfolio.fund",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "portfolio strategies",
            },
        ),
        migrations.CreateModel(
            name="Simulation",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("client", models.CharField(max_length=50)),
                ("parameters", models.JSONField()),
                ("parameters_hash", models.CharField(max_length=64)),
                ("profile", models.CharField(max_length=50)),
                ("seed", models.BigIntegerField()),
                ("summary", models.JSONField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "fund",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="simulations",
                        to="portfolio.fund",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="StrategyStageAllocation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("spelling", normalization.fields.StageField(max_length=255)),
                ("stage", models.CharField(blank=True, max_length=20, null=True)),
                ("weight", models.FloatField()),
                ("position", models.PositiveIntegerField(help_text="Place in the request, from 0.")),
                (
                    "strategy",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="stage_allocations",
                        to="portfolio.portfoliostrategy",
                    ),
                ),
            ],
            options={
                "ordering": ["strategy_id", "position"],
            },
        ),
        migrations.AddConstraint(
            model_name="apikeyfund",
            constraint=models.UniqueConstraint(fields=("api_key", "fund"), name="api_key_funds_once"),
        ),
        migrations.AddIndex(
            model_name="portfoliocompany",
            index=models.Index(fields=["fund", "id"], name="companies_fund_id"),
        ),
        migrations.AddIndex(
            model_name="portfoliocompany",
            index=models.Index(fields=["fund", "stage", "id"], name="companies_fund_stage_id"),
        ),
        migrations.AddIndex(
            model_name="portfoliocompany",
            index=models.Index(fields=["fund", "name", "id"], name="companies_fund_name_id"),
        ),
        migrations.AddIndex(
            model_name="portfoliocompany",
            index=models.Index(fields=["fund", "invested_at", "id"], name="companies_fund_invested_id"),
        ),
        migrations.AddConstraint(
            model_name="portfoliocompany",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "exited", "written_off"])), name="companies_status_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="portfoliocompany",
            constraint=models.CheckConstraint(
                condition=models.Q(("invested_usd__isnull", True), ("invested_usd__gte", 0), _connector="OR"),
                name="companies_invested_not_negative",
            ),
        ),
        migrations.AddIndex(
            model_name="portfoliostrategy",
            index=models.Index(fields=["fund", "id"], name="strategies_fund_id"),
        ),
        migrations.AddIndex(
            model_name="simulation",
            index=models.Index(fields=["fund", "-created_at"], name="simulations_fund_created"),
        ),
        migrations.AddIndex(
            model_name="simulation",
            index=models.Index(fields=["-created_at"], name="simulations_created"),
        ),
        migrations.AddConstraint(
            model_name="strategystageallocation",
            constraint=models.UniqueConstraint(fields=("strategy", "position"), name="allocations_one_per_position"),
        ),
        migrations.AddConstraint(
            model_name="strategystageallocation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("stage__isnull", False)),
                fields=("strategy", "stage"),
                name="allocations_one_per_stage",
            ),
        ),
    ]
