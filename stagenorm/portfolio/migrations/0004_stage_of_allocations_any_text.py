"""Strategy rows, first of two: `stage` gets room for any text, and two rows of a strategy may mean one stage.

Locks: one transaction that changes the catalogue only, with ACCESS EXCLUSIVE on portfolio_strategystageallocation for
a moment, however large it is. It gives up after 5 s behind others' transactions rather than let everybody queue up
behind it; nothing is done then, and `migrate` can be run again. Backwards `stage` becomes shorter, so the table is
rewritten under that lock, and the unique index is built again.
"""

from django.db import migrations, models

import normalization.fields

LOCK_TIMEOUT = "SET LOCAL lock_timeout = '5s'"

# An earlier `normalize_stages --validate-constraint` may have held the spellings to canonical stages: clients' own
# words could not be stored. Its name is as ops/backfill/constraint.py made it.
FREE_SPELLINGS = """
ALTER TABLE portfolio_strategystageallocation
    DROP CONSTRAINT IF EXISTS portfolio_strategystageallocat_spelling_canonical
"""


class Migration(migrations.Migration):
    dependencies = [("portfolio", "0003_apikey_operator")]

    operations = [
        migrations.RunSQL(LOCK_TIMEOUT, migrations.RunSQL.noop),
        migrations.RemoveConstraint(model_name="strategystageallocation", name="allocations_one_per_stage"),
        migrations.RunSQL(FREE_SPELLINGS, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="strategystageallocation", name="spelling", field=models.CharField(max_length=255)
        ),
        migrations.AlterField(
            model_name="strategystageallocation",
            name="stage",
            field=normalization.fields.StageField(max_length=255, null=True),
        ),
        migrations.RunSQL(migrations.RunSQL.noop, LOCK_TIMEOUT),
    ]
