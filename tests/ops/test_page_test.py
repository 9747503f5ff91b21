"""`manage.py page_test` with a real Alertmanager, and the examples of alertmanager.yml."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from stagenorm import observe, serve
from tests import children
from tests.servers import ROOT, free_port, wait_until

CONFIGURATION = ROOT / "ops/prometheus/alertmanager.yml"
INTEGRATIONS = {"email", "pagerduty", "slack", "webhook"}

pytestmark = pytest.mark.e2e


def uncommented() -> str:
    """alertmanager.yml with all of its examples in force."""
    return re.sub(r"(?m)^    # ", "    ", CONFIGURATION.read_text())


def test_alertmanager_accepts_every_example_and_no_example_has_a_secret(tmp_path: Path) -> None:
    place = tmp_path / "alertmanager.yml"
    place.write_text(uncommented())
    done = children.run(["amtool", "check-config", str(place)])
    assert done.returncode == 0, done.stdout + done.stderr
    [operator] = [
        each
        for each in yaml.safe_load(place.read_text())["receivers"]
        if each["name"] == "operator"
    ]
    assert {name.removesuffix("_configs") for name in operator} - {"name"} == INTEGRATIONS
    secrets = re.findall(r"(\w*(?:password|key|api_url|credentials|token)\w*):", uncommented())
    assert {name for name in secrets if not name.endswith("_file")} == set()


class Pager(ThreadingHTTPServer):
    """A receiver of webhooks that keeps what it gets, or refuses it."""

    def __init__(self) -> None:
        self.pages: list[dict[str, Any]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), PagerRequest)


class PagerRequest(BaseHTTPRequestHandler):
    """One delivery."""

    server: Pager

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.pages.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def pager() -> Iterator[Pager]:
    with Pager() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def alertmanager(tmp_path: Path) -> Callable[[str], str]:
    """``alertmanager(text)`` starts one whose operator has that integration; its address."""

    def start(integration: str) -> str:
        ports = observe.Ports(free_port(), free_port(), free_port(), free_port())
        observe.write_configuration(tmp_path, ports)
        place = tmp_path / "alertmanager.yml"
        text = place.read_text().replace(
            "  - name: operator\n", f"  - name: operator\n{integration}"
        )
        place.write_text(text)
        command = observe.commands(observe.find_programs(), tmp_path, ports)["alertmanager"]
        children.start(command, cwd=tmp_path)
        ready = observe.addresses(ports)["alertmanager"]
        wait_until(lambda: serve.answers(ready), "Alertmanager")
        return ready.removesuffix("/-/ready")

    return start


def page_test(address: str, *options: str) -> str:
    out = StringIO()
    call_command("page_test", "--alertmanager", address, *options, stdout=out)
    return out.getvalue()


def test_a_test_page_takes_the_way_of_an_alert_and_its_receipt_is_awaited(
    alertmanager: Callable[[str], str], pager: Pager
) -> None:
    url = f"http://127.0.0.1:{pager.server_port}/"
    address = alertmanager(f"    webhook_configs:\n      - url: {url}\n")
    done = json.loads(page_test(address, "--json"))
    assert (done["receivers"], done["integrations"]) == (["operator"], ["webhook"])
    [alert] = pager.pages[0]["alerts"]
    assert alert["labels"]["severity"] == "page"
    assert "stagenorm_action" not in alert["labels"]
    assert done["code"] in alert["annotations"]["summary"]
    # A second one right after it is a page of its own, not a member of the first one's group.
    assert "Accepted after" in page_test(address, "--no-input")
    pager.status = 503
    with pytest.raises(CommandError, match=r"Not accepted in time by webhook: \d+ failed"):
        page_test(address, "--timeout", "3")


def test_a_receiver_without_integration_and_an_absent_alertmanager_are_named(
    alertmanager: Callable[[str], str],
) -> None:
    with pytest.raises(CommandError, match=r"operator has no integration: .* Add one"):
        page_test(alertmanager(""))
    with pytest.raises(CommandError, match=r"does not answer at http://127\.0\.0\.1:1"):
        page_test("http://127.0.0.1:1")
    with pytest.raises(CommandError, match="malformed"):
        page_test("file:///etc/passwd")
