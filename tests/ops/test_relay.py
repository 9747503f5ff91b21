"""The relay as a process: authentication, signatures, answers, limits and memory."""

import contextlib
import http.server
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings

from ops.alerts.relay import FORWARDERS, is_free
from ops.alerts.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, Genuine, verify
from tests import children
from tests.backup_faults import ended
from tests.ops.deliveries import HEARTBEAT, PATH, alert, payload, raw
from tests.servers import ROOT, free_port, wait_until

TOKEN = "a-token-of-the-tests-0123456789"
BODY = raw(payload())
MANY = int(os.environ.get("RELAY_REQUESTS", "1500"))  # 10000 once by hand; see docs/benchmarks.md


class Upstream:
    """A stand-in for the service: answers with the status `answer` and keeps all requests."""

    def __init__(self) -> None:
        self.answer: int | None = 200  # None: reads the request and does not answer
        self.go_on = threading.Event()  # ends the wait of unanswered requests
        self.location = ""
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                upstream.received.append((self.path, dict(self.headers), body))
                if upstream.answer is None:
                    upstream.go_on.wait(60)
                if upstream.answer is None:
                    return
                self.send_response(upstream.answer)
                if upstream.location:
                    self.send_header("Location", upstream.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """The address that it listens on."""
        return f"http://127.0.0.1:{self.server.server_port}{PATH}"

    def close(self) -> None:
        """Stop it."""
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class RelayProcess:
    """`manage.py alertmanager_relay` as an operator starts it."""

    def __init__(
        self,
        target: str,
        token_file: Path,
        log: Path,
        start: Callable[..., subprocess.Popen[bytes]] = children.start,
    ) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.log = log
        command = [
            sys.executable,
            "manage.py",
            "alertmanager_relay",
            "--listen",
            f"127.0.0.1:{self.port}",
        ]
        command += ["--target", target, "--token-file", str(token_file)]
        with log.open("wb") as output:
            self.process = start(command, cwd=ROOT, stdout=output, stderr=output)

    def ready(self) -> "RelayProcess":
        """Wait until it answers."""
        wait_until(self._answers, f"the relay; its log: {self.log}")
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            return get(self.address + "healthz")[0] == 200
        return False

    def stop(self) -> int:
        """Stop it and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()  # its worker ends with it
            self.process.wait()

    def worker(self) -> psutil.Process:
        """The process that serves."""
        [worker] = [
            each for each in psutil.Process(self.process.pid).children() if each.num_threads() > 1
        ]
        return worker


def get(address: str) -> tuple[int, str]:
    """Status and body of a GET."""
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def post(address: str, body: bytes = BODY, token: str | None = TOKEN) -> tuple[int, str]:
    """Send as Alertmanager does; return the status and the outcome."""
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {token}"} if token is not None else {}
    )
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, body, headers), timeout=60
        ) as answer:
            return answer.status, json.loads(answer.read())["outcome"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b'{"outcome": ""}')["outcome"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """A stand-in for the service."""
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token, as an operator writes it."""
    file = tmp_path_factory.mktemp("relay") / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture(scope="module")
def process(upstream: Upstream, token_file: Path) -> Iterator[RelayProcess]:
    """One relay for the module."""
    relay = RelayProcess(
        upstream.address, token_file, token_file.with_name("log"), children.start_shared
    )
    try:
        yield relay.ready()
    finally:
        relay.stop()


@pytest.fixture
def another(token_file: Path, tmp_path: Path) -> Iterator[Callable[[str], RelayProcess]]:
    """Start a relay for one test, which may stop it."""
    started: list[RelayProcess] = []

    def start(target: str) -> RelayProcess:
        token_file.write_text(TOKEN)
        started.append(RelayProcess(target, token_file, tmp_path / "log"))
        return started[-1].ready()

    try:
        yield start
    finally:
        for relay in started:
            relay.stop()


@pytest.fixture
def relay(process: RelayProcess, upstream: Upstream, token_file: Path) -> RelayProcess:
    """The relay of the module, with an upstream that answers 200 and the usual token."""
    upstream.answer, upstream.location, upstream.received = 200, "", []
    upstream.go_on.clear()
    token_file.write_text(TOKEN + "\n")
    return process


def test_it_signs_the_raw_bytes_and_forwards_them(relay: RelayProcess, upstream: Upstream) -> None:
    assert post(relay.address) == (200, "delivered")
    [(path, headers, body)] = upstream.received
    assert (path, body, headers["Content-Type"]) == (PATH, BODY, "application/json")
    timestamp, signature = headers[TIMESTAMP_HEADER], headers[SIGNATURE_HEADER]
    assert isinstance(
        verify(settings.ALERTMANAGER_WEBHOOK_SECRETS, timestamp, signature, body, time.time()),
        Genuine,
    )
    assert "Authorization" not in headers


def test_the_watchdog_goes_to_the_heartbeat(relay: RelayProcess, upstream: Upstream) -> None:
    assert post(relay.address + "heartbeat", raw(payload(alert("StageWatchdog")))) == (
        200,
        "delivered",
    )
    assert upstream.received[0][0] == HEARTBEAT


def test_each_attempt_has_a_fresh_timestamp(relay: RelayProcess, upstream: Upstream) -> None:
    stamps: set[str] = set()

    def another_second() -> bool:
        post(relay.address)
        stamps.add(upstream.received[-1][1][TIMESTAMP_HEADER])
        return len(stamps) > 1

    wait_until(another_second, "a second timestamp")
    assert len({headers[SIGNATURE_HEADER] for _, headers, _ in upstream.received}) == len(stamps)


@pytest.mark.parametrize(
    "token", [None, "", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 20, TOKEN[:-1] + "8"]
)
def test_without_the_token_nothing_is_forwarded(
    relay: RelayProcess, upstream: Upstream, token: str | None
) -> None:
    assert post(relay.address, token=token and token.encode().decode("latin-1"))[0] == 401
    assert upstream.received == []


def test_the_token_file_is_read_at_each_request(relay: RelayProcess, token_file: Path) -> None:
    other = "another-token-0123456789"
    token_file.write_text(other)
    assert post(relay.address)[0] == 401
    assert post(relay.address, token=other) == (200, "delivered")
    for useless in ("", "\n", "short"):
        token_file.write_text(useless)
        assert post(relay.address, token=useless.strip()) == (503, "no_token")
        assert get(relay.address + "healthz")[0] == 503
    token_file.unlink()
    assert post(relay.address)[0] == 503
    token_file.write_text(TOKEN)
    assert post(relay.address) == (200, "delivered")


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 413, 429, 500, 503])
def test_every_failure_upstream_is_502(
    relay: RelayProcess, upstream: Upstream, status: int
) -> None:
    upstream.answer = status
    upstream.location = upstream.address if status < 400 else ""
    assert post(relay.address) == (502, f"upstream_{status // 100}xx")
    assert len(upstream.received) == 1  # neither followed nor repeated


def test_an_upstream_that_does_not_answer_is_502_in_time_for_another_attempt(
    relay: RelayProcess, upstream: Upstream
) -> None:
    upstream.answer = None
    asked = 0

    def seconds() -> float:
        nonlocal asked
        asked, started = asked + 1, time.monotonic()
        assert post(relay.address)[0] == 502
        return time.monotonic() - started

    # A busy machine only lengthens an attempt: one fast attempt proves the limit.
    assert any(seconds() < 8 for _ in range(3))
    wait_until(
        lambda: len(upstream.received) == asked,
        "what was sent to arrive, lest it does so in the next test",
    )


def test_an_unreachable_upstream_is_502(another: Callable[[str], RelayProcess]) -> None:
    relay = another(f"http://127.0.0.1:{free_port()}")
    assert post(relay.address) == (502, "upstream_unreachable")
    assert relay.stop() == 0
    assert "Traceback" not in relay.log.read_text()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("PUT", "/", 405), ("GET", "/", 405), ("POST", "/elsewhere", 404), ("POST", "//", 404)],
)
def test_other_methods_and_paths_are_refused(
    relay: RelayProcess, method: str, path: str, status: int
) -> None:
    assert (
        status_of(
            relay,
            f"{method} {path} HTTP/1.1",
            f"Authorization: Bearer {TOKEN}",
            "Content-Length: 0",
        )
        == status
    )


def status_of(relay: RelayProcess, *lines: str, body: bytes = b"", seconds: float = 20) -> int:
    """Return the status of a raw request, 0 if the connection ends without an answer."""
    with (
        socket.create_connection(("127.0.0.1", relay.port), seconds) as link,
        contextlib.suppress(ConnectionError),
    ):
        link.sendall(
            "\r\n".join([lines[0], "Host: x", "Connection: close", *lines[1:], "", ""]).encode()
        )
        with contextlib.suppress(ConnectionError):
            link.sendall(body)
        answer = link.recv(65536)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
    return 0


def test_bodies_and_headers_are_bounded(relay: RelayProcess, upstream: Upstream) -> None:
    admitted = ("POST / HTTP/1.1", f"Authorization: Bearer {TOKEN}")
    big = b"x" * 300_000
    assert status_of(relay, *admitted, f"Content-Length: {len(big)}", body=big) == 413
    assert (
        status_of(relay, *admitted, "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n")
        == 411
    )
    assert status_of(relay, *admitted) == 411
    assert status_of(relay, *admitted, "X-Padding: " + "x" * 50_000, "Content-Length: 0") in {
        0,
        400,
        431,
    }
    assert upstream.received == []


def test_a_slow_sender_is_dropped_and_delays_no_other(
    relay: RelayProcess, upstream: Upstream
) -> None:
    def in_time() -> bool:
        """Serve a fast request within 2 s beside 80 slow ones, which end within 12 s."""
        with contextlib.ExitStack() as opened:
            slow = [
                opened.enter_context(socket.create_connection(("127.0.0.1", relay.port), 60))
                for _ in range(80)
            ]
            for link in slow[:40]:
                link.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            for link in slow[40:]:
                head = (
                    "POST / HTTP/1.1\r\nHost: x\r\n"
                    f"Authorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\nx"
                )
                link.sendall(head.encode())
            upstream.received, started = [], time.monotonic()
            assert post(relay.address) == (200, "delivered")
            served, waiting = time.monotonic() - started, not select.select(slow, [], [], 0)[0]
            answers = [link.recv(65536) for link in slow]
            given_up = time.monotonic() - started
        assert all(b" 408 " in answer for answer in answers[40:])
        assert all(
            answer == b"" or b" 408 " in answer or b" 400 " in answer for answer in answers[:40]
        )
        assert len(upstream.received) == 1
        return waiting and served < 2 and given_up < 12

    # A busy machine only lengthens these times: one fast attempt proves the limits.
    assert any(in_time() for _ in range(3))


def test_it_exports_its_own_metrics(relay: RelayProcess, upstream: Upstream) -> None:
    def figure(line: str) -> float:
        text = get(relay.address + "metrics")[1]
        return sum(float(each.split()[-1]) for each in text.splitlines() if each.startswith(line))

    before = figure('stage_relay_requests_total{outcome="delivered"}')
    post(relay.address)
    post(relay.address, token="wrong")
    assert figure('stage_relay_requests_total{outcome="delivered"}') == before + 1
    assert figure('stage_relay_requests_total{outcome="wrong_token"}') >= 1
    assert abs(figure("stage_relay_last_delivered_timestamp_seconds") - time.time()) < 30
    assert figure("stage_relay_upstream_seconds_count") >= 1


def test_many_requests_do_not_increase_its_memory(relay: RelayProcess, upstream: Upstream) -> None:
    worker = relay.worker()
    with ThreadPoolExecutor(4) as senders:

        def send(number: int) -> tuple[int, str]:
            return post(relay.address, token=TOKEN if number % 3 else "wrong")

        assert {status for status, _ in senders.map(send, range(600))} == {200, 401}
        before = (worker.num_threads(), worker.num_fds(), worker.memory_info().rss)
        assert {status for status, _ in senders.map(send, range(MANY))} == {200, 401}
    after = (worker.num_threads(), worker.num_fds(), worker.memory_info().rss)
    print(f"relay, {MANY} requests: threads, files, bytes {before} → {after}")
    assert (
        after[0] <= before[0] + FORWARDERS
    )  # a few simultaneous requests may not have used all of them yet
    assert after[1] <= before[1] + 8
    assert after[2] - before[2] < 3 * 2**20


def test_a_request_in_progress_is_answered_before_it_stops(
    another: Callable[[str], RelayProcess], upstream: Upstream
) -> None:
    relay = another(upstream.address)
    upstream.answer, upstream.received = None, []
    upstream.go_on.clear()
    with ThreadPoolExecutor(1) as sender:
        answer = sender.submit(post, relay.address)
        wait_until(lambda: bool(upstream.received), "the request to be under way")
        relay.process.terminate()
        wait_until(lambda: is_free("127.0.0.1", relay.port), "the relay to take no more requests")
        assert relay.process.poll() is None
        assert not answer.done()
        upstream.answer = 200
        upstream.go_on.set()
        assert answer.result() == (200, "delivered")
    assert relay.stop() == 0
    with pytest.raises(OSError, match="refused"):
        get(relay.address + "healthz")


def test_a_killed_relay_leaves_no_worker_that_listens(
    another: Callable[[str], RelayProcess], upstream: Upstream
) -> None:
    relay = another(upstream.address)
    worker = relay.worker()
    relay.process.kill()
    relay.process.wait()
    try:
        wait_until(
            lambda: is_free("127.0.0.1", relay.port), "the port to be free for the next relay"
        )
        wait_until(lambda: ended(worker), "the worker to end")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--target", "nowhere"], "--target is malformed"),
        (["--target", "ftp://127.0.0.1/"], "--target is malformed"),
        (["--listen", "19095"], "--listen is malformed"),
        (["--listen", "127.0.0.1:65536"], "--listen is malformed"),
        (["--token-file", "missing"], "--token-file cannot be used"),
    ],
)
def test_an_invalid_argument_is_refused_at_the_start(
    token_file: Path, arguments: list[str], advice: str
) -> None:
    from django.core.management import CommandError, call_command

    token_file.write_text(TOKEN)
    given = {
        "--listen": "127.0.0.1:0",
        "--target": "http://127.0.0.1:1/",
        "--token-file": str(token_file),
    }
    given |= dict([arguments])
    with pytest.raises(CommandError, match=advice):
        call_command("alertmanager_relay", *[part for pair in given.items() for part in pair])


def test_a_port_in_use_is_a_failure(relay: RelayProcess, token_file: Path) -> None:
    command = [
        sys.executable,
        "manage.py",
        "alertmanager_relay",
        "--listen",
        f"127.0.0.1:{relay.port}",
    ]
    command += ["--target", "http://127.0.0.1:1/", "--token-file", str(token_file)]
    ended = children.run(command, cwd=ROOT, seconds=60)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
