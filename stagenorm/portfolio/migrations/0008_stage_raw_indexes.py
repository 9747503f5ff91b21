"""Indexes on the text of a stage, made CONCURRENTLY: reads and writes continue.

An index that an interrupted `migrate` left invalid is dropped and made again. The index
`companies_fund_stage_id` stays: processes of the previous release use it during a deployment.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Coalesce, Collate


def added(model, index):
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}"
    return [
        migrations.RunSQL(drop, migrations.RunSQL.noop),
        AddIndexConcurrently(model_name=model, index=index),
    ]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("portfolio", "0007_stage_raw")]

    operations = [
        *added(
            "portfoliocompany",
            models.Index(
                models.F("fund"),
                Coalesce("stage_raw", "stage"),
                models.F("id"),
                name="companies_fund_raw_id",
            ),
        ),
        *added(
            "portfoliocompany",
            models.Index(
                Collate("stage_raw", "C"), Collate("stage", "C"), name="companies_raw_stage"
            ),
        ),
        *added(
            "strategystageallocation",
            models.Index(
                Collate("spelling", "C"), Collate("stage", "C"), name="allocations_raw_stage"
            ),
        ),
    ]
