"""Strategy rows, second of two: where `stage` is NULL, the stage is what is spelled; then no NULL comes in again.

A spelling that is unknown becomes an unknown stage. One that an earlier backfill had made canonical (it took the
spellings then) becomes that stage; the client's words are in stage_normalization_log, and `--undo` of that run gives
them back to `spelling`.

Locks: no transaction around it all. Rows are filled 5,000 a transaction, locked in the order of their ids as PATCH
does. The CHECK is added NOT VALID and taken away under ACCESS EXCLUSIVE for a moment each (5 s at most are waited for
it), validated while others read and write, and spares SET NOT NULL the look at every row. Whatever interrupts it,
`migrate` run again goes on. Processes of the release before cannot store unknown stages from the CHECK on.

Backwards an unknown stage is NULL again, and of several rows with one stage all but the first: the release before adds
them up by their spelling. Stop the service for that.
"""

from django.db import migrations

import normalization.fields

ROWS = 5_000

FILL = """
WITH page AS MATERIALIZED (
    SELECT id FROM portfolio_strategystageallocation
    WHERE id > %(after)s AND stage IS NULL ORDER BY id LIMIT %(rows)s FOR NO KEY UPDATE
), filled AS (
    UPDATE portfolio_strategystageallocation AS t SET stage = spelling FROM page WHERE t.id = page.id
)
SELECT max(id) FROM page
"""

EMPTY = """
WITH page AS MATERIALIZED (
    SELECT id FROM portfolio_strategystageallocation AS t
    WHERE id > %(after)s
      AND (stage NOT IN ('pre-seed', 'seed', 'series-a', 'series-b', 'series-c', 'series-c+')
           OR EXISTS (SELECT FROM portfolio_strategystageallocation AS first
                      WHERE first.strategy_id = t.strategy_id AND first.stage = t.stage AND first.position < t.position))
    ORDER BY id LIMIT %(rows)s FOR NO KEY UPDATE
), emptied AS (
    UPDATE portfolio_strategystageallocation AS t SET stage = NULL FROM page WHERE t.id = page.id
)
SELECT max(id) FROM page
"""

# No NULL comes in from here on; the rows that came in while the others were filled are filled after it.
REFUSE_NULL = """
ALTER TABLE portfolio_strategystageallocation
    DROP CONSTRAINT IF EXISTS allocations_stage_not_null,
    ADD CONSTRAINT allocations_stage_not_null CHECK (stage IS NOT NULL) NOT VALID
"""
HOLD = (
    "ALTER TABLE portfolio_strategystageallocation VALIDATE CONSTRAINT allocations_stage_not_null",
    "ALTER TABLE portfolio_strategystageallocation ALTER COLUMN stage SET NOT NULL",
    "ALTER TABLE portfolio_strategystageallocation DROP CONSTRAINT allocations_stage_not_null",
)
LET_GO = """
ALTER TABLE portfolio_strategystageallocation
    DROP CONSTRAINT IF EXISTS allocations_stage_not_null, ALTER COLUMN stage DROP NOT NULL
"""


def forward(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        walk(cursor, FILL)
        cursor.execute("SET lock_timeout = '5s'")
        try:
            cursor.execute(REFUSE_NULL)
            walk(cursor, FILL)
            for statement in HOLD:
                cursor.execute(statement)
        finally:
            cursor.execute("RESET lock_timeout")


def backward(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(LET_GO)
        walk(cursor, EMPTY)


def walk(cursor, statement):
    after = 0
    while after is not None:
        cursor.execute(statement, {"after": after, "rows": ROWS})
        after = cursor.fetchone()[0]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("portfolio", "0004_stage_of_allocations_any_text")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(forward, backward)],
            state_operations=[
                migrations.AlterField(
                    model_name="strategystageallocation",
                    name="stage",
                    field=normalization.fields.StageField(max_length=255),
                )
            ],
        )
    ]
