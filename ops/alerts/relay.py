"""The relay between Alertmanager, which cannot sign, and the service's webhook.

    Alertmanager --(bearer token, loopback)--> relay --(timestamp, HMAC)--> the service's webhook

It stores nothing. Any upstream failure is a 502, because Alertmanager retries a 5xx at once. Each
attempt gets a fresh timestamp, so a retry is never too old. granian serves the relay and limits
headers and connections; the relay limits the size and time of bodies.
"""

from __future__ import annotations

import asyncio
import hmac
import http.client
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult

import structlog
from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ops.alerts.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from stagenorm.parent_death import end_worker_with_server

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 256 * 1024  # what the webhook reads
BODY_SECONDS: Final = 5.0
# Alertmanager abandons a flush after its group_interval, 10 s. A slow attempt has to leave time
# for another one.
UPSTREAM_SECONDS: Final = 4.0
LEAST_TOKEN: Final = 16
FORWARDERS: Final = 4
HEADER_MILLISECONDS: Final = 5000
HEADER_BYTES: Final = 16 * 1024
CONNECTIONS: Final = 128

Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body, as RSGI sends them."""

JSON: Final = [("content-type", "application/json")]


class RelayRefused(Exception):
    """Ends the request. `outcome` is the metric's label and the answer's text."""

    def __init__(self, status: int, outcome: str) -> None:
        super().__init__(outcome)
        self.status, self.outcome = status, outcome


class RelayMetrics:
    """The relay's metrics, in a registry apart from the service's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "stage_relay_requests_total",
            "Requests from Alertmanager, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.upstream = Histogram(
            "stage_relay_upstream_seconds",
            "Time that the service took to answer.",
            registry=self.registry,
        )
        self.delivered = Gauge(
            "stage_relay_last_delivered_timestamp_seconds",
            "When the service last accepted a delivery.",
            registry=self.registry,
        )


@dataclass
class Relay:
    """The relay as an RSGI application. `targets` maps its paths to addresses of the service."""

    targets: dict[str, SplitResult]
    token_file: Path
    secret: str = field(repr=False)
    metrics: RelayMetrics = field(default_factory=RelayMetrics)
    _forwarders: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(FORWARDERS), repr=False
    )

    async def __rsgi__(self, scope: Any, exchange: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            return
        if scope.method in ("GET", "HEAD") and scope.path == "/metrics":
            exchange.response_bytes(*self._metrics())
            return
        if scope.method in ("GET", "HEAD") and scope.path == "/healthz":
            exchange.response_bytes(*self._health())
            return
        try:
            await self._relay(scope, exchange)
            status, outcome = 200, "delivered"
        except RelayRefused as refused:
            status, outcome = refused.status, refused.outcome
            log.warning("stage_relay_refused", outcome=outcome, status=status)
        self.metrics.requests.labels(outcome=outcome).inc()
        close = [] if status == 200 else [("connection", "close")]
        exchange.response_bytes(status, [*JSON, *close], json.dumps({"outcome": outcome}).encode())

    def _metrics(self) -> Answer:
        text = generate_latest(self.metrics.registry)
        return 200, [("content-type", CONTENT_TYPE_LATEST)], text

    def _health(self) -> Answer:
        try:
            read_token(self.token_file)
        except (OSError, ValueError) as fault:
            body = {"status": "unavailable", "token_file": str(fault)}
            return 503, JSON, json.dumps(body).encode()
        return 200, JSON, b'{"status": "ok"}'

    async def _relay(self, scope: Any, exchange: Any) -> None:
        self._admit(scope.headers.get("authorization", ""))
        target = self.targets.get(scope.path)
        if target is None:
            raise RelayRefused(404, "unknown_path")
        if scope.method != "POST":
            raise RelayRefused(405, "wrong_method")
        body = await _body(scope.headers.get("content-length", ""), exchange)
        content_type = scope.headers.get("content-type", "application/json")
        sending = asyncio.get_running_loop().run_in_executor(
            self._forwarders, self._forward, target, body, content_type
        )
        try:
            # Half of it may pass while the request waits for a forwarder.
            await asyncio.wait_for(sending, 2 * UPSTREAM_SECONDS)
        except TimeoutError:
            raise RelayRefused(502, "upstream_slow") from None

    def _admit(self, authorization: str) -> None:
        try:
            token = read_token(self.token_file)
        except (OSError, ValueError) as fault:
            log.error("stage_relay_token_unreadable", fault=str(fault))
            raise RelayRefused(503, "no_token") from None
        if not hmac.compare_digest(authorization.encode(), b"Bearer " + token):
            raise RelayRefused(401, "wrong_token")

    def _forward(self, target: SplitResult, body: bytes, content_type: str) -> None:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": content_type,
            "Connection": "close",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: sign(self.secret, timestamp, body),
        }
        with self.metrics.upstream.time():
            status = _post(target, body, headers)
        # A redirect is not followed: it would send the delivery elsewhere.
        if not 200 <= status < 300:
            log.warning("stage_relay_upstream_refused", status=status)
            raise RelayRefused(502, f"upstream_{status // 100}xx")
        self.metrics.delivered.set_to_current_time()


def read_token(file: Path) -> bytes:
    """Read the token from `file`. Raises OSError, or ValueError if it is too short."""
    token = file.read_bytes().strip()
    if len(token) < LEAST_TOKEN:
        raise ValueError(f"{file} holds fewer than {LEAST_TOKEN} characters.")
    return token


async def _body(length: str, exchange: Any) -> bytes:
    if not length.isdecimal():
        raise RelayRefused(411, "no_length")
    if int(length) > MAX_BODY_BYTES:
        raise RelayRefused(413, "too_large")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in exchange:
                body += chunk
    except TimeoutError:
        raise RelayRefused(408, "too_slow") from None
    if len(body) != int(length):
        raise RelayRefused(400, "incomplete")
    return bytes(body)


def _post(target: SplitResult, body: bytes, headers: dict[str, str]) -> int:
    """Send once and return the status. Raises `RelayRefused` (502) if no answer comes."""
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    connection = kind(target.hostname or "", target.port, timeout=UPSTREAM_SECONDS)
    try:
        connection.request("POST", target.path, body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        log.warning("stage_relay_upstream_failed", error=type(error).__name__)
        raise RelayRefused(502, "upstream_unreachable") from None
    finally:
        connection.close()


def is_free(host: str, port: int) -> bool:
    """Return whether the port is free.

    granian would share a port that is in use and take a part of the other server's requests.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def serve(host: str, port: int, build: Callable[[], Any]) -> None:
    """Serve the application that `build` returns, in one worker, until SIGINT or SIGTERM.

    Requests in progress have 5 s to end.
    """
    Granian(
        "relay",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        workers=1,
        respawn_failed_workers=True,
        workers_kill_timeout=5,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_MILLISECONDS, max_buffer_size=HEADER_BYTES
        ),
        websockets=False,
        log_level=LogLevels.warning,
    ).serve(target_loader=lambda *_: _in_worker(build))


def _in_worker(build: Callable[[], Any]) -> Any:
    end_worker_with_server()
    return build()
