"""The SQL of the backfill. `StageColumn.sql` fills in {table}, {column}, {source}, {key}, {raw}.

Note on texts: a derived column has its text in {source}. Rows of an earlier release have it in
{column} until a run has filled {source}; {raw} is the text of either. A column without a source is
its own text. `page_statement` makes one statement of APPLY_PAGE for each of these cases.

Note on comparing: stages are compared COLLATE "C", byte for byte. A column under a collation that
treats `SERIES A` and `series a` as equal is normalized too.

Note on locks: APPLY_PAGE locks the rows that it will change before it changes them, and skips rows
that a client holds (SKIP LOCKED). It never waits for a row while it holds others, so it causes no
deadlock with a client. The next pass takes the skipped rows. FOR NO KEY UPDATE lets inserts that
refer to the row continue. PostgreSQL compares the newest value of a locked row once more
(EvalPlanQual), so the value that is overwritten is the value that was read: no update is lost.

Note on page bounds: the end of the page is queried first and comes back as a literal. The planner
then sees how few rows the page has and uses the primary key, however large the table is.
"""

SURVEY = """
SELECT {raw} COLLATE "C", {column} COLLATE "C", {unfilled}, count(*), {span}
FROM {table} WHERE {raw} IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""

ROWS_OF_PASS = """
SELECT count(*) FROM {table} WHERE {key} > %(after)s AND {key} <= %(until)s
"""  # noqa: S105 (a statement, not a password)

PAGE_END = """
SELECT max(id), count(*) FROM (
    SELECT {key} AS id FROM {table} WHERE {key} > %(after)s AND {key} <= %(until)s
    ORDER BY {key} LIMIT %(size)s
) AS page
"""

# What the rows of a page hold: the statement below gets those combinations that are to change.
PAGE_TEXTS = """
{with_words}
SELECT {text} COLLATE "C", t.{column} COLLATE "C", {fills}, count(*)
FROM {table} AS t {of_words}
WHERE t.{key} > %(after)s AND t.{key} <= %(end)s GROUP BY 1, 2, 3
"""

# A row of `spelling` is a text, what the column holds beside it, and what it becomes. The rows of
# the table carry its number `n`, and the keys of each number are sorted alone: sorting 24,000 rows
# by their texts costs a twentieth of the time that writing them takes. A row that a client changes
# after PAGE_TEXTS matches no combination, or another one; the next pass takes what is left. The
# CASE hides the comparison from the planner, which would expect one match in 200 rows and look
# each row up by its key.
APPLY_PAGE = """
WITH {words} spelling AS (
    SELECT * FROM unnest(
        %(raws)s::text[], %(befores)s::text[], %(filled)s::boolean[], %(stages)s::text[]
    ) WITH ORDINALITY AS spelling (raw, before, filled, stage, n)
), held AS MATERIALIZED (
    SELECT t.{key} AS id, spelling.n::int AS n, spelling.stage{held_raw}
    FROM {table} AS t {of_words} JOIN spelling ON spelling.raw = {text} COLLATE "C"
    WHERE t.{key} > %(after)s AND t.{key} <= %(end)s AND CASE
        WHEN t.{column} COLLATE "C" IS NOT DISTINCT FROM spelling.before
            THEN spelling.filled = ({fills}) END
    FOR NO KEY UPDATE OF t {skip_locked}
), changed AS (
    UPDATE {table} AS t SET {column} = held.stage{filling} FROM held
    WHERE t.{key} = held.id AND t.{key} > %(after)s AND t.{key} <= %(end)s
    RETURNING held.id, held.n
), logged AS (
    INSERT INTO stage_normalization_log
        (run_id, batch, table_name, column_name, before, after, raw, filled, ids, rows)
    SELECT %(run)s, %(batch)s, %(table_name)s, %(column_name)s, before, stage, {logged_raw},
           filled, ascending, cardinality(ids)
    FROM (SELECT n, array_agg(id) AS ids FROM changed GROUP BY n) AS written
        JOIN spelling USING (n),
        LATERAL (SELECT array_agg(id ORDER BY id) AS ascending FROM unnest(ids) AS id) AS sorted
    RETURNING rows
)
SELECT coalesce(sum(rows), 0) FROM logged
"""

# The client's words of rows without a source, as far as the log of earlier runs has them. `chain`
# goes through the logged changes of a row. A change is `broken` if the next one, or the row, does
# not hold what it wrote: someone else wrote in between. The words are what the first change after
# the last break replaced. `held` is what the row held then: a client may write it meanwhile.
# The index on the range of the ids finds the entries of the page.
WORDS = """entry AS MATERIALIZED (
    SELECT written.id, log.id AS n,
           log.before COLLATE "C" AS before, log.after COLLATE "C" AS after
    FROM stage_normalization_log AS log, unnest(log.ids) AS written (id)
    WHERE log.table_name = %(table_name)s AND log.column_name = %(column_name)s
      AND int8range(log.ids[1], log.ids[cardinality(log.ids)], '[]')
          && int8range(%(after)s, %(end)s, '(]')
      AND written.id > %(after)s AND written.id <= %(end)s
), chain AS (
    SELECT entry.id, entry.n, entry.before, t.{column} COLLATE "C" AS held,
           entry.after IS DISTINCT FROM lead(entry.before, 1, t.{column} COLLATE "C")
               OVER (PARTITION BY entry.id ORDER BY entry.n) AS broken
    FROM entry JOIN {table} AS t ON t.{key} = entry.id
    WHERE t.{source} IS NULL AND t.{key} > %(after)s AND t.{key} <= %(end)s
), unbroken AS (
    SELECT *, coalesce(max(n) FILTER (WHERE broken) OVER (PARTITION BY id), 0) AS break FROM chain
), words AS MATERIALIZED (
    SELECT DISTINCT ON (id) id, held, before AS raw FROM unbroken
    WHERE n > break AND before IS NOT NULL ORDER BY id, n
)"""

OF_WORDS = "LEFT JOIN words ON words.id = t.{key}"
TEXT_OF_WORDS = """coalesce(t.{source},
    CASE WHEN t.{column} COLLATE "C" = words.held THEN words.raw END, t.{column})"""

FILLING = ", {source} = coalesce(t.{source}, held.raw)"

UNFILLED = "SELECT EXISTS (SELECT FROM {table} WHERE {unfilled})"

LAST_BATCH_BEFORE = """
SELECT max(batch) FROM stage_normalization_log
WHERE run_id = %(undoes)s AND table_name = %(table_name)s AND column_name = %(column_name)s
  AND batch < %(batch)s
"""

UNDO_END = """
SELECT max(id), count(*) FROM (
    SELECT written.id FROM stage_normalization_log AS log, unnest(log.ids) AS written (id)
    WHERE log.run_id = %(undoes)s AND log.batch = %(undo_batch)s
      AND log.table_name = %(table_name)s AND log.column_name = %(column_name)s
      AND written.id > %(after)s
    ORDER BY written.id LIMIT %(size)s
) AS page
"""

# Slots of UNDO_PAGE. An entry of an earlier release has no `raw`; its text is in `before`.
SAME_WORDS = """(t.{source} IS NULL
                 OR t.{source} COLLATE "C" = coalesce(entry.raw, entry.before))"""
AS_BEFORE = "(t.{source} IS NULL OR NOT entry.filled)"
EMPTYING = ", {source} = CASE WHEN held.filled THEN NULL ELSE t.{source} END"

# An undo reads the log once, so it waits for locked rows; after lock_timeout the batch is retried.
# `met` counts the rows that the undo leaves alone; the reasons are kept on the checkpoint.
UNDO_PAGE = """
WITH entry AS MATERIALIZED (
    SELECT written.id, log.before COLLATE "C" AS before, log.after COLLATE "C" AS after,
           log.raw COLLATE "C" AS raw, log.filled
    FROM stage_normalization_log AS log, unnest(log.ids) AS written (id)
    WHERE log.run_id = %(undoes)s AND log.batch = %(undo_batch)s
      AND log.table_name = %(table_name)s AND log.column_name = %(column_name)s
      AND written.id > %(after)s AND written.id <= %(end)s
), met AS MATERIALIZED (
    SELECT entry.id,
           CASE WHEN t.{key} IS NULL THEN 'deleted'
                WHEN t.{column} COLLATE "C" IS NOT DISTINCT FROM entry.before AND {as_before}
                THEN 'as before already'
                WHEN t.{column} COLLATE "C" IS DISTINCT FROM entry.after OR NOT {same_words}
                THEN 'changed since'
           END AS reason
    FROM entry LEFT JOIN {table} AS t
        ON t.{key} = entry.id AND t.{key} > %(after)s AND t.{key} <= %(end)s
), held AS MATERIALIZED (
    SELECT t.{key} AS id, entry.before, entry.after, entry.raw, entry.filled
    FROM {table} AS t JOIN entry ON entry.id = t.{key}
        AND t.{column} COLLATE "C" IS NOT DISTINCT FROM entry.after AND {same_words}
        AND (entry.filled OR entry.before IS DISTINCT FROM entry.after)
    WHERE t.{key} > %(after)s AND t.{key} <= %(end)s
    FOR NO KEY UPDATE OF t
), changed AS (
    UPDATE {table} AS t SET {column} = held.before{emptying} FROM held
    WHERE t.{key} = held.id AND t.{key} > %(after)s AND t.{key} <= %(end)s
    RETURNING held.id, held.after AS before, held.before AS after, held.raw
), logged AS (
    INSERT INTO stage_normalization_log
        (run_id, batch, table_name, column_name, before, after, raw, filled, ids, rows)
    SELECT %(run)s, %(batch)s, %(table_name)s, %(column_name)s, before, after, raw, false,
           array_agg(id ORDER BY id), count(*)
    FROM changed GROUP BY before, after, raw
    RETURNING rows
)
SELECT reason, count(*), (array_agg(id ORDER BY id))[1:20] FROM met
WHERE reason IS NOT NULL GROUP BY reason
UNION ALL
SELECT 'written', coalesce(sum(rows), 0), NULL FROM logged
"""

FENCE = """
SELECT batch FROM stage_migration_control
WHERE id = %(run)s AND lease_token = %(token)s AND state = 'running' FOR UPDATE
"""

RENEW = """
UPDATE stage_migration_control SET heartbeat_at = clock_timestamp(), waiting_for = %(waiting_for)s
WHERE id = %(run)s AND lease_token = %(token)s RETURNING state
"""

ADVANCE_RUN = """
UPDATE stage_migration_control
SET batch = %(batch)s, batch_size = %(size)s, working_seconds = working_seconds + %(seconds)s,
    heartbeat_at = clock_timestamp(), waiting_for = ''
WHERE id = %(run)s
"""

ADVANCE_CHECKPOINT = """
UPDATE stage_migration_checkpoint
SET cursor = %(cursor)s, undo_batch = %(undo_batch)s, scanned = scanned + %(scanned)s,
    changed = changed + %(changed)s, skipped = skipped + %(skipped)s,
    left_alone = %(left_alone)s::jsonb, updated_at = clock_timestamp()
WHERE id = %(checkpoint)s
"""

# The age of the heartbeat in seconds (NULL without a holder); whether its connection is open.
LEASE = """
SELECT CASE WHEN lease_token IS NOT NULL
            THEN extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 END,
       EXISTS (SELECT FROM pg_stat_activity WHERE pid = lease_backend)
FROM stage_migration_control WHERE id = %(run)s
"""

# For this transaction only: a pooled connection keeps none of these settings.
LIMITS = """
SELECT set_config('lock_timeout', %(lock)s, true),
       set_config('statement_timeout', %(statement)s, true),
       set_config('idle_in_transaction_session_timeout', %(idle)s, true)
"""

WAITERS_FOR_US = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND locktype = 'transactionid'
  AND transactionid = pg_current_xact_id_if_assigned()::xid
"""

REPLICA_LAG = """
SELECT application_name, extract(epoch FROM replay_lag)::float8 FROM pg_stat_replication
WHERE replay_lag > make_interval(secs => %(seconds)s) ORDER BY replay_lag DESC LIMIT 1
"""

LONG_LOCK_WAIT = """
SELECT pid, extract(epoch FROM clock_timestamp() - waitstart)::float8, mode FROM pg_locks
WHERE NOT granted AND relation = %(table)s::regclass
  AND waitstart < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY waitstart LIMIT 1
"""

# The index on (source, column) that the four statements below need: each of them then reads a few
# entries a distinct text, however many rows the table has.
TEXT_INDEX = """
SELECT EXISTS (
    SELECT FROM pg_index AS i
    JOIN pg_attribute AS source ON source.attrelid = i.indrelid AND source.attnum = i.indkey[0]
    JOIN pg_attribute AS stage ON stage.attrelid = i.indrelid AND stage.attnum = i.indkey[1]
    WHERE i.indrelid = %(table)s::regclass AND i.indisvalid AND i.indpred IS NULL
      AND source.attname = %(source)s AND stage.attname = %(column)s
      AND i.indcollation[0] = '"C"'::regcollation AND i.indcollation[1] = '"C"'::regcollation
)
"""

# A "loose index scan": one descent of the index for each distinct text. The order names both
# columns, because PostgreSQL does not see that a source that IS NULL needs no order.
DISTINCT_TEXTS = """
WITH RECURSIVE spelling (raw) AS (
    (SELECT t.{text} COLLATE "C" FROM {table} AS t WHERE {condition}
     ORDER BY t.{source} COLLATE "C", t.{column} COLLATE "C" LIMIT 1)
    UNION ALL
    SELECT (SELECT t.{text} COLLATE "C" FROM {table} AS t
            WHERE {condition} AND t.{text} COLLATE "C" > spelling.raw
            ORDER BY t.{source} COLLATE "C", t.{column} COLLATE "C" LIMIT 1)
    FROM spelling WHERE spelling.raw IS NOT NULL
)
SELECT raw FROM spelling WHERE raw IS NOT NULL LIMIT %(limit)s
"""

# All rows; those that do not hold what their text gives; those without a source. Each branch is a
# range of the index. One comparison IS DISTINCT FROM would read every row. The limit and the order
# of each branch make the planner read its range in the index, only as far as needed.
COUNTS = """
SELECT (SELECT count(*) FROM {table} WHERE {raw} IS NOT NULL), (SELECT count(*) FROM (
    SELECT FROM unnest(%(raws)s::text[], %(stages)s::text[]) AS spelling (raw, stage)
    CROSS JOIN LATERAL (
        (SELECT 1 FROM {table} AS t
         WHERE t.{source} COLLATE "C" = spelling.raw AND t.{column} COLLATE "C" < spelling.stage
         ORDER BY t.{source} COLLATE "C", t.{column} COLLATE "C" LIMIT %(limit)s)
        UNION ALL
        (SELECT 1 FROM {table} AS t
         WHERE t.{source} COLLATE "C" = spelling.raw AND t.{column} COLLATE "C" > spelling.stage
         ORDER BY t.{source} COLLATE "C", t.{column} COLLATE "C" LIMIT %(limit)s)
        UNION ALL
        (SELECT 1 FROM {table} AS t WHERE spelling.stage IS NOT NULL
         AND t.{source} COLLATE "C" = spelling.raw AND t.{column} IS NULL
         ORDER BY t.{source} COLLATE "C", t.{column} COLLATE "C" LIMIT %(limit)s)
        UNION ALL
        (SELECT 1 FROM {table} AS t WHERE spelling.stage IS NULL
         AND t.{source} COLLATE "C" = spelling.raw AND t.{column} IS NOT NULL
         ORDER BY t.{source} COLLATE "C", t.{column} COLLATE "C" LIMIT %(limit)s)
    ) AS wrong LIMIT %(limit)s
) AS counted), (SELECT count(*) FROM (
    SELECT FROM {table} WHERE {unfilled} LIMIT %(limit)s
) AS waiting)
"""

ROWS_OF_TEXTS = """
SELECT t.{text} COLLATE "C", count(*) FROM {table} AS t
WHERE {condition} AND t.{text} COLLATE "C" = ANY (%(raws)s::text[]) GROUP BY 1
"""

# The column's own constraints by name: two columns of a table may share the cut form of a name.
CONSTRAINTS = """
SELECT c.conname, c.convalidated, pg_get_constraintdef(c.oid)
FROM pg_constraint AS c
JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
WHERE c.conrelid = %(table)s::regclass AND c.contype = 'c' AND a.attname = %(column)s
  AND c.conname = ANY (%(names)s::text[]) ORDER BY c.conname
"""

ADD_CONSTRAINT = """
ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({column} IN ({stages})) NOT VALID
"""
ADD_DERIVED_CONSTRAINT = """
ALTER TABLE {table} ADD CONSTRAINT {constraint}
    CHECK ({column} IS NULL OR {column} IN ({stages})) NOT VALID
"""
ADD_SOURCE_CONSTRAINT = """
ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({source} IS NOT NULL) NOT VALID
"""
REQUIRE_SOURCE = "ALTER TABLE {table} ALTER COLUMN {source} SET NOT NULL"
RELEASE_SOURCE = "ALTER TABLE {table} ALTER COLUMN {source} DROP NOT NULL"
SOURCE_REQUIRED = """
SELECT attnotnull FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attname = %(source)s
"""
VALIDATE_CONSTRAINT = "ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}"
DROP_CONSTRAINT = "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}"

# The sample has the table's own indexes and is private to this session: it measures what rewriting
# a row costs without touching a row.
SAMPLE_TABLE = """
CREATE TEMPORARY TABLE stage_sample (LIKE {table} INCLUDING INDEXES) ON COMMIT DROP
"""
SAMPLE_ROWS = """
INSERT INTO pg_temp.stage_sample
SELECT * FROM {table} WHERE {raw} COLLATE "C" = ANY (%(raws)s) LIMIT %(size)s
"""
SAMPLE_FILLING = ", {source} = coalesce(t.{source}, spelling.raw)"
SAMPLE_UPDATE = """
UPDATE pg_temp.stage_sample AS t SET {column} = spelling.stage{filling}
FROM unnest(%(raws)s::text[], %(stages)s::text[]) AS spelling (raw, stage)
WHERE {t_raw} COLLATE "C" = spelling.raw
"""
