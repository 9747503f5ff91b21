"""The unique index on the keys of imported companies, made CONCURRENTLY: writes continue.

An index that an interrupted `migrate` left invalid is dropped and made again. Rows without a key,
which are all rows of earlier releases, are not in it.
"""

from django.db import migrations, models

NAME = "companies_fund_source_key"
DROP = f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}"
CREATE = f"""
CREATE UNIQUE INDEX CONCURRENTLY {NAME} ON portfolio_companies (fund_id, source_key)
WHERE source_key IS NOT NULL
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("portfolio", "0009_company_imports")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(DROP, migrations.RunSQL.noop),
                migrations.RunSQL(CREATE, DROP),
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="portfoliocompany",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(source_key__isnull=False),
                        fields=("fund", "source_key"),
                        name=NAME,
                    ),
                ),
            ],
        ),
    ]
