import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("portfolio", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="RequestLog",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("scope", models.CharField(max_length=50)),
                ("client", models.CharField(max_length=50)),
                ("admitted", django.contrib.postgres.fields.ArrayField(base_field=models.DateTimeField(), size=None)),
                ("refused", models.BooleanField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("scope", "client"), name="request_log_once_per_client")
                ]
            },
        ),
        # A crash may forget who asked how often in the last minute: no row of it is worth writing twice.
        migrations.RunSQL(
            "ALTER TABLE portfolio_requestlog SET UNLOGGED", "ALTER TABLE portfolio_requestlog SET LOGGED"
        ),
    ]
