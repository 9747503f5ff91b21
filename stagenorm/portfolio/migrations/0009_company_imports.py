"""Expand: the table of imports, and the key of the line that a company was imported from.

The migration changes the catalogue only: it rewrites no table and reads no row. It waits at most
5 s for the table of companies, so that no session queues behind it; `migrate` can be run again.
Processes of the previous release leave the new columns NULL.
"""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('portfolio', '0008_stage_raw_indexes'),
    ]

    operations = [
        migrations.RunSQL("SET LOCAL lock_timeout = '5s'", migrations.RunSQL.noop),
        migrations.AddField(
            model_name='portfoliocompany',
            name='source_key',
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.CreateModel(
            name='CompanyImport',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('plan_hash', models.CharField(max_length=16, verbose_name='plan')),
                ('file_name', models.CharField(max_length=255, verbose_name='file')),
                ('file_sha256', models.CharField(max_length=64, verbose_name='SHA-256 of the file')),
                ('options', models.JSONField(default=dict)),
                ('mode', models.CharField(max_length=10)),
                ('decisions_version', models.BigIntegerField(verbose_name='version of the decisions')),
                ('actor', models.CharField(max_length=150, verbose_name='by')),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='imported at')),
                ('lines', models.BigIntegerField(default=0)),
                ('imported', models.BigIntegerField(default=0)),
                ('skipped', models.BigIntegerField(default=0, verbose_name='already there')),
                ('updated', models.BigIntegerField(default=0, verbose_name='stages updated')),
                ('rejected', models.BigIntegerField(default=0, verbose_name='refused')),
                ('normalized', models.BigIntegerField(default=0, verbose_name='stages normalized')),
                ('unknown', models.BigIntegerField(default=0, verbose_name='stages undecided')),
                ('outside', models.BigIntegerField(default=0, verbose_name='stages outside')),
                ('first_company', models.BigIntegerField(null=True)),
                ('last_company', models.BigIntegerField(null=True)),
                ('undone_at', models.DateTimeField(null=True)),
                ('undone_by', models.CharField(blank=True, max_length=150)),
                ('removed', models.BigIntegerField(null=True, verbose_name='removed by the undo')),
                ('kept', models.BigIntegerField(null=True, verbose_name='kept, because changed since')),
                ('gone', models.BigIntegerField(null=True, verbose_name='already gone')),
                ('fund', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='imports', to='portfolio.fund')),
            ],
            options={
                'verbose_name': 'import of companies',
                'verbose_name_plural': 'imports of companies',
                'ordering': ['-id'],
            },
        ),
        migrations.AddField(
            model_name='portfoliocompany',
            name='from_import',
            field=models.ForeignKey(db_constraint=False, db_index=False, editable=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='companies', to='portfolio.companyimport'),
        ),
        migrations.AddIndex(
            model_name='companyimport',
            index=models.Index(fields=['fund', '-id'], name='imports_fund_id'),
        ),
    ]
