"""Decisions about the consumers of the endpoints, append-only against SQL too."""

import django.db.models.functions.datetime
from django.db import migrations, models


FORWARD = """
CREATE FUNCTION stage_consumer_decision_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Decisions about consumers are append-only.';
END $$;
CREATE TRIGGER stage_consumer_decision_append_only BEFORE UPDATE OR DELETE ON ops_consumerdecision
    FOR EACH STATEMENT EXECUTE FUNCTION stage_consumer_decision_append_only();
"""

BACKWARD = """
DROP TRIGGER stage_consumer_decision_append_only ON ops_consumerdecision;
DROP FUNCTION stage_consumer_decision_append_only();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('ops', '0007_drills_on_staging'),
    ]

    operations = [
        migrations.CreateModel(
            name='ConsumerDecision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('verdict', models.CharField(choices=[('internal-only', 'internal-only'), ('external', 'external')], max_length=20)),
                ('owners', models.JSONField(default=list, help_text='Who answers for the external consumers; empty if there are none.')),
                ('reason', models.CharField(max_length=500)),
                ('decided_by', models.CharField(max_length=150)),
                ('evidence', models.JSONField(default=dict, help_text='Figures of the audit; empty if no access log was read.')),
                ('decided_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('expires_at', models.DateTimeField(help_text='From then on the gate does not pass.')),
            ],
            options={
                'ordering': ('-id',),
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
