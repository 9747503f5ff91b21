"""The CPU time that commands take to start: against Django with one query, in turns."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from statistics import median

import pytest
from django.db import connection

from tests import children
from tests.backfill_runs import address
from tests.benchmarks.harness import Ratio, hold

ROOT = Path(__file__).parents[2]
ROUNDS = 5
# Django without apps and with the settings of the database alone.
BARE = """
import sys
import django
from django.conf import settings
name, host, port, user = sys.argv[1:]
database = {"ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": host, "PORT": port}
settings.configure(DATABASES={"default": {**database, "USER": user}}, INSTALLED_APPS=[])
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT id, mode FROM normalization_rolloutchange ORDER BY id DESC LIMIT 1")
    print(cursor.fetchall())
"""
COMMANDS = {
    "stage_mode show": 2.6,
    "stage_mode status": None,
    "rollout_status": None,
    "stage_clients": None,
    "stage_decisions list": None,
    "normalize_stages": None,
    "backup_status": None,
    "prune_stored --dry-run": None,
    "import_companies --help": None,
    "create_api_key --help": None,
    "check": None,
}


def cpu_seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Return the CPU time of a child process, whatever its exit status."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    children.run(arguments, cwd=ROOT, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_starts_at_once(command: str) -> None:
    given = connection.settings_dict
    names = [str(given[name]) for name in ("NAME", "HOST", "PORT", "USER")]
    environment = {**os.environ, "DATABASE_URL": address()}
    bare = [sys.executable, "-c", BARE, *names]
    ours = [sys.executable, "manage.py", *command.split()]
    for arguments in (bare, ours):  # once before, so that both find the files in memory
        cpu_seconds(arguments, environment)
    pairs = [
        (cpu_seconds(ours, environment), cpu_seconds(bare, environment)) for _ in range(ROUNDS)
    ]
    ratio = median(a / b for a, b in pairs)
    note = f"{median(a for a, _ in pairs):.2f} s of CPU"
    hold(Ratio(f"manage.py {command} ÷ Django and one query", COMMANDS[command], ratio, note=note))
