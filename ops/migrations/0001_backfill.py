"""Runs, checkpoints and the log of the backfill; the log is append-only against SQL too."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


FORWARD = """
CREATE FUNCTION stage_log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The normalization log is append-only: an undo run gives rows back.';
END $$;
CREATE TRIGGER stage_log_append_only BEFORE UPDATE OR DELETE ON stage_normalization_log
    FOR EACH STATEMENT EXECUTE FUNCTION stage_log_append_only();

-- Written in every batch: room on the page lets each version of the row replace the last without touching an index.
ALTER TABLE stage_migration_control SET (fillfactor = 50);
ALTER TABLE stage_migration_checkpoint SET (fillfactor = 50);
"""

BACKWARD = """
DROP TRIGGER stage_log_append_only ON stage_normalization_log;
DROP FUNCTION stage_log_append_only();
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='BackfillRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('apply', 'Apply'), ('undo', 'Undo')], default='apply', max_length=10)),
                ('state', models.CharField(choices=[('planned', 'planned'), ('running', 'running'), ('paused', 'paused'), ('failed', 'failed'), ('completed', 'completed'), ('cancelled', 'cancelled'), ('undone', 'undone')], max_length=10)),
                ('strategy', models.CharField(choices=[('batched', 'Batched'), ('transactional', 'Transactional')], default='batched', max_length=15)),
                ('actor', models.CharField(max_length=150)),
                ('alias_version', models.PositiveIntegerField(help_text='Version of the alias snapshot that decided.')),
                ('plan_hash', models.CharField(blank=True, max_length=64)),
                ('plan', models.JSONField(default=dict)),
                ('options', models.JSONField(default=dict)),
                ('unknown', models.JSONField(default=list)),
                ('batch', models.PositiveIntegerField(default=0, help_text='Number of the last batch that was committed.')),
                ('batch_size', models.PositiveIntegerField()),
                ('working_seconds', models.FloatField(default=0.0, help_text='Time spent in batches, without waits.')),
                ('waiting_for', models.CharField(blank=True, help_text='Why it waits right now.', max_length=300)),
                ('error', models.TextField(blank=True)),
                ('history', models.JSONField(default=list)),
                ('lease_token', models.UUIDField(blank=True, editable=False, null=True)),
                ('lease_holder', models.CharField(blank=True, max_length=300)),
                ('lease_backend', models.PositiveIntegerField(blank=True, help_text='Server process of the holder.', null=True)),
                ('heartbeat_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('undoes', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='undo_runs', to='ops.backfillrun')),
            ],
            options={
                'db_table': 'stage_migration_control',
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='BackfillCheckpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('table_name', models.CharField(max_length=63)),
                ('column_name', models.CharField(max_length=63)),
                ('cursor', models.BigIntegerField(blank=True, null=True)),
                ('until', models.BigIntegerField(blank=True, null=True)),
                ('passes', models.PositiveSmallIntegerField(default=0)),
                ('undo_batch', models.PositiveIntegerField(blank=True, null=True)),
                ('finished', models.BooleanField(default=False)),
                ('scanned', models.PositiveBigIntegerField(default=0)),
                ('changed', models.PositiveBigIntegerField(default=0)),
                ('skipped', models.PositiveBigIntegerField(default=0, help_text='Rows that others held locked; a later pass has them.')),
                ('unknown', models.PositiveBigIntegerField(default=0, help_text='Rows with a value that no alias covers.')),
                ('left_alone', models.JSONField(default=dict, help_text='Rows that an undo left, by reason.')),
                ('total', models.PositiveBigIntegerField(default=0, help_text='Rows to look at, as counted when the pass began.')),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='checkpoints', to='ops.backfillrun')),
            ],
            options={
                'db_table': 'stage_migration_checkpoint',
                'ordering': ['run_id', 'id'],
            },
        ),
        migrations.CreateModel(
            name='NormalizationLog',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('batch', models.PositiveIntegerField()),
                ('table_name', models.CharField(max_length=63)),
                ('column_name', models.CharField(max_length=63)),
                ('before', models.TextField()),
                ('after', models.TextField()),
                ('ids', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), help_text='Primary keys, ascending.', size=None)),
                ('rows', models.PositiveIntegerField()),
                ('written_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='log', to='ops.backfillrun')),
            ],
            options={
                'db_table': 'stage_normalization_log',
                'ordering': ['run_id', 'batch', 'id'],
            },
        ),
        migrations.AddConstraint(
            model_name='backfillrun',
            constraint=models.UniqueConstraint(models.Value(True), condition=models.Q(('state__in', ['planned', 'running', 'paused', 'failed'])), name='stage_one_active_run'),
        ),
        migrations.AddConstraint(
            model_name='backfillrun',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('kind', 'apply'), ('undoes__isnull', True)), models.Q(('kind', 'undo'), ('undoes__isnull', False)), _connector='OR'), name='stage_run_undo_names_run'),
        ),
        migrations.AddConstraint(
            model_name='backfillcheckpoint',
            constraint=models.UniqueConstraint(fields=('run', 'table_name', 'column_name'), name='stage_checkpoint_once_per_column'),
        ),
        migrations.AddIndex(
            model_name='normalizationlog',
            index=models.Index(fields=['run', 'batch'], name='stage_log_run_batch'),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
