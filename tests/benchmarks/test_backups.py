"""The cost of a valid backup over bare tools, in turns, for BENCH_COMPANIES companies."""

from __future__ import annotations

import gc
import hashlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import psutil
import pytest
from pytest_django import DjangoDbBlocker

from ops.backups import archive, children, cycle
from ops.backups.create import BackupRequest, create
from ops.backups.models import Backup
from ops.backups.restore import restore
from ops.backups.source import source
from ops.backups.verify import verify
from tests.backup_faults import address, companies, execute
from tests.benchmarks.harness import Ratio, compare, hold
from tests.children import run

COMPANIES = int(os.environ.get("BENCH_COMPANIES", "1000000"))
ROUNDS = int(os.environ.get("BENCH_BACKUP_ROUNDS", "3"))

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1800)]


@pytest.fixture
def backup(tmp_path: Path, transactional_db: None) -> Backup:
    """A backup of so many companies."""
    companies(COMPANIES, noise=32)
    execute("ANALYZE")
    return create(BackupRequest(tmp_path))


def in_turns(
    subject: Callable[[], object], baseline: Callable[[], object], rounds: int = ROUNDS
) -> tuple[float, float, float]:
    """Seconds of both and the median ratio of the rounds; each round begins with the other one."""
    taken = []
    for number in range(rounds):
        order = (subject, baseline) if number % 2 == 0 else (baseline, subject)
        seconds = {each: elapsed(each) for each in order}
        taken.append((seconds[subject], seconds[baseline]))
    return (
        median(a for a, _ in taken),
        median(b for _, b in taken),
        median(a / b for a, b in taken),
    )


def elapsed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    gc.collect()
    started = perf_counter()
    work()
    return perf_counter() - started


def bare_dump(target: Path) -> None:
    """pg_dump as a person would run it, to disk."""
    tools = children.find_tools(180000)
    done = run([tools.pg_dump, "-Fc", "-Z1", "-f", target, f"--dbname={address()}"], seconds=3600)
    assert done.returncode == 0, done.stderr
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def bare_restore(dump: Path) -> None:
    """pg_restore into a new database as a person would run it."""
    tools = children.find_tools(180000)
    execute("CREATE DATABASE bare_restore TEMPLATE template0")
    try:
        into = source().argument("bare_restore")
        command: list[str | Path] = [
            tools.pg_restore,
            "-e",
            "-1",
            "--no-owner",
            f"--dbname={into}",
            dump,
        ]
        done = run(command, seconds=3600)
        assert done.returncode == 0, done.stderr
    finally:
        execute("DROP DATABASE bare_restore WITH (FORCE)")


def test_a_backup_that_counts_against_the_bare_tools(backup: Backup, tmp_path: Path) -> None:
    execute("CHECKPOINT")  # what making the rows left to write would run beside the first rounds
    verify(backup)

    def digest() -> None:
        with backup.path.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    whole = in_turns(digest, lambda: verify(backup), rounds=41)
    size = f"{backup.size / 1e6:.0f} MB"
    note = f"{whole[1] * 1000:.1f} ms; file_digest {whole[0] * 1000:.1f} ms; {size}"
    hold(
        Ratio(
            "verify_backup throughput / file_digest",
            goal=0.9,
            measured=whole[2],
            at_least=True,
            note=note,
        )
    )

    created = in_turns(
        lambda: create(BackupRequest(tmp_path)), lambda: bare_dump(tmp_path / "bare")
    )
    size = f"{backup.size / 1e6:.0f} MB of {COMPANIES:,} companies"
    note = f"{created[0]:.1f} s; bare {created[1]:.1f} s; {size}"
    hold(Ratio("create_backup / pg_dump -Fc -Z1", goal=2, measured=created[2], note=note))

    def drill() -> None:
        assert restore(backup).verdict == "passed"

    restored = in_turns(drill, lambda: bare_restore(backup.path))
    note = f"{restored[0]:.1f} s; bare {restored[1]:.1f} s"
    hold(Ratio("test_restore / pg_restore -e -1", goal=1.8, measured=restored[2], note=note))

    done = cycle.run(BackupRequest(tmp_path), keep=12, keep_days=7)
    assert done.passed
    hold(
        Ratio(
            "backup_cycle",
            goal=None,
            measured=done.seconds,
            unit="s",
            note=f"{COMPANIES:,} companies",
        )
    )


@pytest.fixture
def large_file(tmp_path: Path) -> Iterator[Path]:
    """Half a gigabyte that does not compress."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        for _ in range(512):
            file.write(os.urandom(1 << 20))
    yield path
    path.unlink()


def test_hashing_is_as_fast_as_file_digest_and_its_memory_is_flat(
    large_file: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    def ours() -> str:
        with archive.opened(large_file) as descriptor:
            return archive.sha256_of(descriptor)

    def theirs() -> str:
        with large_file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    assert ours() == theirs()
    both = compare(theirs, ours, rounds=9)
    speed = large_file.stat().st_size / both.baseline_ns
    hold(
        Ratio(
            "hashing throughput / file_digest",
            goal=0.9,
            measured=both.ratio,
            at_least=True,
            note=f"{speed:.2f} GB/s",
        )
    )
    tracemalloc.start()
    before = psutil.Process().memory_info().rss
    ours()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    grown = (psutil.Process().memory_info().rss - before) / 1e6
    note = f"resident size grew by {grown:.1f} MB"
    hold(Ratio("hashing memory over 512 MB", goal=4, measured=peak, unit="MB", note=note))
