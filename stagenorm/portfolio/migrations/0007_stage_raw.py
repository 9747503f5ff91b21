"""Expand: companies get `stage_raw`, and a derived stage may be NULL.

The migration changes the catalogue only: it rewrites no table and reads no row. It waits at most
5 s for each table, so that no session queues behind it; `migrate` can be run again. Rows are filled
by `normalize_stages --apply`. Until then the text of a company is `coalesce(stage_raw, stage)`, and
processes of the previous release can continue to write `stage` alone.

Backwards a stage that is NULL becomes its text again, as the previous release stored it. Stop the
service for that.
"""

from django.db import migrations, models

import normalization.fields

LOCK_TIMEOUT = "SET LOCAL lock_timeout = '5s'"

TEXT_OF_COMPANIES = "UPDATE portfolio_companies SET stage = stage_raw WHERE stage IS NULL"
TEXT_OF_ALLOCATIONS = """
UPDATE portfolio_strategystageallocation SET stage = spelling WHERE stage IS NULL
"""


def derived(source):
    return normalization.fields.StageField(
        blank=True, editable=False, max_length=255, null=True, source=source
    )


class Migration(migrations.Migration):
    dependencies = [("portfolio", "0006_simulation_strategy")]

    operations = [
        migrations.RunSQL(LOCK_TIMEOUT, migrations.RunSQL.noop),
        migrations.AddField(
            model_name="portfoliocompany",
            name="stage_raw",
            field=models.CharField(max_length=255, null=True, verbose_name="stage as written"),
        ),
        migrations.AlterField(
            model_name="portfoliocompany", name="stage", field=derived("stage_raw")
        ),
        migrations.AlterField(
            model_name="strategystageallocation", name="stage", field=derived("spelling")
        ),
        migrations.RunSQL(migrations.RunSQL.noop, TEXT_OF_ALLOCATIONS),
        migrations.RunSQL(migrations.RunSQL.noop, TEXT_OF_COMPANIES),
    ]
