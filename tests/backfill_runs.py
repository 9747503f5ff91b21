"""Rows to normalize, runs in this process, and the command as a process, for the tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from normalization.stages import Unknown, normalize, stage_name
from ops.backfill import columns, control
from ops.backfill.batches import apply_batch, undo_batch
from ops.backfill.columns import StageColumn
from ops.backfill.models import BackfillCheckpoint, BackfillRun, NormalizationLog, RunOptions
from ops.backfill.plan import make_plan
from ops.backfill.runner import RunResult, carry_out
from ops.backfill.session import Interrupts
from ops.backfill.survey import StoredSpelling, fresh_table, survey
from ops.backups import archive, cycle, sidecar
from ops.backups.models import Backup, BackupCheck
from ops.backups.source import own_identity
from ops.gates.backup_rule import CheckKind, CheckVerdict
from tests import children
from tests.servers import ROOT

COMPANIES = "portfolio_companies"
MESSY = [
    "Series A",
    "Seed Round",
    "series_a",
    "SERIES B",
    "Series C+",
    "Pre-Seed",
    "seed ",
    "Series B Round",
    "series_c",
]
CANONICAL = ["pre-seed", "seed", "series-a", "series-b", "series-c", "series-c+"]
UNKNOWN = ["Series X", "angel", "seriesc", "", "Seires A"]
NEW_FUND = """
INSERT INTO portfolio_fund (name, created_at) VALUES (gen_random_uuid()::text, now()) RETURNING id
"""
QUICK = RunOptions(batch_size=500, backoff_ms=0)


def execute(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run SQL over the application's connection; return the rows, if there are any."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def another_connection(alias: str) -> Iterator[BaseDatabaseWrapper]:
    """Connect a second client; a failed test releases what it holds."""
    client = connection.copy(alias)
    try:
        yield client
    finally:
        client.close()


def store(stages: Sequence[str], *, raws: Sequence[str | None] | None = None) -> list[int]:
    """Store a company for each stage as an earlier release did; returns their ids, in order.

    `raws`: the texts in `stage_raw`, as this release has them.
    """
    fund = execute(NEW_FUND)[0][0]
    names = "stage" if raws is None else "stage, stage_raw"
    rows = execute(
        "INSERT INTO portfolio_companies "
        f"(fund_id, name, {names}, status, sector, created_at, updated_at) "
        f"SELECT %s, 'company ' || n, {names}, 'active', '', '2020-01-01Z', '2020-01-01Z' "
        "FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS given (stage, stage_raw, n) "
        "ORDER BY n RETURNING id",
        [fund, list(stages), list(raws or [])],
    )
    return [row[0] for row in rows]


def store_many(rows: int, *, filled: bool = False) -> None:
    """Store `rows` companies: 60 % in other spellings, 39 % canonical, 1 % unknown.

    As an earlier release did; or, `filled`, with their text in `stage_raw`, and of the spellings
    as if they had been decided since.
    """
    fund = execute(NEW_FUND)[0][0]
    execute(
        """
        INSERT INTO portfolio_companies
            (fund_id, name, stage_raw, stage, status, sector, created_at, updated_at)
        SELECT %s, 'company ' || n, CASE WHEN %s THEN raw END,
               CASE WHEN NOT %s OR raw = ANY (%s) THEN raw END,
               'active', '', '2020-01-01Z', '2020-01-01Z'
        FROM generate_series(1::bigint, %s) AS n, LATERAL (
            SELECT CASE WHEN (n * 48271) %% 100 < 60 THEN (%s::text[])[1 + (n * 31) %% %s]
                        WHEN (n * 48271) %% 100 < 99 THEN (%s::text[])[1 + n %% %s]
                        ELSE 'Series X' END AS raw
        ) AS given ORDER BY n
        """,
        [fund, filled, filled, CANONICAL, rows, MESSY, len(MESSY), CANONICAL, len(CANONICAL)],
    )


def rewrite(raw: str, ids: Sequence[int]) -> None:
    """Write another text to companies, as a client does before the text is decided."""
    execute(
        "UPDATE portfolio_companies SET stage_raw = %s, stage = NULL WHERE id = ANY(%s)",
        [raw, list(ids)],
    )


def stored() -> dict[int, str | None]:
    """Every company's stage by id."""
    return dict(execute("SELECT id, stage FROM portfolio_companies"))


def texts() -> dict[int, str | None]:
    """Every company's own text, as copied to `stage_raw`, by id."""
    return dict(execute("SELECT id, stage_raw FROM portfolio_companies"))


def written() -> dict[int, tuple[str | None, str | None]]:
    """Every company's text and stage by id."""
    rows = execute("SELECT id, stage_raw, stage FROM portfolio_companies")
    return {key: (raw, stage) for key, raw, stage in rows}


def normalized(stages: Mapping[int, str | None]) -> dict[int, str | None]:
    """What a run has to make of the texts in `stages`: the oracle."""
    return {key: stage_name(normalize(raw)) for key, raw in stages.items()}


def changed_by(before: Mapping[int, Any], after: Mapping[int, Any]) -> set[int]:
    """The ids whose row of `written` differs."""
    return {key for key in before if before[key] != after.get(key)}


def surveyed(chosen: Callable[[StoredSpelling], bool]) -> dict[str, dict[str, int]]:
    """The rows of the chosen texts: {table: {text: rows}}."""
    table = fresh_table()
    found: dict[str, dict[str, int]] = {}
    for column in columns.find():
        for each in survey(column, table):
            if chosen(each):
                texts_of = found.setdefault(column.table, {})
                texts_of[each.raw] = texts_of.get(each.raw, 0) + each.rows
    return found


def not_derived() -> dict[str, dict[str, int]]:
    """The rows that a run would write."""
    return surveyed(lambda each: each.changes)


def undecided() -> dict[str, dict[str, int]]:
    """The rows whose text is undecided."""
    return surveyed(lambda each: isinstance(each.meaning, Unknown))


def begin(options: RunOptions = QUICK, only: Iterable[str] = ()) -> BackfillRun:
    """Return a planned run, with a backup on record so that a process can claim it."""
    if not Backup.objects.exists():
        backup_on_record()
    found = columns.find_for_run(only)
    return control.begin(make_plan(found, sample=False), found, options, "tests")


def earlier_run(columns: Sequence[StageColumn]) -> BackfillRun:
    """A run as a release before `stage_raw` made it, over columns without a source."""
    plan = make_plan(columns, sample=False)
    backup_on_record()
    run = control.begin(plan, columns, QUICK, "tests")
    BackfillCheckpoint.objects.filter(run=run).update(cursor=0, until=2**40)
    lease = control.claim(run.pk, "tests")
    for planned in plan.columns:
        apply_batch(lease, planned.column, fresh_table(), 500)
    control.complete(lease, "tests", [])
    return run


def earlier_undo(run: BackfillRun, columns: Iterable[StageColumn]) -> None:
    """An undo as a release before `stage_raw` made it."""
    undo = control.begin_undo(run.pk, QUICK, "tests")
    lease = control.claim(undo.pk, "tests")
    for column in columns:
        if undo.checkpoints.filter(table_name=column.table).exists():
            while not undo_batch(lease, column, run.pk, 500).finished:
                pass
    control.complete(lease, "tests", [])


class Heard(list[tuple[str, dict[str, Any]]]):
    """A listener that remembers events, and does `then[n]` after the n-th batch."""

    def __init__(self, **then: Any) -> None:
        super().__init__()
        self.then = then
        self.batches = 0

    def __call__(self, event: str, /, **fields: Any) -> None:
        self.append((event, fields))
        if event == "batch":
            self.batches += 1
            if act := self.then.get(f"after_{self.batches}") or self.then.get("after_each"):
                act()

    def all(self, event: str) -> list[dict[str, Any]]:
        """The fields of each `event`."""
        return [fields for name, fields in self if name == event]


def work(run: BackfillRun, tell: Any = None, options: RunOptions | None = None) -> RunResult:
    """Claim `run` in this process and carry it out."""
    interrupts = Interrupts()
    try:
        lease = control.claim(run.pk, "tests", options)
        return carry_out(
            lease, actor="tests", tell=Heard() if tell is None else tell, interrupts=interrupts
        )
    finally:
        interrupts.close()


def logged(run: BackfillRun) -> list[tuple[int, str | None, str | None]]:
    """(id, before, after) of every write of the run, as often as it is logged."""
    entries = NormalizationLog.objects.filter(run=run).order_by("batch", "id")
    return [(key, entry.before, entry.after) for entry in entries for key in entry.ids]


def valid_backup() -> None:
    """Make a real backup that the gate accepts."""
    assert cycle.run(keep=1, keep_days=1).passed


def backup_on_record() -> Backup:
    """Record a backup that passed both checks: the gate looks at the records and at the files.

    The files hold no dump. A test whose subject is the backup makes one with `valid_backup`.
    """
    settings.BACKUP_DIR.mkdir(parents=True, exist_ok=True)
    path = settings.BACKUP_DIR / f"recorded-{uuid.uuid4().hex}.dump"
    for file in (path, sidecar.record_file(path), sidecar.hash_file(path)):
        file.write_bytes(b"no dump")
    with archive.opened(path) as descriptor:
        digest, stamp = archive.sha256_of(descriptor), sidecar.stamp(descriptor, path)
    identity, host = own_identity(), socket.gethostname()
    backup = Backup.objects.create(
        name=path.name,
        directory=str(path.parent),
        host=host,
        system_identifier=identity.system_identifier,
        database=identity.database,
        database_oid=identity.oid,
        snapshot_at=timezone.now(),
        size=path.stat().st_size,
        sha256=digest,
        facts={"tables": {}, "stages": {}},
        seconds=0.0,
        created_by="tests",
    )
    for kind in CheckKind:
        BackupCheck.objects.create(
            backup=backup,
            kind=kind,
            verdict=CheckVerdict.PASSED,
            reason="recorded by a test",
            sha256=digest,
            stamp=stamp,
            seconds=0.0,
            checked_by="tests",
            host=host,
        )
    return backup


def address() -> str:
    """libpq address of the test's database."""
    from tests.conftest import _address

    return _address(connection.settings_dict)


class Command:
    """`manage.py normalize_stages` as a process of its own on the test's database."""

    def __init__(self, *arguments: str, directory: Path, url: str = "") -> None:
        environment = {
            **os.environ,
            "DATABASE_URL": url or address(),
            "PYTHONUNBUFFERED": "1",
            "LOG_LEVEL": "WARNING",
        }
        # Of the test session's own: manage.py would take the database of `make run` for it.
        self.output, self.errors = directory / "stdout", directory / "stderr"
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = children.start(
                [sys.executable, "manage.py", "normalize_stages", *arguments],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.process.kill()
        self.process.wait(60)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 120) -> int:
        """The exit status."""
        return self.process.wait(seconds)

    def lines(self) -> list[dict[str, Any]]:
        """What it has printed with --json."""
        return [
            json.loads(line)
            for line in self.output.read_text().splitlines()
            if line.startswith("{")
        ]

    def said(self) -> str:
        """Everything it has printed."""
        return self.output.read_text() + self.errors.read_text()


def wait_for(condition: Any, what: str, seconds: float = 120) -> None:
    """Ask again and again until `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.002)
