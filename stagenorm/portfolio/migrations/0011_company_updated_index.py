"""The index for `updated_since`, made CONCURRENTLY: reads and writes continue.

An index that an interrupted `migrate` left invalid is dropped and made again.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

NAME = "companies_fund_updated_id"


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("portfolio", "0010_company_source_keys_unique")]

    operations = [
        migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="portfoliocompany",
            index=models.Index(fields=["fund", "updated_at", "id"], name=NAME),
        ),
    ]
