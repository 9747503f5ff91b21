"""Which series of links to a client's letter is valid. Locks: a new table, nothing else."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ops', '0008_consumer_decision'),
    ]

    operations = [
        migrations.CreateModel(
            name='LetterLinkSeries',
            fields=[
                ('client', models.CharField(max_length=100, primary_key=True, serialize=False)),
                ('series', models.PositiveIntegerField(help_text='Links of earlier series are ended.')),
                ('ended_by', models.CharField(max_length=150)),
                ('ended_at', models.DateTimeField(help_text='When the last series was ended.')),
            ],
            options={
                'verbose_name_plural': 'letter link series',
            },
        ),
    ]
