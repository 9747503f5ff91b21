"""The log of derived stages: no stage before or after, the text that decided, and a copied text.

All of it changes the catalogue only. The index finds the entries of a range of rows; the first run
after the upgrade looks for the client's words in the log of earlier runs with it.
"""

from django.db import migrations, models

INDEX = """
CREATE INDEX stage_log_ids ON stage_normalization_log
USING gist (int8range(ids[1], ids[cardinality(ids)], '[]'))
"""


class Migration(migrations.Migration):
    dependencies = [("ops", "0004_spelling_inbox")]

    operations = [
        migrations.AlterField("normalizationlog", "before", models.TextField(null=True)),
        migrations.AlterField("normalizationlog", "after", models.TextField(null=True)),
        migrations.AddField("normalizationlog", "raw", models.TextField(null=True)),
        migrations.AddField(
            "normalizationlog", "filled", models.BooleanField(db_default=False, default=False)
        ),
        migrations.AlterField(
            "backfillcheckpoint",
            "unknown",
            models.PositiveBigIntegerField(
                default=0, help_text="Rows with a value that is undecided."
            ),
        ),
        migrations.RunSQL(INDEX, "DROP INDEX stage_log_ids"),
    ]
