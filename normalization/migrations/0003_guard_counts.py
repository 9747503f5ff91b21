"""The counts that the guards of all processes share. Unlogged: they are of an hour at most.

An unlogged table costs no write-ahead log for the few rows a second that the guards write. After a
crash of the database it is empty, and the guards count anew. Locks: a new table, nothing else.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("normalization", "0002_rollout_changes_append_only"),
    ]

    operations = [
        migrations.CreateModel(
            name="GuardCount",
            fields=[
                ("pk", models.CompositePrimaryKey("epoch", "endpoint", "client", "slot", blank=True, editable=False, primary_key=True, serialize=False)),
                ("epoch", models.BigIntegerField(help_text="Id of the newest change that enforces more.")),
                ("endpoint", models.CharField(max_length=100)),
                ("client", models.CharField(help_text="Empty for the requests of all clients.", max_length=100)),
                ("slot", models.BigIntegerField(help_text="Unix seconds divided by 5, by the database's clock.")),
                ("requests", models.BigIntegerField()),
                ("rejects", models.BigIntegerField()),
            ],
        ),
        migrations.RunSQL(
            "ALTER TABLE normalization_guardcount SET UNLOGGED",
            "ALTER TABLE normalization_guardcount SET LOGGED",
        ),
    ]
