"""The plan of the rollout's steps, kept against SQL too."""

from django.db import migrations, models
from django.db.models.functions import Now

FORWARD = """
CREATE FUNCTION stage_plan_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Plans are append-only: record a new plan instead.';
END $$;
CREATE TRIGGER stage_plan_append_only BEFORE UPDATE OR DELETE ON normalization_rolloutplanchange
    FOR EACH ROW EXECUTE FUNCTION stage_plan_append_only();
"""

BACKWARD = """
DROP TRIGGER stage_plan_append_only ON normalization_rolloutplanchange;
DROP FUNCTION stage_plan_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("normalization", "0007_dates_by_the_database")]

    operations = [
        migrations.CreateModel(
            name="RolloutPlanChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("steps", models.JSONField()),
                ("actor", models.CharField(max_length=150)),
                ("source", models.CharField(max_length=20)),
                ("reason", models.CharField(max_length=500)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={"ordering": ("-id",)},
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
