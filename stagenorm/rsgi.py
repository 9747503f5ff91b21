"""The application as granian serves it: ``granian --interface rsgi stagenorm.rsgi:application``.

WSGI gives a worker thread to a request as soon as its headers are there; the thread then waits for the body, and four
connections whose bodies never come stop a worker. Here the event loop collects the body within BODY_SECONDS, and only a
whole request gets a thread (STAGENORM_THREADS of them) and Django's own WSGI handler.

WSGI also cannot tell ``X_Header`` from ``X-Header``, and granian's keeps one of several equal headers. Names with
an underscore are dropped here, as proxies do, and equal headers are joined by commas, as RFC 9110 (5.3) has it. A
value beyond ASCII, which granian names but does not hand out, becomes UNREADABLE: an endpoint can then refuse it, where
it would otherwise do without (an Idempotency-Key, say, that the client relies on).
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from sys import stderr
from typing import Any, Final, Protocol

from django.conf import settings

from stagenorm.parent_death import end_worker_with_server
from stagenorm.wsgi import application as wsgi_application

BODY_SECONDS: Final = 10.0
# Above what any endpoint reads, so that each answers a longer body in its own way; the rest is never read.
BODY_BYTES: Final = 3 * 1024 * 1024
UNREADABLE: Final = (
    "\xbf"  # "¿": Latin-1 as PEP 3333 has it, and no value that any header's grammar knows
)

Headers = list[tuple[str, str]]


class Scope(Protocol):
    """The parts of granian's RSGI scope that are used."""

    proto: str
    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    authority: str | None

    @property
    def headers(self) -> Any:
        """Has `items()`: every readable header as it came, names in lower case; `keys()`: all names; `get(name)`."""


class Exchange(Protocol):
    """The parts of granian's RSGI protocol object that are used."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer; may be called from any thread."""


class Unreadable(Exception):
    """The body did not come, or not whole; `status` is the answer."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


end_worker_with_server()
_threads = ThreadPoolExecutor(settings.WEB_THREADS, thread_name_prefix="request")


async def application(scope: Scope, exchange: Exchange) -> None:
    """Answer one request."""
    headers = joined([*scope.headers.items(), *unreadable(scope.headers)])
    try:
        body = await _body(headers, exchange)
    except Unreadable as fault:
        _refuse(exchange, fault)
        return
    environ = environ_of(scope, headers, body)
    await asyncio.get_running_loop().run_in_executor(_threads, _serve, environ, exchange)


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers by lower-case name, equal ones joined, names with an underscore left out."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        if "_" in name:
            continue
        separator = "; " if name == "cookie" else ","
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers


def unreadable(headers: Any) -> list[tuple[str, str]]:
    """Return UNREADABLE for each name whose (first) value granian does not hand out."""
    return [(name, UNREADABLE) for name in headers.keys() if headers.get(name) is None]  # noqa: SIM118  # no mapping


def environ_of(scope: Scope, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333) of a whole request."""
    server, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server or scope.server,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.authority and "host" not in headers:  # HTTP/2
        environ["HTTP_HOST"] = scope.authority
    for name, value in headers.items():
        environ[_NAMES.get(name) or "HTTP_" + name.upper().replace("-", "_")] = value
    if "transfer-encoding" in headers:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


_NAMES: Final = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


async def _body(headers: dict[str, str], exchange: Exchange) -> bytes:
    """Read the body, or its first BODY_BYTES; raise `Unreadable` where it stays away or ends early."""
    announced = int(
        headers.get("content-length", "0")
    )  # the server has refused what is not a number
    if not announced and "transfer-encoding" not in headers:
        return b""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in exchange:
                body += chunk
                if len(body) > BODY_BYTES:
                    return bytes(body)
    except TimeoutError:
        raise Unreadable(
            408, "Request timeout", f"The body did not come within {BODY_SECONDS:.0f} s."
        ) from None
    if len(body) < announced:
        raise Unreadable(
            400, "Malformed request body", "The body ended before its Content-Length."
        )
    return bytes(body)


def _serve(environ: dict[str, Any], exchange: Exchange) -> None:
    started: list[Any] = []
    body: list[bytes] = []

    def start_response(
        status: str, headers: Headers, exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        started[:] = [int(status.partition(" ")[0]), headers]
        return body.append  # PEP 3333's write(), which Django does not use

    response = wsgi_application(environ, start_response)
    try:
        body += response
    finally:
        if close := getattr(response, "close", None):
            close()
    with contextlib.suppress(RuntimeError):  # the client went away
        exchange.response_bytes(started[0], started[1], b"".join(body))


def _refuse(exchange: Exchange, fault: Unreadable) -> None:
    document = {
        "type": "about:blank",
        "title": fault.title,
        "status": fault.status,
        "detail": fault.detail,
    }
    headers = [("content-type", "application/problem+json"), ("connection", "close")]
    with contextlib.suppress(RuntimeError):
        exchange.response_bytes(fault.status, headers, json.dumps(document).encode())
