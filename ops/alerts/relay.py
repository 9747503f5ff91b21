"""The relay: signs what Alertmanager sends, which cannot sign by itself, and passes it on to the service.

    Alertmanager --(bearer token, loopback)--> relay --(timestamp, HMAC)--> the service's webhook

It keeps nothing: whatever goes wrong upstream is a 502, and Alertmanager, which retries 5xx at once, sends it again.
Each attempt gets a fresh timestamp, so that no retry is ever too old. granian, which serves it, bounds headers and
connections; bodies are bounded here, in size and in time.
"""

from __future__ import annotations

import asyncio
import hmac
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from ops.alerts.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 256 * 1024  # what the webhook reads
BODY_SECONDS: Final = 5.0
# Alertmanager gives up on a flush after its group_interval, 10 s: a slow attempt must leave time for another.
UPSTREAM_SECONDS: Final = 4.0
LEAST_TOKEN: Final = 16
FORWARDERS: Final = 4

JSON: Final = [("content-type", "application/json")]


class Refused(Exception):
    """The request ends here; `outcome` is the metric's label and the answer's text."""

    def __init__(self, status: int, outcome: str) -> None:
        super().__init__(outcome)
        self.status, self.outcome = status, outcome


class Figures:
    """The relay's own metrics, in a registry of their own: they are not the service's."""

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
            "When the service last took one.",
            registry=self.registry,
        )


@dataclass
class Relay:
    """An RSGI application. `targets` maps the relay's own paths to addresses of the service."""

    targets: dict[str, SplitResult]
    token_file: Path
    secret: str = field(repr=False)
    figures: Figures = field(default_factory=Figures)
    _forwarders: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(FORWARDERS), repr=False
    )

    async def __rsgi__(self, scope: Any, exchange: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            return
        if scope.method in ("GET", "HEAD") and scope.path in ("/healthz", "/metrics"):
            exchange.response_bytes(*self._about(scope.path))
            return
        try:
            await self._relay(scope, exchange)
            status, outcome = 200, "delivered"
        except Refused as refused:
            status, outcome = refused.status, refused.outcome
            log.warning("stage_relay_refused", outcome=outcome, status=status)
        self.figures.requests.labels(outcome=outcome).inc()
        close = [] if status == 200 else [("connection", "close")]
        exchange.response_bytes(status, [*JSON, *close], json.dumps({"outcome": outcome}).encode())

    def _about(self, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
        if path == "/metrics":
            return (
                200,
                [("content-type", CONTENT_TYPE_LATEST)],
                generate_latest(self.figures.registry),
            )
        try:
            read_token(self.token_file)
        except (OSError, ValueError) as fault:
            return (
                503,
                JSON,
                json.dumps({"status": "unavailable", "token_file": str(fault)}).encode(),
            )
        return 200, JSON, b'{"status": "ok"}'

    async def _relay(self, scope: Any, exchange: Any) -> None:
        self._admit(scope.headers.get("authorization", ""))
        target = self.targets.get(scope.path)
        if target is None:
            raise Refused(404, "unknown_path")
        if scope.method != "POST":
            raise Refused(405, "wrong_method")
        body = await _body(scope.headers.get("content-length", ""), exchange)
        content_type = scope.headers.get("content-type", "application/json")
        sending = asyncio.get_running_loop().run_in_executor(
            self._forwarders, self._forward, target, body, content_type
        )
        try:
            await asyncio.wait_for(
                sending, 2 * UPSTREAM_SECONDS
            )  # of which half may go by waiting for a forwarder
        except TimeoutError:
            raise Refused(502, "upstream_slow") from None

    def _admit(self, authorization: str) -> None:
        try:
            token = read_token(self.token_file)
        except (OSError, ValueError) as fault:
            log.error("stage_relay_token_unreadable", fault=str(fault))
            raise Refused(503, "no_token") from None
        if not hmac.compare_digest(authorization.encode(), b"Bearer " + token):
            raise Refused(401, "wrong_token")

    def _forward(self, target: SplitResult, body: bytes, content_type: str) -> None:
        timestamp = str(int(time.time()))
        signed = {
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: sign(self.secret, timestamp, body),
        }
        with self.figures.upstream.time():
            status = _post(
                target, body, {"Content-Type": content_type, "Connection": "close", **signed}
            )
        if (
            not 200 <= status < 300
        ):  # redirects are not followed: they would carry the delivery elsewhere
            log.warning("stage_relay_upstream_refused", status=status)
            raise Refused(502, f"upstream_{status // 100}xx")
        self.figures.delivered.set_to_current_time()


def read_token(file: Path) -> bytes:
    """Return the token in `file`, read anew; raise OSError, or ValueError if it is too short to be one."""
    token = file.read_bytes().strip()
    if len(token) < LEAST_TOKEN:
        raise ValueError(f"{file} holds fewer than {LEAST_TOKEN} characters.")
    return token


async def _body(length: str, exchange: Any) -> bytes:
    if not length.isdecimal():
        raise Refused(411, "no_length")
    if int(length) > MAX_BODY_BYTES:
        raise Refused(413, "too_large")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in exchange:
                body += chunk
    except TimeoutError:
        raise Refused(408, "too_slow") from None
    if len(body) != int(length):
        raise Refused(400, "incomplete")
    return bytes(body)


def _post(target: SplitResult, body: bytes, headers: dict[str, str]) -> int:
    """Send once; return the status. Whatever prevents an answer is `Refused` with 502."""
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    connection = kind(target.hostname or "", target.port, timeout=UPSTREAM_SECONDS)
    try:
        connection.request("POST", target.path, body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        log.warning("stage_relay_upstream_failed", error=type(error).__name__)
        raise Refused(502, "upstream_unreachable") from None
    finally:
        connection.close()
