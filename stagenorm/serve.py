"""``make run``: the whole service on this machine, from nothing to an address that answers.

Starts the embedded database (unless DATABASE_URL names another), migrates, loads the demonstration, and serves with
granian until Ctrl-C or SIGTERM. The end of this process ends everything that it started; a database that another
command still uses stays.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType

from stagenorm import env, postgres
from stagenorm.postgres_host import PostgresError

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
WORKERS = 2
THREADS = min(
    4, 2 * (os.cpu_count() or 1) + 1
)  # a worker; below DATABASE_POOL_SIZE, so none waits for a connection
READY_SECONDS = 60
END_SECONDS = 15
STEPS = (
    ["migrate", "--verbosity", "0"],
    ["collectstatic", "--no-input", "--verbosity", "0"],
    ["load_demo"],
)


class Refused(RuntimeError):
    """The service cannot start; the message says what to do."""


def main() -> None:
    """Run the service on port ``PORT`` (8000). Exit status 1 with one line when it cannot start."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _end)  # a shell starts background jobs with SIGINT ignored
    try:
        port = _free_port(os.environ.get("PORT", "8000"))
        _prepare()
        _serve(port)
    except (Refused, PostgresError) as fault:
        sys.exit(str(fault))


def _prepare() -> None:
    os.environ.setdefault("DJANGO_DEBUG", "1")
    data = Path(os.environ.get("STAGENORM_DATA_DIR") or ROOT / ".data")
    env.development_file(data)  # manage.py in another terminal finds it
    if "DATABASE_URL" not in os.environ:
        postgres.Postgres(data).use()
    for step in STEPS:
        if subprocess.run([sys.executable, "manage.py", *step], cwd=ROOT, check=False).returncode:  # noqa: S603 (our own command line)
            raise Refused(f"`manage.py {step[0]}` failed; the reason is above.")
    # Left files of an earlier run would be added to this run's figures.
    metrics = Path(os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(data / "metrics")))
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir(parents=True)


def _serve(port: int) -> None:
    command = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "rsgi",
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    command += ["--workers", str(WORKERS), "--respawn-failed-workers"]
    command += [
        "--workers-kill-timeout",
        "10",
        "--log-level",
        "warning",
        "stagenorm.rsgi:application",
    ]
    os.environ.setdefault("STAGENORM_THREADS", str(THREADS))
    # A session of its own: Ctrl-C reaches this process alone, which then asks granian to end in order.
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    try:
        _wait_until_ready(server, f"http://{HOST}:{port}")
        print(
            f"\nstagenorm answers at http://{HOST}:{port} (admin at /admin/, API at /api/docs). Ctrl-C ends it.",
            flush=True,
        )
        status = server.wait()
        raise Refused(f"The server ended with status {status}.")
    finally:
        _stop(server)


def _wait_until_ready(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Refused(
                f"The server ended with status {server.returncode}; the reason is above."
            )
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/healthz", timeout=5):  # noqa: S310
            return
        time.sleep(0.1)
    raise Refused(f"The server did not answer within {READY_SECONDS} s.")


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def _free_port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Refused("PORT is malformed: use a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((HOST, int(text)))
        except OSError as fault:
            raise Refused(
                f"Port {text} cannot be used ({fault.strerror}): choose another, as in `make run PORT=8001`."
            ) from None
    return int(text)


def _end(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the tidying up
    sys.exit(0 if signum == signal.SIGINT else 128 + signum)


if __name__ == "__main__":
    main()
