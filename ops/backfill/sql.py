"""The SQL of the backfill. `StageColumn.sql` fills in {table}, {column}, {key} and {span}.

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
SELECT {column} COLLATE "C" AS raw, count(*), {span}
FROM {table} WHERE {column} IS NOT NULL GROUP BY 1 ORDER BY 1
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

# `seen` comes before `written`, so that the page is read before its rows have two versions. The
# statement refers to spellings by their number `n`: sorting 24,000 rows by text costs a third of
# the time that writing them takes.
APPLY_PAGE = """
WITH spelling AS (
    SELECT * FROM unnest(%(raws)s::text[], %(stages)s::text[])
        WITH ORDINALITY AS spelling (raw, stage, n)
), held AS MATERIALIZED (
    SELECT t.{key} AS id, spelling.n::int AS n, spelling.stage
    FROM {table} AS t JOIN spelling ON spelling.raw = t.{column} COLLATE "C"
    WHERE t.{key} > %(after)s AND t.{key} <= %(end)s
    FOR NO KEY UPDATE OF t {skip_locked}
), changed AS (
    UPDATE {table} AS t SET {column} = held.stage FROM held
    WHERE t.{key} = held.id AND t.{key} > %(after)s AND t.{key} <= %(end)s
    RETURNING held.id, held.n
), logged AS (
    INSERT INTO stage_normalization_log
        (run_id, batch, table_name, column_name, before, after, ids, rows)
    SELECT %(run)s, %(batch)s, %(table_name)s, %(column_name)s, raw, stage, ids, cardinality(ids)
    FROM (SELECT n, array_agg(id ORDER BY id) AS ids FROM changed GROUP BY n) AS written
    JOIN spelling USING (n)
    RETURNING rows
)
SELECT 'seen', {column} COLLATE "C", count(*) FROM {table}
WHERE {key} > %(after)s AND {key} <= %(end)s GROUP BY 2
UNION ALL
SELECT 'written', NULL, coalesce(sum(rows), 0) FROM logged
"""

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

# An undo reads the log once, so it waits for locked rows; after lock_timeout the batch is retried.
# `met` counts the rows that the undo leaves alone; the reasons are kept on the checkpoint.
UNDO_PAGE = """
WITH entry AS MATERIALIZED (
    SELECT written.id, log.before, log.after
    FROM stage_normalization_log AS log, unnest(log.ids) AS written (id)
    WHERE log.run_id = %(undoes)s AND log.batch = %(undo_batch)s
      AND log.table_name = %(table_name)s AND log.column_name = %(column_name)s
      AND written.id > %(after)s AND written.id <= %(end)s
), met AS MATERIALIZED (
    SELECT entry.id, CASE WHEN t.{key} IS NULL THEN 'deleted'
                          WHEN t.{column} COLLATE "C" = entry.before THEN 'as before already'
                          WHEN t.{column} COLLATE "C" IS DISTINCT FROM entry.after
                          THEN 'changed since'
                     END AS reason
    FROM entry LEFT JOIN {table} AS t
        ON t.{key} = entry.id AND t.{key} > %(after)s AND t.{key} <= %(end)s
), held AS MATERIALIZED (
    SELECT t.{key} AS id, entry.before, entry.after
    FROM {table} AS t JOIN entry ON entry.id = t.{key} AND t.{column} COLLATE "C" = entry.after
    WHERE t.{key} > %(after)s AND t.{key} <= %(end)s
    FOR NO KEY UPDATE OF t
), changed AS (
    UPDATE {table} AS t SET {column} = held.before FROM held
    WHERE t.{key} = held.id AND t.{key} > %(after)s AND t.{key} <= %(end)s
    RETURNING held.id, held.after AS raw, t.{column} AS stage
), logged AS (
    INSERT INTO stage_normalization_log
        (run_id, batch, table_name, column_name, before, after, ids, rows)
    SELECT %(run)s, %(batch)s, %(table_name)s, %(column_name)s, raw, stage,
           array_agg(id ORDER BY id), count(*)
    FROM changed GROUP BY raw, stage
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

UNCLEAN = """
SELECT {column} COLLATE "C", count(*) FROM (
    SELECT {column} FROM {table}
    WHERE {column} COLLATE "C" <> ALL (%(canonical)s::text[]) LIMIT %(limit)s
) AS unclean GROUP BY 1 ORDER BY 2 DESC, 1
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
VALIDATE_CONSTRAINT = "ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}"
DROP_CONSTRAINT = "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}"

# The sample has the table's own indexes and is private to this session: it measures what rewriting
# a row costs without touching a row.
SAMPLE_TABLE = """
CREATE TEMPORARY TABLE stage_sample (LIKE {table} INCLUDING INDEXES) ON COMMIT DROP
"""
SAMPLE_ROWS = """
INSERT INTO pg_temp.stage_sample
SELECT * FROM {table} WHERE {column} COLLATE "C" = ANY (%(raws)s) LIMIT %(size)s
"""
SAMPLE_UPDATE = """
UPDATE pg_temp.stage_sample AS t SET {column} = spelling.stage
FROM unnest(%(raws)s::text[], %(stages)s::text[]) AS spelling (raw, stage)
WHERE t.{column} COLLATE "C" = spelling.raw
"""
