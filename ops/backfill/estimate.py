"""How long a run will take, from a sample rewritten in a temporary table with the same indexes."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import structlog
from django.db import Error, connection, transaction

from ops.backfill import retry as attempts
from ops.backfill import sql as statements
from ops.backfill.columns import StageColumn

log = structlog.get_logger(__name__)

SAMPLE_ROWS = 2000
# A run does more than the sample: it locks, joins and logs each row, writes WAL (a temporary table has none), and reads
# each page three times. Measured on 1,000,000 rows: 17.6 µs a changed row where the sample took 8.7.
WRITE_FACTOR = 2.0
READS = 3
NO_SAMPLE = {
    "42501": "this role may not make temporary tables",
    "25006": "the server is read-only",
}


class _Undo(Exception):
    """Ends the sample's transaction."""


def seconds(
    column: StageColumn,
    mapping: Sequence[tuple[str, str]],
    to_change: int,
    rows: int,
    survey_seconds: float,
) -> float | None:
    """Estimated seconds of work for `column`, without back-off; None where no sample can be taken."""
    reading = READS * survey_seconds if to_change else survey_seconds
    if not to_change or not rows:
        return reading
    try:
        for_one = _seconds_for_one(column, mapping)
    except Error as error:
        if attempts.sqlstate(error) not in NO_SAMPLE:
            raise
        log.info(
            "stage_backfill_no_sample",
            table=column.table,
            reason=NO_SAMPLE[attempts.sqlstate(error)],
        )
        return None
    return reading + WRITE_FACTOR * for_one * to_change


def _seconds_for_one(column: StageColumn, mapping: Sequence[tuple[str, str]]) -> float:
    raws, stages = [raw for raw, _ in mapping], [stage for _, stage in mapping]
    parameters: dict[str, Any] = {"raws": raws, "stages": stages, "size": SAMPLE_ROWS}
    measured = 0.0
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(column.sql(statements.SAMPLE_TABLE))
            cursor.execute(column.sql(statements.SAMPLE_ROWS), parameters)
            cursor.execute("ANALYZE stage_sample")
            start = perf_counter()
            cursor.execute(column.sql(statements.SAMPLE_UPDATE), parameters)
            measured = (perf_counter() - start) / max(cursor.rowcount, 1)
            raise _Undo
    except _Undo:
        return measured
