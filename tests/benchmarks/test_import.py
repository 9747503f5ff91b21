"""Rows per CPU second of an import, client and database together, and its memory.

The import is compared with the path that it replaced (the same checks and `bulk_create`, no keys),
and with the least that a database can do: `COPY` of the file into a temporary table and one
`INSERT … SELECT`, without checks. With keys it fills the same indexes as the import; without them
it writes less than the import has to.

Each round runs all paths, in turns forwards and backwards, on an empty table after a checkpoint.
The CPU time is that of this process and of every process of the database server (session, WAL
writer, checkpointer), so it depends on other programs only through shared caches. The figures are
medians of the ratios of the rounds.
"""

from __future__ import annotations

import csv
import gc
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from itertools import islice
from pathlib import Path
from statistics import median

import psutil
import pytest
from django.db import connection, transaction

from normalization.stages import BUILTIN, normalize, stage_name
from stagenorm.portfolio.imports.imported_file import open_file
from stagenorm.portfolio.imports.importing import ImportRequest, run
from stagenorm.portfolio.models import CompanyImport, Fund, PortfolioCompany
from tests import children
from tests.backfill_runs import address, execute
from tests.benchmarks.harness import Ratio, hold

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
ROWS = int(os.environ.get("IMPORT_ROWS", "30000"))
ROUNDS = int(os.environ.get("IMPORT_ROUNDS", "13"))
LARGE_ROWS = int(os.environ.get("IMPORT_LARGE_ROWS", "5000000"))
STAGES = ("seed", "Series A", "series-b", "Seed Round", "Angel", "Venture - Series Unknown", "")
SECTORS = ("Health", "FinTech", "Robots", "Media", "Energy, water", "")
HEADER = "name,stage,status,sector,invested_usd,invested_at\n"
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
USD = re.compile(r"[0-9]{1,14}(?:\.[0-9]{1,2})?")


def write_companies(path: Path, rows: int) -> None:
    """Write a file with the variety of a real one."""
    chance = random.Random(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(HEADER)
        writer = csv.writer(file, lineterminator="\n")
        for number in range(rows):
            day = f"20{chance.randrange(10, 25)}-{chance.randrange(1, 13):02}-15"
            usd = str(chance.randrange(1, 400) * 50_000)
            stage, sector = chance.choice(STAGES), chance.choice(SECTORS)
            writer.writerow((f"Company {number}", stage, "active", sector, usd, day))


def former_path(path: Path, fund: Fund) -> None:
    """Import as the former code did: the same checks a line, and `bulk_create` of 2,000."""

    def companies() -> object:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            width = len(next(reader))
            for name, stage, status, sector, usd, day in reader:
                assert width == 6
                assert 0 < len(name.strip()) <= 200
                assert len(stage) <= 255
                assert status.strip().lower() in PortfolioCompany.Status.values
                assert len(sector.strip()) <= 100
                assert USD.fullmatch(usd.strip())
                assert DAY.fullmatch(day.strip())
                yield PortfolioCompany(
                    fund=fund,
                    name=name.strip(),
                    stage_raw=stage,
                    stage=stage_name(normalize(stage, BUILTIN)),
                    status=status.strip().lower(),
                    sector=sector.strip(),
                    invested_usd=Decimal(usd.strip()),
                    invested_at=date.fromisoformat(day.strip()),
                )

    with transaction.atomic():
        made = iter(companies())  # type: ignore[call-overload]
        while batch := list(islice(made, 2_000)):
            PortfolioCompany.objects.bulk_create(batch)


def bare_path(path: Path, fund: Fund) -> None:
    """COPY the file as it is, and insert its rows with one statement, the key included."""
    insert_bare(path, fund, ", source_key", ", md5(concat_ws(',', name, sector, day))::uuid")


def keyless_path(path: Path, fund: Fund) -> None:
    """COPY the file as it is, and insert its rows with one statement, without a key."""
    insert_bare(path, fund)


def insert_bare(path: Path, fund: Fund, column: str = "", value: str = "") -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE plain (name text, stage text, status text, sector text, "
            "usd numeric, day date) ON COMMIT DROP"
        )
        with (
            cursor.copy("COPY plain FROM STDIN (FORMAT csv, HEADER)") as copy,
            path.open("rb") as file,
        ):
            while chunk := file.read(65_536):
                copy.write(chunk)
        cursor.execute(
            "INSERT INTO portfolio_companies (fund_id, name, stage_raw, stage, status, sector, "
            f"invested_usd, invested_at, created_at, updated_at{column}) "
            "SELECT %s, name, coalesce(stage, ''), CASE stage WHEN 'seed' THEN 'seed' "
            "WHEN 'Seed Round' THEN 'seed' WHEN 'Series A' THEN 'series-a' "
            "WHEN 'series-b' THEN 'series-b' END, status, coalesce(sector, ''), usd, day, "
            f"now(), now(){value} FROM plain",
            [fund.pk],
        )


def new_path(path: Path, fund: Fund) -> None:
    """Carry out a plan."""
    with open_file(path) as file:
        run(ImportRequest(file, fund), approved=PLANS[path], actor="bench")


PLANS: dict[Path, str] = {}
ImportPath = Callable[[Path, Fund], None]


@pytest.fixture
def quiet_table() -> Iterator[None]:
    """The table of companies without autovacuum, in a session without parallel workers."""
    execute("ALTER TABLE portfolio_companies SET (autovacuum_enabled = off)")
    execute("SET max_parallel_workers_per_gather = 0")
    yield
    execute("ALTER TABLE portfolio_companies RESET (autovacuum_enabled)")
    execute("RESET max_parallel_workers_per_gather")


def cpu_seconds() -> float:
    """Return the CPU time of this process and of the database server with all its processes."""
    [[session]] = execute("SELECT pg_backend_pid()")
    server = psutil.Process(session).parent()
    assert server
    own = psutil.Process()
    return sum(sum(each.cpu_times()[:4]) for each in (own, server)) + sum(
        sum(child.cpu_times()[:2]) for child in server.children()
    )


def spent(work: ImportPath, path: Path, fund: Fund) -> float:
    """Return the CPU seconds of one import into an empty table."""
    execute("TRUNCATE portfolio_companies, portfolio_companyimport")
    execute("CHECKPOINT")
    gc.collect()
    before = cpu_seconds()
    work(path, fund)
    after = cpu_seconds()
    assert PortfolioCompany.objects.count() == ROWS
    return after - before


@pytest.mark.timeout(3600)
def test_an_import_against_the_former_path_and_against_copying_alone(
    tmp_path: Path, quiet_table: None
) -> None:
    fund = Fund.objects.create(name="Bench")
    path = tmp_path / "companies.csv"
    write_companies(path, ROWS)
    with open_file(path) as file:
        PLANS[path] = run(ImportRequest(file, fund)).hash
    # The import runs beside the former path and beside the bare one in every round.
    paths: tuple[ImportPath, ...] = (former_path, new_path, bare_path, keyless_path)
    rounds = []
    for number in range(ROUNDS):
        turn = paths if number % 2 else paths[::-1]
        rounds.append({work: spent(work, path, fund) for work in turn})
    rates = {work: ROWS / median(each[work] for each in rounds) for work in paths}
    note = ", ".join(f"{work.__name__} {rate:,.0f}/s" for work, rate in rates.items())

    def over(base: ImportPath) -> float:
        return median(each[base] / each[new_path] for each in rounds)

    rate = "import: rows per CPU second ÷"
    ratios = [
        Ratio(f"{rate} former path", 3, over(former_path), at_least=True, note=note),
        Ratio(f"{rate} COPY and INSERT alone", 0.5, over(bare_path), at_least=True),
        Ratio(f"{rate} the same without keys", 0.5, over(keyless_path), at_least=True),
    ]
    for ratio in ratios:
        hold(ratio)


@pytest.mark.timeout(3600)
def test_five_million_rows_and_a_cell_of_100_mb_in_flat_memory(tmp_path: Path) -> None:
    fund = Fund.objects.create(name="Bench")
    path = tmp_path / "companies.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("name,stage,sector\nBig,seed," + "x" * 100_000_000 + "\n")
        for number in range(LARGE_ROWS):
            file.write(f"Company {number},Series A,Robots\n")
    line = [sys.executable, "manage.py", "import_companies", str(path), "--fund", str(fund.pk)]
    printed, of_plan = output_and_peak(line)
    assert f"New            {LARGE_ROWS:,}" in printed
    assert re.search(r"Refused        1\b", printed)
    assert not CompanyImport.objects.exists()
    approved = re.findall(r"--apply ([0-9a-f]{16})", printed)
    _, of_import = output_and_peak([*line, "--apply", approved[0]])
    record = CompanyImport.objects.get()
    assert (record.imported, record.rejected) == (LARGE_ROWS, 1)
    assert PortfolioCompany.objects.filter(fund=fund).count() == LARGE_ROWS
    ratios = [
        Ratio(f"import: memory of the plan of {LARGE_ROWS:,} rows", 150, of_plan, unit="MiB"),
        Ratio(f"import: memory of the import of {LARGE_ROWS:,} rows", 150, of_import, unit="MiB"),
    ]
    for ratio in ratios:
        hold(ratio)


def output_and_peak(line: list[str]) -> tuple[str, float]:
    """Run a command to its end; return its output and its greatest memory in MiB."""
    process = children.start(
        line,
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": address()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    measured = psutil.Process(process.pid)
    peak = 0.0
    while process.poll() is None:
        try:
            peak = max(peak, measured.memory_info().rss / 2**20)
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    assert process.stdout
    return process.stdout.read().decode(), peak
