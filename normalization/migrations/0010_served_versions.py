"""When each process first served a version of the rollout. Locks: a new table, nothing else."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('normalization', '0009_instance_store'),
    ]

    operations = [
        migrations.CreateModel(
            name='ServedVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.BigIntegerField(help_text='Version of the rollout served.')),
                ('name', models.CharField(help_text='host:pid', max_length=300)),
                ('served_at', models.DateTimeField(db_index=True, help_text='Of the first report, by the clock of the database.')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('version', 'name'), name='stage_served_version_once')],
            },
        ),
    ]
