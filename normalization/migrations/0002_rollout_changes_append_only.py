"""The history of the rollout is kept against SQL too, not only against the model."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION stage_rollout_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Rollout changes are append-only: record a new change instead.';
END $$;
CREATE TRIGGER stage_rollout_append_only BEFORE UPDATE OR DELETE ON normalization_rolloutchange
    FOR EACH ROW EXECUTE FUNCTION stage_rollout_append_only();
"""

BACKWARD = """
DROP TRIGGER stage_rollout_append_only ON normalization_rolloutchange;
DROP FUNCTION stage_rollout_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("normalization", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
