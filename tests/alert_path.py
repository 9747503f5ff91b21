"""The alert path in real programs: Prometheus, Alertmanager and the relay around a Service.

`Traffic` sends steady requests beside it.
"""

import http.client
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stagenorm import observe
from tests import children
from tests.servers import ROOT, Service, free_port, wait_until

PARTS = ("relay", "alertmanager", "prometheus")  # in starting order
PACES = {
    "alertmanager.yml": {"group_interval: 1m": "group_interval: 1s", "5m": "2s"},
    "rules.yml": {"interval: 15s": "interval: 2s"},
}


class AlertPath:
    """Relay, Alertmanager and Prometheus, configured as `make observe` does."""

    def __init__(self, service: Service) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="stagenorm-alerts-"))
        self.ports = observe.Ports(service.port, free_port(), free_port(), free_port())
        self.token = observe.write_configuration(self.directory, self.ports).read_text()
        self.environment = {
            name: value for name, value in service.environment.items() if name != METRICS
        }
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.options: dict[str, str] = {}

    def start(self) -> None:
        """Start all three and wait until each is ready."""
        for name in PARTS:
            self.start_part(name)

    def start_part(self, name: str) -> None:
        """Start one of PARTS and wait until it is ready."""
        commands = observe.commands(observe.find_programs(), self.directory, self.ports)
        command = [self.options.get(option, option) for option in commands[name]]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = children.start(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        wait_until(partial(self._ready, name, observe.addresses(self.ports)[name]), name)

    def kill_part(self, name: str) -> None:
        """SIGKILL one of PARTS and wait until it is gone."""
        process = self.running.pop(name)
        process.kill()
        process.wait(60)

    def hurry(self) -> None:
        """Shorten the minutes of the configuration to seconds, before the start.

        The watchdog comes every two seconds, slow rules are evaluated as often as the others, and
        Alertmanager forgets the alerts of a dead Prometheus within ten seconds.
        """
        for name, paces in PACES.items():
            place = self.directory / name
            text = place.read_text()
            for usual, quick in paces.items():
                assert usual in text, usual
                text = text.replace(usual, quick)
            place.write_text(text)
        resend = "--rules.alert.resend-delay"
        self.options = {f"{resend}=15s": f"{resend}=1s"}

    def remove(self) -> None:
        """End all three and delete what they wrote."""
        for process in reversed(self.running.values()):
            process.terminate()
        try:
            for process in self.running.values():
                process.wait(60)
        finally:
            for process in self.running.values():
                process.kill()
                process.wait()
            shutil.rmtree(self.directory)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus; the result's series."""
        text = urllib.parse.urlencode({"query": expression})
        address = f"http://127.0.0.1:{self.ports.prometheus}/api/v1/query?{text}"
        with urllib.request.urlopen(address, timeout=20) as answer:
            return json.loads(answer.read())["data"]["result"]  # type: ignore[no-any-return]

    def active(self) -> set[str]:
        """The names of the alerts that Alertmanager has."""
        address = f"http://127.0.0.1:{self.ports.alertmanager}/api/v2/alerts"
        with urllib.request.urlopen(address, timeout=20) as answer:
            return {each["labels"]["alertname"] for each in json.loads(answer.read())}

    def raise_alert(self, **labels: str) -> None:
        """Give Alertmanager a firing alert, as Prometheus does."""
        body = json.dumps([{"labels": labels, "annotations": {}}]).encode()
        address = f"http://127.0.0.1:{self.ports.alertmanager}/api/v2/alerts"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20):
            pass

    def deliver(self, body: bytes, path: str = "/") -> int:
        """Give the relay a delivery, as Alertmanager does; the status."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.ports.relay}{path}", body, headers
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def relayed(self, outcome: str) -> float:
        """How many deliveries had this outcome at the relay."""
        return figure(
            f"http://127.0.0.1:{self.ports.relay}",
            f'stage_relay_requests_total{{outcome="{outcome}"}}',
        )

    def _ready(self, name: str, address: str) -> bool:
        if self.running[name].poll() is not None:
            raise RuntimeError(
                f"{name} ended:\n{(self.directory / f'{name}.log').read_text()[-4000:]}"
            )
        try:
            with urllib.request.urlopen(address, timeout=5):
                return True
        except OSError:
            return False


METRICS = "PROMETHEUS_MULTIPROC_DIR"


def figure(base: str, series: str) -> float:
    """The value of one series in `base`/metrics, 0 where it is not there."""
    with urllib.request.urlopen(f"{base}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return next(
        (float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series),
        0.0,
    )


@dataclass
class Traffic:
    """`rate` requests a second to the stage filter of companies.

    Each uses a new connection, so that all workers serve some. A `share` of them names an unknown
    stage; it may change meanwhile. `modes` counts the modes of the answers. `first_rejected` and
    `last_enforced` are times of `time.monotonic()`.
    """

    service: Service
    key: str
    fund: int
    rate: float = 30.0
    share: float = 0.0
    threads: int = 3
    modes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    first_rejected: float | None = None
    last_enforced: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Traffic":
        self._running = [threading.Thread(target=self._send) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._running:
            thread.join()

    def _send(self) -> None:
        owed, pause = 0.0, self.threads / self.rate
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due += pause
            owed += self.share
            bad, owed = owed >= 1, owed - (owed >= 1)
            try:
                self._ask("Seires%20A" if bad else "series-a")
            except OSError:
                self.statuses[0] += 1

    def _ask(self, stage: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=20)
        try:
            headers = {"Authorization": f"Api-Key {self.key}", "Connection": "close"}
            connection.request(
                "GET", f"/api/funds/{self.fund}/companies?stage={stage}&limit=1", headers=headers
            )
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        now, mode = time.monotonic(), answer.headers.get("Stage-Validation", "").partition(";")[0]
        self.modes[mode] += 1
        self.statuses[answer.status] += 1
        if mode == "enforce":
            self.last_enforced = max(self.last_enforced, now)
        if answer.status == 400 and self.first_rejected is None:
            self.first_rejected = now
