"""``make run``: start the whole service on this machine.

Starts the embedded database (unless DATABASE_URL names another one), migrates, loads the
demonstration data and serves with granian until Ctrl-C or SIGTERM. When this process ends, even by
SIGKILL, all processes that it started end too. The database stays while another command uses it.

Several may run in one checkout, each on a port of its own: each has its own metrics, and they
prepare the database one after the other.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FrameType

from stagenorm import env, listeners, postgres
from stagenorm.parent_death import end_with
from stagenorm.postgres_host import PostgresError

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
WORKERS = 2
# Threads per worker: fewer than DATABASE_POOL_SIZE, so that none waits for a connection.
THREADS = min(4, 2 * (os.cpu_count() or 1) + 1)
READY_SECONDS = 60
END_SECONDS = 15
STEPS = {
    "Bringing the tables up to date …": ["migrate", "--verbosity", "0"],
    "Collecting the files of the pages …": ["collectstatic", "--no-input", "--verbosity", "0"],
    "Loading the demonstration data …": ["load_demo"],
}


class StartRefused(RuntimeError):
    """The service cannot start; the message names the remedy."""


def main() -> None:
    """Run the service on port ``PORT`` (8000). Exits with status 1 and one line on failure."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Explicitly for SIGINT too: a shell starts background jobs with SIGINT ignored.
        signal.signal(signum, _end)
    data = Path(os.environ.get("STAGENORM_DATA_DIR") or ROOT / ".data")
    try:
        port = _port(os.environ.get("PORT", "8000"))
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone_on(port, data):
            _refuse_taken(port)
            _prepare(data, port)
            _serve(port)
    except (StartRefused, PostgresError) as fault:
        sys.exit(str(fault))


@contextlib.contextmanager
def _alone_on(port: int, data: Path) -> Iterator[None]:
    """Hold the lock of this port. The file has the id of the process that holds the lock."""
    place = os.open(data / f"run-{port}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(place, 20, 0).decode().strip()
        raise StartRefused(
            f"`make run` already runs here on port {port} as process {pid}: "
            f"end it with `kill {pid}`, or choose another port, for example `make run PORT=8001`."
        ) from None
    os.ftruncate(place, 0)
    os.pwrite(place, f"{os.getpid()}\n".encode(), 0)
    try:
        yield
    finally:
        os.close(place)


def _prepare(data: Path, port: int) -> None:
    os.environ.setdefault("DJANGO_DEBUG", "1")
    env.development_file(data)  # manage.py in another terminal reads it
    if "DATABASE_URL" not in os.environ:
        print("Starting the database …", flush=True)
        postgres.Postgres(data).use()
    with (data / "prepare.lock").open("a") as place:
        fcntl.flock(place, fcntl.LOCK_EX)  # waits while another `make run` prepares
        for words, step in STEPS.items():
            print(words, flush=True)
            command = [sys.executable, "manage.py", *step]
            ended = subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603 (our own line)
            if ended.returncode:
                raise StartRefused(f"`manage.py {step[0]}` failed; the reason is above.")
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        metrics = data / "metrics" / str(port)
        # Files of an earlier run would be added to this run's figures.
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)


def _serve(port: int) -> None:
    command = [sys.executable, "-m", "granian", "--interface", "rsgi"]
    command += ["--host", HOST, "--port", str(port)]
    command += ["--workers", str(WORKERS), "--respawn-failed-workers"]
    command += ["--workers-kill-timeout", "10", "--log-level", "warning"]
    command += ["stagenorm.rsgi:application"]
    os.environ.setdefault("STAGENORM_THREADS", str(THREADS))
    # In its own session, Ctrl-C does not reach granian: this process asks it to stop, and the
    # kernel does when this process is killed.
    server = subprocess.Popen(  # noqa: S603 (our own command line)
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 (no lock)
    )
    try:
        _wait_until_ready(server, f"http://{HOST}:{port}")
        print(
            f"\nstagenorm answers at http://{HOST}:{port} "
            "(admin at /admin/, API at /api/docs). Ctrl-C ends it.",
            flush=True,
        )
        status = server.wait()
        raise StartRefused(f"The server ended with status {status}.")
    finally:
        _stop(server)


def _wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise StartRefused(
                f"The server ended with status {server.returncode}; the reason is above."
            )
        if answers(f"{address}/healthz"):
            return
        time.sleep(0.1)
    raise StartRefused(f"The server did not answer within {READY_SECONDS} s.")


def answers(address: str) -> bool:
    """Return whether the http address answers with success within 5 s."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(address, timeout=5),  # noqa: S310 (an http address of our own)
    ):
        return True
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise StartRefused("PORT is malformed: use a number from 1 to 65535.")
    return int(text)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((HOST, port))
        except OSError as fault:
            owner = listeners.port_owner(HOST, port)
            why = f"cannot be used ({fault.strerror})"
            other = "choose another, for example `make run PORT=8001`."
            if owner is not None:
                why, other = f"is served by {owner}", f"{owner.remedy}, or {other}"
            raise StartRefused(f"Port {port} {why}: {other}") from None


def _end(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the cleanup
    sys.exit(0 if signum == signal.SIGINT else 128 + signum)


if __name__ == "__main__":
    main()
