"""The serving processes, each with the version that it serves and the state of its guard.

A logged table: a frozen process must still be listed after a crash of the database. Locks: a new
table, nothing else.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("normalization", "0004_stage_decisions"),
    ]

    operations = [
        migrations.CreateModel(
            name="ServingInstance",
            fields=[
                ("name", models.CharField(help_text="host:pid", max_length=300, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.IntegerField()),
                ("version", models.BigIntegerField(help_text="Version of the rollout served.")),
                ("mode", models.CharField(max_length=10)),
                ("age_seconds", models.FloatField(help_text="Since a store confirmed the version.")),
                ("guard", models.CharField(help_text="STAGE_GUARD of the process.", max_length=10)),
                ("guard_age_seconds", models.FloatField(help_text="Since the guard last ticked.", null=True)),
                ("skew_seconds", models.FloatField(help_text="The clock of the process minus the database's.")),
                ("seen_at", models.DateTimeField(help_text="By the clock of the database.")),
            ],
            options={
                "ordering": ("host", "pid"),
            },
        ),
    ]
