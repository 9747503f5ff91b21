"""A command that fails prints one helpful sentence, sets the exit status, shows no traceback."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import psycopg
import pytest
from django.core.management import get_commands, load_command_class

from manage import needs_database
from normalization.models import RolloutChange
from stagenorm.portfolio.models import Fund
from tests import children
from tests.backfill_runs import address
from tests.imported import plan_file
from tests.servers import PostgresServer, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
OWN_APPS = {"normalization", "ops", "stagenorm.portfolio"}
COMMANDS = [
    "stage_mode", "stage_mode status --json", "stage_mode set warn --reason x", "normalize_stages",
    "normalize_stages --apply", "create_backup", "verify_backup", "test_restore",
    "backup_status --json", "backup_cycle", "prune_backups", "prune_stored", "rollout_status",
    "create_api_key x", "consumer_audit --access-log README.md",
    "import_companies README.md --fund 1", "load_demo", "migrate",
]  # fmt: skip


def manage(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "manage.py", *command.split()]
    return children.run(line, cwd=ROOT, env={**os.environ, **variables})


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("", False),
        ("help", False),
        ("check", False),
        ("check --fail-level WARNING", False),
        ("check --database default", True),
        ("check --database=default", True),
        ("spectacular --file docs/openapi.yaml", False),
        ("migrate", True),
        ("stage_mode status", True),
    ],
)
def test_a_command_that_reads_the_database_starts_it(line: str, needed: bool) -> None:
    assert needs_database(line.split()) is needed


def test_only_the_service_and_the_commands_of_django_run_the_system_checks() -> None:
    own = {name for name, app in get_commands().items() if app in OWN_APPS}
    own.remove("migrate")  # Django's, under a lock
    assert {"stage_mode", "normalize_stages", "create_api_key"} <= own
    for name in own:
        assert load_command_class(get_commands()[name], name).requires_system_checks == (), name


def test_a_web_process_with_an_error_of_the_system_checks_ends_and_names_it() -> None:
    done = children.run(
        [sys.executable, "-c", "import stagenorm.wsgi"],
        cwd=ROOT,
        env={**os.environ, "STAGE_MODE_TTL_SECONDS": "61"},
    )
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    assert "STAGE_MODE_TTL_SECONDS is outside 0.1 to 60." in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_database_a_command_says_so_and_fails(command: str, tmp_path: Path) -> None:
    address = f"postgresql://ann:never-shown@127.0.0.1:{free_port()}/x"
    data = {"STAGENORM_DATA_DIR": str(tmp_path), "BACKUP_DIR": str(tmp_path)}
    done = manage(command, DATABASE_URL=address, DJANGO_DEBUG="1", **data)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "Connection refused" in done.stderr
    assert "never-shown" not in done.stdout + done.stderr


def test_a_database_without_tables_leads_to_migrate(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.url()
    for command in ("stage_mode", "verify_backup", "rollout_status", "create_api_key x"):
        done = manage(command, DATABASE_URL=url, BACKUP_DIR=str(tmp_path))
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert "Run manage.py migrate" in done.stderr


def test_a_role_that_may_not_look_is_named_as_the_reason(postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    manage("migrate --verbosity 0", DATABASE_URL=url)
    with psycopg.connect(url, autocommit=True) as link:
        link.execute("CREATE ROLE poor LOGIN")
    poor = f"{url}&user=poor" if "?" in url else f"{url}?user=poor"
    done = manage("rollout_status", DATABASE_URL=poor)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "The database role may not do this: permission denied" in done.stderr


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_is_an_exit_status_and_no_traceback() -> None:
    environment = {**os.environ, "DATABASE_URL": address(), "STAGE_MODE_TTL_SECONDS": "60"}
    line = [
        sys.executable,
        "manage.py",
        "stage_mode",
        "set",
        "warn",
        "--reason",
        "x",
        "--wait",
        "120",
    ]
    waiting = children.start(line, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    wait_until(RolloutChange.objects.exists, "the change, after which it waits")
    waiting.send_signal(signal.SIGINT)
    said = waiting.communicate(timeout=60)[1]
    assert (waiting.returncode, said.splitlines()[-1], "Traceback" in said) == (
        130,
        "Interrupted.",
        False,
    )


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_in_an_import_says_that_nothing_was_imported() -> None:
    fund = Fund.objects.create(name="F")
    line = [sys.executable, "manage.py", "import_companies", "-", "--fund", str(fund.pk)]
    reading = children.start(
        line,
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": address()},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reading.stdin
    reading.stdin.write("name,stage\nA,seed\n")
    reading.stdin.flush()
    pipe = reading.stdin.fileno()
    wait_until(lambda: _unread_bytes(pipe) == 0, "the import has read all that was written")
    reading.send_signal(signal.SIGINT)
    assert reading.stderr
    assert reading.stderr.read() == "CommandError: Interrupted: nothing was imported.\n"
    assert reading.wait(60) == 130
    assert not fund.companies.exists()


def _unread_bytes(pipe: int) -> int:
    """Return how many bytes the reader of a pipe has not read yet."""
    count = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(count, sys.byteorder)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("source", ["standard input", "a pipe"])
def test_an_import_reads_from_a_pipe_as_from_a_file(source: str, tmp_path: Path) -> None:
    fund = Fund.objects.create(name="F")
    lines = "name,stage\n" + "A,Seed Round\n" * 20_000
    pipe = tmp_path / "companies.csv"
    os.mkfifo(pipe)
    file = "-" if source == "standard input" else str(pipe)
    regular = tmp_path / "regular.csv"
    regular.write_text(lines)
    plan = plan_file(regular, fund)["plan"]  # it does not depend on where the bytes come from
    line = ["import_companies", file, "--fund", str(fund.pk), "--apply", plan]
    importing = children.start(
        [sys.executable, "manage.py", *line],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": address()},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if source == "a pipe":
        pipe.write_text(lines)  # opening waits for the reader
        lines = ""
    assert importing.communicate(lines, timeout=120)[1] == ""
    assert importing.returncode == 0
    assert fund.companies.filter(stage="seed").count() == 20_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,stage\n" + b"Good,seed\n" * 5_000 + b"caf\xe9,seed\n", "Line 5002: byte 50014"),
        (b"\xef\xbb\xbfname,stage\r\nA,s\xff\r\n", "Line 2: byte 18"),
        (b"name,stage\rA,seed\rB,s\xff\r", "Line 3: byte 21"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_byte_in_a_pipe_that_is_not_text_is_named_by_line_and_offset(
    content: bytes, message: str
) -> None:
    fund = Fund.objects.create(name="F")
    importing = children.start(
        [sys.executable, "manage.py", "import_companies", "-", "--fund", str(fund.pk)],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": address()},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    errors = importing.communicate(content, timeout=120)[1].decode()
    assert message in errors
    assert importing.returncode == 1
    assert not fund.companies.exists()


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    line = f"{sys.executable} manage.py help stage_mode | head -n 0"
    done = children.run(["bash", "-c", line], cwd=ROOT)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "server",
    [
        "granian --interface rsgi --port {} stagenorm.rsgi:application",
        "gunicorn --bind 127.0.0.1:{} stagenorm.wsgi",
    ],
)
def test_a_server_without_its_settings_names_each_in_one_line(server: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "STAGENORM_DATA_DIR": str(tmp_path)}
    line = [sys.executable, "-m", *server.format(free_port()).split()]
    done = children.run(line, cwd=ROOT, env=environment, seconds=60)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("DJANGO_SECRET_KEY is not set: ") == 1
