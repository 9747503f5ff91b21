"""``make observe``: the service with the complete automatic way back, on loopback.

    Prometheus --alerts--> Alertmanager --token--> relay --signature--> service
    Prometheus --scrapes--> service

Starts the four processes, prints their addresses, and ends them together. The configuration is
copied from ops/prometheus/ to ``.data/observe/``, with free ports filled in.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from stagenorm import env, serve
from stagenorm.parent_death import end_with

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "ops" / "prometheus"
DOCS = ROOT / "docs"
READY_SECONDS = 90
END_SECONDS = 20
# Debian's binary of Alertmanager is called prometheus-alertmanager.
PROGRAMS = {
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
}


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the four processes on 127.0.0.1.

    The defaults are the ports in the files of ops/prometheus/.
    """

    service: int = 8000
    prometheus: int = 9090
    alertmanager: int = 9093
    relay: int = 19095


def main() -> None:
    """Run the four processes until Ctrl-C or SIGTERM, or until one of them ends.

    Exits with status 1 and one line on failure.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _end)
    try:
        programs = find_programs()
        ports = _free_ports(_port(os.environ.get("PORT") or str(Ports().service)))
        _run(programs, ports)
    except serve.StartRefused as fault:
        sys.exit(str(fault))


def find_programs() -> dict[str, str]:
    """Return the paths of the programs.

    Raises `StartRefused` that names the missing programs and how to install them.
    """
    found = {
        name: next(filter(None, map(shutil.which, names)), None)
        for name, names in PROGRAMS.items()
    }
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise serve.StartRefused(
            f"{' and '.join(missing)} cannot be found. On Debian or Ubuntu: "
            "apt install --no-install-recommends prometheus prometheus-alertmanager; "
            "elsewhere put the projects' binaries on PATH. `make run` needs neither."
        )
    return {name: path for name, path in found.items() if path is not None}


def write_configuration(directory: Path, ports: Ports) -> Path:
    """Copy ops/prometheus/ into `directory` with these ports, and create the relay's token.

    Returns the path of the token's file.
    """
    directory.mkdir(parents=True, exist_ok=True)
    usual = Ports()
    for place in CONFIGURATION.glob("*.yml"):
        text = place.read_text()
        for name in (field.name for field in fields(Ports)):
            text = text.replace(
                f"127.0.0.1:{getattr(usual, name)}", f"127.0.0.1:{getattr(ports, name)}"
            )
        (directory / place.name).write_text(_with_links(text, ports))
    token = directory / "relay-token"
    token.unlink(missing_ok=True)
    with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))
    return token


def _with_links(text: str, ports: Ports) -> str:
    """Fill in the addresses that alerts link to: the service and the docs of this checkout."""
    public = os.environ.get("STAGE_PUBLIC_URL") or f"http://127.0.0.1:{ports.service}"
    addresses = {"stagenorm_url": public.rstrip("/"), "stagenorm_docs": DOCS.as_uri()}
    for label, address in addresses.items():
        text = re.sub(rf"(?m)^( +{label}:) .*$", rf"\1 {address}", text)
    return text


def commands(programs: dict[str, str], directory: Path, ports: Ports) -> dict[str, list[str]]:
    """Return the command lines of relay, Alertmanager and Prometheus, in starting order."""
    webhook = f"http://127.0.0.1:{ports.service}/_ops/stage-validation/auto-downgrade"
    relay = [sys.executable, "manage.py", "alertmanager_relay"]
    relay += ["--listen", f"127.0.0.1:{ports.relay}", "--target", webhook]
    relay += ["--token-file", str(directory / "relay-token")]
    alertmanager = [
        programs["alertmanager"],
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{ports.alertmanager}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]
    prometheus = [
        programs["prometheus"],
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{ports.prometheus}",
        # Alertmanager keeps the alerts of a dead Prometheus four times as long.
        "--rules.alert.resend-delay=15s",
        "--log.level=warn",
    ]
    return {"relay": relay, "alertmanager": alertmanager, "prometheus": prometheus}


def addresses(ports: Ports) -> dict[str, str]:
    """Return the address at which each process answers 200 when it is ready."""
    return {
        "service": f"http://127.0.0.1:{ports.service}/readyz",
        "relay": f"http://127.0.0.1:{ports.relay}/healthz",
        "alertmanager": f"http://127.0.0.1:{ports.alertmanager}/-/ready",
        "prometheus": f"http://127.0.0.1:{ports.prometheus}/-/ready",
    }


def _run(programs: dict[str, str], ports: Ports) -> None:
    os.environ.setdefault("DJANGO_DEBUG", "1")
    data = Path(os.environ.get("STAGENORM_DATA_DIR") or ROOT / ".data")
    env.development_file(data)
    directory = data / "observe"
    write_configuration(directory, ports)
    service = [sys.executable, "-m", "stagenorm.serve"]
    with contextlib.ExitStack() as started:
        running = {}
        for name, command in {"service": service, **commands(programs, directory, ports)}.items():
            running[name] = started.enter_context(
                _process(name, command, {"PORT": str(ports.service)})
            )
            _wait_until_ready(running, name, addresses(ports)[name])
        print(
            f"\nservice       http://127.0.0.1:{ports.service}/  (admin at /admin/, /metrics)"
            f"\nPrometheus    http://127.0.0.1:{ports.prometheus}/alerts"
            f"\nAlertmanager  http://127.0.0.1:{ports.alertmanager}/"
            f"\nrelay         http://127.0.0.1:{ports.relay}/metrics"
            "\nCtrl-C ends all four.",
            flush=True,
        )
        while all(process.poll() is None for process in running.values()):
            time.sleep(0.5)
        _refuse_ended(running)


@contextlib.contextmanager
def _process(
    name: str, command: list[str], more: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    # In its own session, Ctrl-C does not reach the process: we end each in reverse order. The
    # kernel ends them when this process is killed.
    process = subprocess.Popen(  # noqa: S603 (our own command line)
        command,
        cwd=ROOT,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509 (no lock)
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait_until_ready(
    running: dict[str, subprocess.Popen[bytes]], name: str, address: str
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        _refuse_ended(running)
        if serve.answers(address):
            return
        time.sleep(0.1)
    raise serve.StartRefused(f"{name} did not become ready within {READY_SECONDS} s.")


def _refuse_ended(running: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            raise serve.StartRefused(
                f"{name} ended with status {process.returncode}; the reason is above."
            )


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise serve.StartRefused("PORT is malformed: use a number from 1 to 65535.")
    return int(text)


def _free_ports(service: int) -> Ports:
    """Return the default ports, each taken one replaced by a free port.

    The service's port is never replaced: `StartRefused` if it is taken.
    """
    chosen = {field.name: getattr(Ports(), field.name) for field in fields(Ports)} | {
        "service": service
    }
    for name, port in chosen.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((serve.HOST, port))
            except OSError:
                if name == "service":
                    raise serve.StartRefused(
                        f"Port {port} is taken: choose another, "
                        "for example `make observe PORT=8001`."
                    ) from None
                probe.bind((serve.HOST, 0))
                chosen[name] = probe.getsockname()[1]
    return Ports(**chosen)


def _end(signum: int, frame: object) -> None:
    signal.signal(signum, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the cleanup
    sys.exit(0 if signum == signal.SIGINT else 128 + signum)


if __name__ == "__main__":
    main()
