"""Backups, the append-only ledger of their checks (against SQL too), and the heartbeats of the alert path."""

import django.db.models.deletion
from django.db import migrations, models


FORWARD = """
CREATE FUNCTION stage_backup_check_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Checks of backups are append-only: check the backup again instead.';
END $$;
CREATE TRIGGER stage_backup_check_append_only BEFORE UPDATE OR DELETE ON ops_backupcheck
    FOR EACH STATEMENT EXECUTE FUNCTION stage_backup_check_append_only();
"""

BACKWARD = """
DROP TRIGGER stage_backup_check_append_only ON ops_backupcheck;
DROP FUNCTION stage_backup_check_append_only();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('ops', '0001_backfill'),
    ]

    operations = [
        migrations.CreateModel(
            name='Backup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('directory', models.CharField(max_length=1000)),
                ('host', models.CharField(max_length=255)),
                ('system_identifier', models.CharField(help_text='Of the cluster, as pg_control_system() gives it.', max_length=20)),
                ('database', models.CharField(max_length=63)),
                ('database_oid', models.BigIntegerField()),
                ('snapshot_at', models.DateTimeField()),
                ('size', models.BigIntegerField(help_text='Bytes of the dump.')),
                ('sha256', models.CharField(max_length=64)),
                ('facts', models.JSONField(help_text='Rows, digests and stages of each table in the snapshot.')),
                ('seconds', models.FloatField(help_text='How long the dump took.')),
                ('created_by', models.CharField(max_length=150)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('pruned_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ('-snapshot_at', '-id'),
            },
        ),
        migrations.CreateModel(
            name='Heartbeat',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('received_at', models.DateTimeField(auto_now_add=True, db_index=True)),
                ('fingerprint', models.CharField(help_text='Of the alert, as Alertmanager names it.', max_length=64)),
            ],
            options={
                'ordering': ('-received_at',),
            },
        ),
        migrations.CreateModel(
            name='BackupCheck',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('verify', 'verify'), ('restore', 'restore')], max_length=10)),
                ('verdict', models.CharField(choices=[('passed', 'passed'), ('failed', 'failed'), ('error', 'error')], max_length=10)),
                ('reason', models.TextField()),
                ('sha256', models.CharField(blank=True, help_text='Of the bytes that were checked.', max_length=64)),
                ('size', models.BigIntegerField(null=True)),
                ('stamp', models.CharField(blank=True, help_text='Device, inode, size, times of the file that was read.', max_length=120)),
                ('seconds', models.FloatField()),
                ('checked_by', models.CharField(max_length=150)),
                ('host', models.CharField(max_length=255)),
                ('checked_at', models.DateTimeField(auto_now_add=True)),
                ('backup', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='checks', to='ops.backup')),
            ],
            options={
                'ordering': ('-id',),
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
