"""Used signatures and the ledger of webhook deliveries, append-only against SQL too."""

from django.db import migrations, models


FORWARD = """
CREATE FUNCTION stage_webhook_delivery_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Webhook deliveries are append-only.';
END $$;
CREATE TRIGGER stage_webhook_delivery_append_only BEFORE UPDATE OR DELETE ON ops_webhookdelivery
    FOR EACH STATEMENT EXECUTE FUNCTION stage_webhook_delivery_append_only();
"""

BACKWARD = """
DROP TRIGGER stage_webhook_delivery_append_only ON ops_webhookdelivery;
DROP FUNCTION stage_webhook_delivery_append_only();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('ops', '0002_backups'),
    ]

    operations = [
        migrations.CreateModel(
            name='UsedSignature',
            fields=[
                ('digest', models.CharField(help_text='SHA-256 of the signature.', max_length=64, primary_key=True, serialize=False)),
                ('used_at', models.DateTimeField(auto_now_add=True, db_index=True)),
            ],
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('received_at', models.DateTimeField(auto_now_add=True, db_index=True)),
                ('endpoint', models.CharField(max_length=20)),
                ('outcome', models.CharField(choices=[('downgraded', 'downgraded'), ('already', 'already'), ('ignored', 'ignored'), ('alive', 'alive'), ('repeated', 'repeated'), ('forged', 'forged'), ('malformed', 'malformed'), ('too_large', 'too_large'), ('wrong_method', 'wrong_method'), ('wrong_type', 'wrong_type'), ('no_length', 'no_length'), ('incomplete', 'incomplete'), ('store_down', 'store_down')], max_length=12)),
                ('alert_names', models.JSONField(default=list)),
                ('fingerprint', models.CharField(blank=True, help_text='Of the alert that acted, else of the first.', max_length=64)),
                ('actor', models.CharField(blank=True, help_text="As the rollout's history names it.", max_length=150)),
                ('version', models.BigIntegerField(help_text='Version of the rollout in force afterwards.', null=True)),
                ('detail', models.CharField(blank=True, max_length=200)),
            ],
            options={
                'verbose_name_plural': 'webhook deliveries',
                'ordering': ('-id',),
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    ]
