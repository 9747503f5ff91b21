"""The embedded PostgreSQL: private, shared by processes, stopped by the last one."""

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from stagenorm.postgres import LONGEST_SOCKET_DIRECTORY, Postgres
from tests import children
from tests.servers import PostgresServer, wait_until

ROOT = Path(__file__).resolve().parents[2]

# A user of the server: says when it has it, and keeps it until its standard input ends.
USER = """
import sys
from pathlib import Path
from stagenorm.postgres import Postgres
Postgres(Path(sys.argv[1]), {"fsync": "off"}).use()
print("using", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory for a cluster; a server left in it is stopped."""
    server = PostgresServer()
    yield server.directory
    server.remove()


@pytest.fixture
def user(directory: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start processes that use the server of ``directory``; kill those left at the end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as started:

        def start() -> subprocess.Popen[str]:
            command = [sys.executable, "-c", USER, str(directory)]
            process = children.start(command, cwd=ROOT, text=True, **pipes)
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


def begun(process: subprocess.Popen[str]) -> None:
    """Wait until the process has the server."""
    assert process.stdout
    assert process.stdout.readline() == "using\n"


def rows(url: str) -> int:
    """Rows of the table that `written` makes."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert found
        return int(found[0])


def written(url: str) -> None:
    """One committed row."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1)")


def test_only_its_own_account_may_enter_the_data_and_the_socket(
    postgres_server: PostgresServer,
) -> None:
    server = postgres_server.server
    for place in (server.cluster, server.socket_directory):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert place.stat().st_uid == (server.account.pw_uid if server.account else os.geteuid())
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_committed_rows_outlive_a_kill(postgres_server: PostgresServer) -> None:
    written(postgres_server.url())
    postgres_server.kill()
    assert not postgres_server.server.running()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres_server.url())
    postgres_server.start()
    assert rows(postgres_server.url()) == 1


def test_a_stop_and_a_start_keep_the_address(postgres_server: PostgresServer) -> None:
    written(postgres_server.url())
    postgres_server.stop()
    postgres_server.start()
    assert rows(postgres_server.url()) == 1


def test_users_that_come_at_once_share_one_server_and_the_last_to_leave_stops_it(
    directory: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    server = Postgres(directory)
    users = [user() for _ in range(3)]
    for process in users:
        begun(process)
    assert server.running()
    first = server.pid()
    for process in users:
        assert server.pid() == first
        process.communicate()
    assert not server.running()


def test_a_user_that_is_killed_does_not_keep_the_server_from_stopping(
    directory: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    killed, other = user(), user()
    begun(killed)
    begun(other)
    killed.kill()
    killed.communicate()
    assert Postgres(directory).running()
    other.communicate()
    assert not Postgres(directory).running()


def test_a_postmaster_pid_that_names_another_program_is_not_a_server(directory: Path) -> None:
    server = Postgres(directory)
    server.start()
    written(server.url())
    facts = (server.cluster / "postmaster.pid").read_text().split("\n", 1)[1]
    server.kill()
    # As after a restart of the machine, when another process has the id: here this process.
    (server.cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{facts}")
    assert not server.running()
    server.start()
    assert rows(server.url()) == 1


def test_a_path_too_long_for_a_socket_gets_a_short_one(directory: Path) -> None:
    deep = Postgres(directory / ("long" * 20) / ("path" * 20))
    assert len(os.fsencode(deep.socket_directory)) <= LONGEST_SOCKET_DIRECTORY
    try:
        deep.start()
        written(deep.url())
        assert rows(deep.url()) == 1
    finally:
        deep.stop("immediate")
        deep.socket_directory.rmdir()


def test_an_interrupted_first_start_begins_anew(directory: Path) -> None:
    server = Postgres(directory)
    server.start()
    server.kill()
    (
        server.cluster / "PG_VERSION"
    ).unlink()  # the file that initdb writes first is missing: nothing here is whole
    server.start()
    wait_until(server.running, "the server")
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_stopping_by_hand_spares_a_server_in_use_and_says_what_it_did(
    directory: Path, user: Callable[[], subprocess.Popen[str]]
) -> None:
    stop = [sys.executable, "-m", "stagenorm.postgres", "stop"]
    environment = {**os.environ, "STAGENORM_DATA_DIR": str(directory)}

    def stopped() -> tuple[int, str]:
        done = children.run(stop, cwd=ROOT, env=environment)
        return done.returncode, done.stdout + done.stderr

    assert stopped() == (0, "No embedded database was running.\n")
    process = user()
    begun(process)
    status, said = stopped()
    assert (status, "is in use: end `make run`" in said) == (1, True)
    assert Postgres(directory).running()
    process.kill()
    process.communicate()
    with psycopg.connect(Postgres(directory).url(), application_name="psql"):
        status, said = stopped()
        assert (status, "is in use by psql (since " in said) == (1, True)
    assert Postgres(directory).running()
    assert stopped() == (0, "The embedded database has been stopped.\n")
    assert not Postgres(directory).running()
